# Feature packs, computed once per data set, backbone and image size.


rule features:
    input:
        WF.targets("features"),


rule pixels:
    input:
        lambda w: WF.feature_inputs(w.dataset, w.category, "pixels"),
    output:
        "{results}/features/{dataset}/{category}/pixels.safetensors",
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
        "python -m osad.job features {params.options} --manifest {input[0]} --threads {threads}"
        " --output {output}"
        " --failure {wildcards.results}/failures/features/{wildcards.dataset}/{wildcards.category}/pixels.json"


rule pack:
    input:
        lambda w: WF.feature_inputs(w.dataset, w.category, w.pack),
    output:
        f"{{results}}/features/{{dataset}}/{{category}}/{WF.params.features.backbone}-{WF.params.features.image_size}/{{pack}}.safetensors",
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
        "python -m osad.job features {params.options} --manifest {input[0]} --threads {threads}"
        " --gpu {resources.gpu} --output {output}"
        " --failure {wildcards.results}/failures/features/{wildcards.dataset}/{wildcards.category}/{wildcards.pack}.json"
