# Which images each cell trains on and is tested on; shared by all methods.


rule splits:
    input:
        WF.targets("splits"),


rule split:
    input:
        lambda w: WF.manifest(w.dataset, w.category),
    output:
        "{results}/splits/{dataset}/{category}/{protocol}/s{seed}.csv",
    log:
        "{results}/logs/split/{dataset}/{category}/{protocol}/s{seed}.log",
    conda:
        "../envs/bench.yaml"
    params:
        removed=WF.params.removed,
        code=WF.code("split"),
        environment=ENVIRONMENT,
    message:
        "split {wildcards.dataset}/{wildcards.category}/{wildcards.protocol}/s{wildcards.seed}"
    shell:
        "python -m osad.runtime.job split --manifest {input} --dataset {wildcards.dataset}"
        " --category {wildcards.category} --protocol {wildcards.protocol} --seed {wildcards.seed}"
        " --removed {params.removed} --output {output}"
        " --failure {wildcards.results}/failures/splits/{wildcards.dataset}/{wildcards.category}/{wildcards.protocol}/s{wildcards.seed}.json"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"
