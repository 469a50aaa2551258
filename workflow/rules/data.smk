# Raw images, weights and manifests.


rule data:
    input:
        WF.targets("data"),


rule fetch:
    output:
        "data/raw/{dataset}/SOURCE.json",
    log:
        f"{WF.params.results}/logs/fetch/{{dataset}}.log",
    conda:
        "../envs/bench.yaml"
    params:
        settings=lambda w: WF.settings(w.dataset),
        code=lambda w: WF.data_code("fetch", w.dataset),
    message:
        "fetch {wildcards.dataset}"
    shell:
        "python -m osad.runtime.job fetch --dataset {wildcards.dataset} --settings {params.settings:q}"
        " --output {output} --record .osad/runs/{output}.json"
        " --failure .osad/failures/fetch/{wildcards.dataset}.json"
        " 2>&1 | tee -i {log}"


rule weights:
    output:
        WF.weights,
    log:
        f"{WF.params.results}/logs/weights.log",
    conda:
        "../envs/bench.yaml"
    params:
        options=WF.weights_options(),
        code=WF.code("weights"),
    message:
        "weights {output}"
    shell:
        "python -m osad.runtime.job weights {params.options} --output {output}"
        " --failure .osad/failures/weights.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


rule manifest:
    input:
        lambda w: WF.source(w.manifest.split("/")[0]),
    output:
        "data/manifests/{manifest}.csv",
    log:
        f"{WF.params.results}/logs/manifest/{{manifest}}.log",
    conda:
        "../envs/bench.yaml"
    params:
        options=lambda w: WF.manifest_options(w.manifest),
        settings=lambda w: WF.settings(w.manifest.split("/")[0]),
        code=lambda w: WF.data_code("manifest", w.manifest.split("/")[0]),
        environment=ENVIRONMENT,
    message:
        "manifest {wildcards.manifest}"
    shell:
        "python -m osad.runtime.job manifest {params.options} --settings {params.settings:q}"
        " --source {input} --output {output}"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
