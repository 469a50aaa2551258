# One run: fit, check, score. A method that learns from normals alone has one per seed.


rule runs:
    input:
        targets(RULES, "runs"),
    message:
        "runs: everything is there"


rule run:
    input:
        **EXCHANGE.inputs(RULES.run),
    output:
        **EXCHANGE.outputs(RULES.run),
    log:
        RULES.run.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.run.threads
    resources:
        **RULES.run.resources,
    params:
        **RULES.run.snakemake_params,
    message:
        RULES.run.message
    shell:
        RULES.run.command


rule metrics_all:
    input:
        targets(RULES, "metrics_all"),
    message:
        "metrics_all: everything is there"


rule metrics:
    input:
        **EXCHANGE.inputs(RULES.metrics),
    output:
        **EXCHANGE.outputs(RULES.metrics),
    log:
        RULES.metrics.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.metrics.threads
    resources:
        **RULES.metrics.resources,
    params:
        **RULES.metrics.snakemake_params,
    message:
        RULES.metrics.message
    shell:
        RULES.metrics.command
