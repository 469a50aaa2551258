# Feature packs, computed once per data set, backbone and image size, and defect masks.


rule features:
    input:
        targets(RULES, "features"),
    message:
        "features: everything is there"


rule pixels:
    input:
        **EXCHANGE.inputs(RULES.pixels),
    output:
        **EXCHANGE.outputs(RULES.pixels),
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
        **EXCHANGE.inputs(RULES.pack),
    output:
        **EXCHANGE.outputs(RULES.pack),
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
        **EXCHANGE.inputs(RULES.masks),
    output:
        **EXCHANGE.outputs(RULES.masks),
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
