# Methods that learn from normal images alone: one fit and one scoring serve all protocols.
# The run is that of normal-m0; another protocol takes the rows of its own test images.


rule share:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        source_split=f"{{results}}/splits/{{dataset}}/{{category}}/{SHARED}/s{{seed}}.csv",
        checkpoint=f"{{results}}/checkpoints/{{dataset}}/{{category}}/{SHARED}/{{method}}/s{{seed}}.safetensors",
        scores=f"{{results}}/scores/{{dataset}}/{{category}}/{SHARED}/{{method}}/s{{seed}}.csv",
        maps=lambda w: WF.maps(WF.source_cell(CELL(w))),
    output:
        checkpoint="{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
    log:
        "{results}/logs/share/{dataset}/{category}/{protocol}/{method}/s{seed}.log",
    wildcard_constraints:
        **KINDS["share"],
    conda:
        "../envs/bench.yaml"
    params:
        cell=lambda w: str(CELL(w)),
        maps=lambda w: " ".join(WF.maps(CELL(w))),
        code=WF.code("share"),
        environment=ENVIRONMENT,
    message:
        "share {params.cell}"
    shell:
        "python -m osad.runtime.job share --cell {params.cell} --split {input.split}"
        " --source-split {input.source_split} --source-checkpoint {input.checkpoint}"
        " --source-scores {input.scores} --source-maps {input.maps}"
        " --checkpoint {output.checkpoint} --output {output.scores} --maps {params.maps}"
        " --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output.scores}.json"
        " 2>&1 | tee -i {log}"


use rule share as share_maps with:
    output:
        checkpoint="{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
        maps="{results}/maps/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    wildcard_constraints:
        **KINDS["share_maps"],


ruleorder: share > train
ruleorder: share > score
ruleorder: share_maps > train
ruleorder: share_maps > score_maps
