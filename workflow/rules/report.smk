# The page of the results: two files a table cell, a list of images a category, the page itself.


rule report_all:
    input:
        targets(RULES, "report_all"),
    message:
        "report_all: everything is there"


rule report_images:
    input:
        **EXCHANGE.inputs(RULES.report_images),
    output:
        **EXCHANGE.outputs(RULES.report_images),
    log:
        RULES.report_images.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.report_images.threads
    resources:
        **RULES.report_images.resources,
    params:
        **RULES.report_images.snakemake_params,
    message:
        RULES.report_images.message
    shell:
        RULES.report_images.command


rule report_cell:
    input:
        **EXCHANGE.inputs(RULES.report_cell),
    output:
        **EXCHANGE.outputs(RULES.report_cell),
    log:
        RULES.report_cell.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.report_cell.threads
    resources:
        **RULES.report_cell.resources,
    params:
        **RULES.report_cell.snakemake_params,
    message:
        RULES.report_cell.message
    shell:
        RULES.report_cell.command


rule report_assets:
    input:
        **EXCHANGE.inputs(RULES.report_assets),
    output:
        **EXCHANGE.outputs(RULES.report_assets),
    log:
        RULES.report_assets.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.report_assets.threads
    resources:
        **RULES.report_assets.resources,
    params:
        **RULES.report_assets.snakemake_params,
    message:
        RULES.report_assets.message
    shell:
        RULES.report_assets.command


rule report_page:
    input:
        **EXCHANGE.inputs(RULES.report_page),
    output:
        **{
            name: report(files, caption="../report/page.rst", category="Page")
            for name, files in RULES.report_page.outputs.items()
        },
        record=RULES.report_page.receipt,
    log:
        RULES.report_page.log,
    conda:
        "../envs/bench.yaml"
    threads: RULES.report_page.threads
    resources:
        **RULES.report_page.resources,
    params:
        **RULES.report_page.snakemake_params,
    message:
        RULES.report_page.message
    shell:
        RULES.report_page.command
