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
    log:
        f"{WF.params.results}/logs/tables.log",
    conda:
        "../envs/bench.yaml"
    params:
        grid=WF.grid(),
        folder=lambda w, output: Path(output[0]).parent.as_posix(),
        code=WF.code("tables"),
        environment=ENVIRONMENT,
    message:
        "tables"
    shell:
        "python -m osad.job tables --grid {params.grid:q} --published data/published"
        " --output {params.folder}"
        " 2>&1 | tee -i {log}"
