# Feature packs, computed once per data set, backbone and image size, and defect masks.


rule features:
    input:
        targets(RULES, "features"),
    message:
        "features: everything is there"


rule pixels:
    input:
        **RULES.pixels.inputs,
    output:
        **RULES.pixels.outputs,
        record=RULES.pixels.receipt,
    log:
        RULES.pixels.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.pixels.threads
    resources:
        **RULES.pixels.resources,
    params:
        **RULES.pixels.snakemake_params,
    message:
        RULES.pixels.message
    shell:
        RULES.pixels.command


rule pack:
    input:
        **RULES.pack.inputs,
    output:
        **RULES.pack.outputs,
        record=RULES.pack.receipt,
    log:
        RULES.pack.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.pack.threads
    resources:
        **RULES.pack.resources,
    params:
        **RULES.pack.snakemake_params,
    message:
        RULES.pack.message
    shell:
        RULES.pack.command


rule masks:
    input:
        **RULES.masks.inputs,
    output:
        **RULES.masks.outputs,
        record=RULES.masks.receipt,
    log:
        RULES.masks.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.masks.threads
    resources:
        **RULES.masks.resources,
    params:
        **RULES.masks.snakemake_params,
    message:
        RULES.masks.message
    shell:
        RULES.masks.command
