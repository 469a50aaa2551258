# Cells, means over seeds beside the published numbers, and the papers' tables.


rule tables:
    input:
        WF.targets("tables"),


rule cells:
    input:
        WF.targets("score"),
    output:
        f"{WF.params.results}/tables/cells.csv",
    log:
        f"{WF.params.results}/logs/cells.log",
    conda:
        "../envs/bench.yaml"
    params:
        grid=WF.grid(),
        code=WF.code("cells"),
        environment=ENVIRONMENT,
    message:
        "cells"
    shell:
        "python -m osad.runtime.job cells --grid {params.grid:q} --output {output}"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


rule table:
    input:
        cells=rules.cells.output,
        published=expand("data/published/{name}.csv", name=PUBLISHED),
    output:
        report(
            [path for path in WF.targets("tables") if path not in rules.cells.output],
            caption="../report/tables.rst",
            category="Tables",
        ),
    log:
        f"{WF.params.results}/logs/tables.log",
    conda:
        "../envs/bench.yaml"
    params:
        grid=WF.grid(),
        code=WF.code("tables"),
        environment=ENVIRONMENT,
    message:
        "tables"
    shell:
        "python -m osad.runtime.job tables --grid {params.grid:q} --cells {input.cells}"
        f" --published data/published --output {WF.params.results}/tables"
        f" --record .osad/runs/{WF.params.results}/tables/tables.json"
        " 2>&1 | tee -i {log}"
