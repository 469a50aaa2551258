# Anomaly scores of the test images, and the metrics of each cell.


rule score_all:
    input:
        WF.targets("score"),


rule score:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        packs=lambda w: WF.test_packs(CELL(w)),
        checkpoint="{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    output:
        "{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
    log:
        "{results}/logs/score/{dataset}/{category}/{protocol}/{method}/s{seed}.log",
    conda:
        "../envs/bench.yaml"
    resources:
        gpu=WF.gpu(),
    params:
        cell=lambda w: str(CELL(w)),
        hyper=lambda w: WF.hyper(w.method),
        code=lambda w: WF.method_code("score", w.method),
        environment=ENVIRONMENT,
    message:
        "score {params.cell}"
    shell:
        "python -m osad.job score --cell {params.cell} --split {input.split} --packs {input.packs}"
        " --checkpoint {input.checkpoint} --hyper {params.hyper:q} --gpu {resources.gpu}"
        " --output {output} --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


rule metrics:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
    output:
        "{results}/metrics/{dataset}/{category}/{protocol}/{method}/s{seed}.json",
    log:
        "{results}/logs/metrics/{dataset}/{category}/{protocol}/{method}/s{seed}.log",
    conda:
        "../envs/bench.yaml"
    params:
        cell=lambda w: str(CELL(w)),
        code=WF.code("metrics"),
        environment=ENVIRONMENT,
    message:
        "metrics {params.cell}"
    shell:
        "python -m osad.job metrics --scores {input.scores} --split {input.split}"
        " --output {output} --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
