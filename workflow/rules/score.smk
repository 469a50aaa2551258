# Anomaly scores of the test images, anomaly maps where the method gives them, and the metrics.


rule score_all:
    input:
        WF.targets("score"),


rule score:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        packs=lambda w: WF.test_packs(CELL(w)),
        checkpoint="{results}/checkpoints/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    output:
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
    log:
        "{results}/logs/score/{dataset}/{category}/{protocol}/{method}/s{seed}.log",
    wildcard_constraints:
        **KINDS["score"],
    conda:
        "../envs/bench.yaml"
    resources:
        gpu=WF.gpu(),
    params:
        cell=lambda w: str(CELL(w)),
        hyper=lambda w: WF.hyper(w.method),
        maps=lambda w: " ".join(WF.maps(CELL(w))),
        code=lambda w: WF.method_code("score", w.method),
        environment=ENVIRONMENT,
    message:
        "score {params.cell}"
    shell:
        "python -m osad.runtime.job score --cell {params.cell} --split {input.split} --packs {input.packs}"
        " --checkpoint {input.checkpoint} --hyper {params.hyper:q} --gpu {resources.gpu}"
        " --output {output.scores} --maps {params.maps}"
        " --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output.scores}.json"
        " 2>&1 | tee -i {log}"


use rule score as score_maps with:
    output:
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
        maps="{results}/maps/{dataset}/{category}/{protocol}/{method}/s{seed}.safetensors",
    wildcard_constraints:
        **KINDS["score_maps"],


rule metrics:
    input:
        split="{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
        scores="{results}/scores/{dataset}/{category}/{protocol}/{method}/s{seed}.csv",
        maps=lambda w: WF.maps(CELL(w)),
        masks=lambda w: WF.localisation(CELL(w)),
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
        "python -m osad.runtime.job metrics --scores {input.scores} --split {input.split}"
        " --cell {params.cell} --maps {input.maps} --masks {input.masks}"
        " --output {output} --failure {wildcards.results}/failures/{params.cell}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
