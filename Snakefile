# The whole benchmark: data -> splits -> features -> train -> score -> tables, figures, page.
# Everything the rules need to know comes from osad.pipeline.workflow; see docs/architecture.md.
from snakemake.utils import min_version

min_version("9.27")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/share.smk"
include: "workflow/rules/table.smk"
include: "workflow/rules/figure.smk"
include: "workflow/rules/report.smk"


# Every artefact is listed: Snakemake does not rebuild a missing file whose consumers look complete.
rule all:
    default_target: True
    input:
        rules.data.input,
        rules.splits.input,
        rules.features.input,
        rules.train_all.input,
        rules.score_all.input,
        rules.tables.input,
        rules.figures.input,
        rules.report_all.input,
    message:
        "everything is there"
