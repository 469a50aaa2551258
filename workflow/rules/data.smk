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
        **RULES.fetch.inputs,
    output:
        **RULES.fetch.outputs,
        record=RULES.fetch.receipt,
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
        **RULES.weights.inputs,
    output:
        **RULES.weights.outputs,
        record=RULES.weights.receipt,
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
        **RULES.manifest.inputs,
    output:
        **RULES.manifest.outputs,
        record=RULES.manifest.receipt,
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
