# Which images each run trains on and is tested on; shared by all methods.


rule splits:
    input:
        targets(RULES, "splits"),
    message:
        "splits: everything is there"


rule split:
    input:
        **EXCHANGE.inputs(RULES.split),
    output:
        **EXCHANGE.outputs(RULES.split),
    log:
        RULES.split.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.split.threads
    resources:
        **RULES.split.resources,
    params:
        **RULES.split.snakemake_params,
    message:
        RULES.split.message
    shell:
        RULES.split.command
