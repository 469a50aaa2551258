# Cells, how methods compare, means over seeds beside the published numbers, the papers' tables, and figures.


rule tables:
    input:
        targets(RULES, "tables"),
    message:
        "tables: everything is there"


rule cells:
    input:
        **EXCHANGE.inputs(RULES.cells),
    output:
        **EXCHANGE.outputs(RULES.cells),
    log:
        RULES.cells.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.cells.threads
    resources:
        **RULES.cells.resources,
    params:
        **RULES.cells.snakemake_params,
    message:
        RULES.cells.message
    shell:
        RULES.cells.command


rule comparison:
    input:
        **EXCHANGE.inputs(RULES.comparison),
    output:
        **EXCHANGE.outputs(RULES.comparison),
    log:
        RULES.comparison.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.comparison.threads
    resources:
        **RULES.comparison.resources,
    params:
        **RULES.comparison.snakemake_params,
    message:
        RULES.comparison.message
    shell:
        RULES.comparison.command


rule table:
    input:
        **EXCHANGE.inputs(RULES.table),
    output:
        **{
            name: report(files, caption="../report/tables.rst", category="Tables")
            for name, files in RULES.table.outputs.items()
        },
        record=RULES.table.receipt,
    log:
        RULES.table.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.table.threads
    resources:
        **RULES.table.resources,
    params:
        **RULES.table.snakemake_params,
    message:
        RULES.table.message
    shell:
        RULES.table.command


rule figures:
    input:
        targets(RULES, "figures"),
    message:
        "figures: everything is there"


if hasattr(RULES, "figure"):

    rule figure:
        input:
            **EXCHANGE.inputs(RULES.figure),
        output:
            **{
                name: report(
                    files, caption="../report/figures.rst", category="Figures"
                )
                for name, files in RULES.figure.outputs.items()
            },
            record=RULES.figure.receipt,
        log:
            RULES.figure.log,
        conda:
            "../envs/bench.yaml"
        threads: RULES.figure.threads
        resources:
            **RULES.figure.resources,
        params:
            **RULES.figure.snakemake_params,
        message:
            RULES.figure.message
        shell:
            RULES.figure.command
