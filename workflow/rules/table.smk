# Cells, means over seeds beside the published numbers, and the papers' tables.


rule tables:
    input:
        WF.targets("tables"),


rule table:
    input:
        scores=WF.targets("score"),
        published=expand("data/published/{name}.csv", name=PUBLISHED),
    output:
        report(
            WF.targets("tables"),
            caption="../report/tables.rst",
            category="Tables",
        ),
    conda:
        "../envs/bench.yaml"
    params:
        grid=WF.grid(),
        folder=f"{WF.params.results}/tables",
        code=WF.code("tables"),
        environment=ENVIRONMENT,
    message:
        "tables"
    shell:
        "python -m osad.job tables --grid {params.grid:q} --published data/published"
        " --output {params.folder}"
