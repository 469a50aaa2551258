# Raw images, weights and manifests; what fetches them runs where there is a network.
localrules:
    fetch,
    weights,


rule data:
    input:
        targets(RULES, "data"),
    message:
        "data: everything is there"


rule fetch:
    input:
        **EXCHANGE.inputs(RULES.fetch),
    output:
        **EXCHANGE.outputs(RULES.fetch),
    log:
        RULES.fetch.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.fetch.threads
    resources:
        **RULES.fetch.resources,
    params:
        **RULES.fetch.snakemake_params,
    message:
        RULES.fetch.message
    shell:
        RULES.fetch.command


rule weights:
    input:
        **EXCHANGE.inputs(RULES.weights),
    output:
        **EXCHANGE.outputs(RULES.weights),
    log:
        RULES.weights.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.weights.threads
    resources:
        **RULES.weights.resources,
    params:
        **RULES.weights.snakemake_params,
    message:
        RULES.weights.message
    shell:
        RULES.weights.command


rule manifest:
    input:
        **EXCHANGE.inputs(RULES.manifest),
    output:
        **EXCHANGE.outputs(RULES.manifest),
    log:
        RULES.manifest.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.manifest.threads
    resources:
        **RULES.manifest.resources,
    params:
        **RULES.manifest.snakemake_params,
    message:
        RULES.manifest.message
    shell:
        RULES.manifest.command
