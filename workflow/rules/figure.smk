# Figures of the grid; without any in the configuration there is no such rule.


rule figures:
    input:
        WF.targets("figures"),


if WF.targets("figures"):

    rule figure:
        input:
            cells=rules.cells.output,
            published=expand("data/published/{name}.csv", name=PUBLISHED),
        output:
            report(
                WF.targets("figures"),
                caption="../report/figures.rst",
                category="Figures",
            ),
        log:
            f"{WF.params.results}/logs/figures.log",
        conda:
            "../envs/bench.yaml"
        params:
            grid=WF.figures(),
            code=WF.code("figures"),
            environment=ENVIRONMENT,
        message:
            "figures"
        shell:
            "python -m osad.runtime.job figures --grid {params.grid:q} --cells {input.cells}"
            f" --published data/published --output {WF.params.results}/figures"
            f" --record .osad/runs/{WF.params.results}/figures/figures.json"
            " 2>&1 | tee -i {log}"
