# One checkpoint per cell.


rule train_all:
    input:
        WF.targets("train"),


rule train:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        packs=lambda w: WF.packs(CELL(w)),
        base=lambda w: WF.base(CELL(w)),
    output:
        "{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    log:
        "{results}/logs/train/{dataset}/{category}/{protocol}/{method}/s{seed}.log",
    conda:
        "../envs/bench.yaml"
    resources:
        gpu=WF.gpu(),
    params:
        cell=lambda w: str(CELL(w)),
        hyper=lambda w: WF.hyper(w.method),
        code=lambda w: WF.method_code("train", w.method),
        environment=ENVIRONMENT,
    message:
        "train {params.cell}"
    shell:
        "python -m osad.runtime.job train --cell {params.cell} --split {input.split} --packs {input.packs}"
        " --base {input.base} --hyper {params.hyper:q} --gpu {resources.gpu} --output {output}"
        " --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
