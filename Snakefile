# The whole benchmark: data -> splits -> features -> runs -> metrics -> tables, figures, page.
# What each rule reads, writes and depends on stands in osad.pipeline.rules; docs/architecture.md.
from snakemake.utils import min_version

min_version("9.27")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/table.smk"
include: "workflow/rules/report.smk"


# Missing files are listed too: Snakemake does not rebuild one whose consumers look complete.
rule all:
    default_target: True
    input:
        everything,
    message:
        "everything is there"
