# The page of the results: two files a table cell, a list of images a category, the page itself.


rule report_all:
    input:
        REPORT.targets(),


rule report_images:
    input:
        manifest=lambda w: WF.manifest(w.dataset, w.category),
        splits=lambda w: REPORT.splits(w.dataset, w.category),
    output:
        "{results}/report/manifests/{dataset}/{category}.js",
    log:
        "{results}/logs/report_images/{dataset}/{category}.log",
    conda:
        "../envs/bench.yaml"
    params:
        category=lambda w: f"{w.dataset}/{w.category}",
        code=WF.code("report_images"),
        environment=ENVIRONMENT,
    message:
        "report images {params.category}"
    shell:
        "python -m osad.runtime.job report_images --category {params.category} --manifest {input.manifest}"
        " --splits {input.splits} --output {output}"
        " --record .osad/runs/{output}.json"
        " 2>&1 | tee -i {log}"


rule report_cell:
    input:
        lambda w: REPORT.cell_inputs(MEAN(w)),
    output:
        numbers="{results}/report/cells/{dataset}/{category}/{protocol}/{method}.js",
        images="{results}/report/images/{dataset}/{category}/{protocol}/{method}.js",
    log:
        "{results}/logs/report_cell/{dataset}/{category}/{protocol}/{method}.log",
    conda:
        "../envs/bench.yaml"
    params:
        cell=lambda w: MEAN(w),
        options=lambda w: REPORT.cell_options(MEAN(w)),
        code=WF.code("report_cell"),
        environment=ENVIRONMENT,
    message:
        "report cell {params.cell}"
    shell:
        "python -m osad.runtime.job report_cell --cell {params.cell} {params.options}"
        " --output {output.numbers} --images {output.images}"
        " --record .osad/runs/{output.numbers}.json"
        " 2>&1 | tee -i {log}"


rule report_assets:
    input:
        assets=REPORT.assets(),
        figures=REPORT.figures(),
    output:
        REPORT.asset_outputs(),
    log:
        f"{WF.params.results}/logs/report_assets.log",
    conda:
        "../envs/bench.yaml"
    params:
        code=WF.code("report_assets"),
        environment=ENVIRONMENT,
    message:
        "report assets"
    shell:
        "python -m osad.runtime.job report_assets --assets {input.assets} --figures {input.figures}"
        f" --output {WF.params.results}/report --record .osad/runs/{WF.params.results}/report/assets.json"
        " 2>&1 | tee -i {log}"


rule report_page:
    input:
        **REPORT.page_inputs(),
    output:
        report(
            f"{REPORT.folder}/index.html",
            caption="../report/page.rst",
            category="Page",
        ),
        f"{REPORT.folder}/data.js",
    log:
        f"{WF.params.results}/logs/report.log",
    conda:
        "../envs/bench.yaml"
    params:
        grid=REPORT.page(),
        code=WF.code("report_page"),
        environment=ENVIRONMENT,
    message:
        "report page"
    shell:
        "python -m osad.runtime.job report_page --grid {params.grid:q} --cells {input.cells}"
        " --published data/published --lock {params.environment} --shared {input.shared}"
        " --bench {input.bench}"
        f" --output {WF.params.results}/report --record .osad/runs/{WF.params.results}/report/page.json"
        " 2>&1 | tee -i {log}"
