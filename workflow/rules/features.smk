# Feature packs, computed once per data set, backbone and image size.


rule features:
    input:
        WF.targets("features"),


# Packs are made of the images behind the manifest. The manifest is in git; the images of a fresh
# clone are not, and naming SOURCE.json makes Snakemake fetch them first.
rule pixels:
    input:
        source=lambda w: WF.source(w.dataset),
        manifest=lambda w: WF.manifest(w.dataset, w.category),
    output:
        "{results}/features/{dataset}/{category}/pixels.safetensors",
    log:
        "{results}/logs/features/{dataset}/{category}/pixels.log",
    conda:
        "../envs/bench.yaml"
    threads: 8
    params:
        options=WF.feature_options("pixels"),
        code=WF.code("features"),
        environment=ENVIRONMENT,
    message:
        "pixel statistics {wildcards.dataset}/{wildcards.category}"
    shell:
        "python -m osad.runtime.job features {params.options} --manifest {input.manifest} --threads {threads}"
        " --output {output}"
        " --failure {wildcards.results}/failures/features/{wildcards.dataset}/{wildcards.category}/pixels.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


rule pack:
    input:
        source=lambda w: WF.source(w.dataset),
        manifest=lambda w: WF.manifest(w.dataset, w.category),
        weights=WF.weights,
    output:
        f"{{results}}/features/{{dataset}}/{{category}}/{WF.params.features.backbone}-{WF.params.features.image_size}/{{pack}}.safetensors",
    log:
        f"{{results}}/logs/features/{{dataset}}/{{category}}/{WF.params.features.backbone}-{WF.params.features.image_size}/{{pack}}.log",
    conda:
        "../envs/bench.yaml"
    threads: 8
    resources:
        gpu=WF.gpu(),
    params:
        options=lambda w: WF.feature_options(w.pack),
        code=WF.code("features"),
        environment=ENVIRONMENT,
    message:
        "features {wildcards.pack} {wildcards.dataset}/{wildcards.category}"
    shell:
        "python -m osad.runtime.job features {params.options} --manifest {input.manifest} --threads {threads}"
        " --gpu {resources.gpu} --output {output}"
        " --failure {wildcards.results}/failures/features/{wildcards.dataset}/{wildcards.category}/{wildcards.pack}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


# An artefact of its own, so that the masks that a pixel metric was judged by are in the ledger.
rule masks:
    input:
        source=lambda w: WF.source(w.dataset),
        manifest=lambda w: WF.manifest(w.dataset, w.category),
    output:
        "{results}/features/{dataset}/{category}/masks.safetensors",
    log:
        "{results}/logs/features/{dataset}/{category}/masks.log",
    conda:
        "../envs/bench.yaml"
    params:
        size=WF.params.features.image_size,
        code=WF.code("masks"),
        environment=ENVIRONMENT,
    message:
        "masks {wildcards.dataset}/{wildcards.category}"
    shell:
        "python -m osad.runtime.job masks --manifest {input.manifest} --source {input.source}"
        " --size {params.size} --output {output}"
        " --failure {wildcards.results}/failures/features/{wildcards.dataset}/{wildcards.category}/masks.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
