"""The table of rules: whole, free of contradictions, and all that else is derived from it."""

import dataclasses
import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from project_cases import OWN, ROOT, SEVERAL, rules_of, shipped
from snakemake.iocontainers import Namedlist
from snakemake.utils import format as snakemake_format

from osad.backbones import get_backbone
from osad.core.errors import ConfigError
from osad.pipeline import rules as table
from osad.pipeline.fingerprint import code_fingerprint
from osad.pipeline.jobs import PHASES, Job, jobs, jobs_of, makers
from osad.pipeline.networks import Network
from osad.pipeline.parts import targets
from osad.pipeline.rule import Rule
from osad.pipeline.rules import Rules
from osad.runtime import harness
from osad.runtime.job import split_log

GRIDS: dict[str, dict[str, Any]] = {
    "default": {},
    "categories": {
        "datasets": ("mvtec", "visa"), "dataset_settings": {"mvtec": {}, "visa": {}},
        "methods": ("patchcore", "dra", "ahl"), "seeds": (0, 1),
    },
    "texts": {
        "datasets": ("mine",), "figures": (), "methods": ("dra", "ahl", "constant"),
        "dataset_settings": {"mine": OWN | dict.fromkeys(
            ("title", "citation"), "a\n{b} ${c} {{d}} {params.x} $(e) `f` \u2028 \\ \" ' | & ; # --"
        )},
        "features": dataclasses.replace(SEVERAL, networks=(
            Network("tf_efficientnet_lite0", 224, "-my {net} $x '.pth"),
        )),
    },
    "controls": {"methods": ("mean_intensity", "random"), "results": "results/of controls"},
    "no figures": {
        "figures": (), "datasets": ("mine",), "dataset_settings": {"mine": OWN | {"title": "it's"}},
        "settings": ("general",), "methods": ("patchcore", "constant"),
    },
    "networks": {
        "methods": ("evidence", "devnet"), "hyper": {"evidence": {}, "devnet": {}},
        "features": SEVERAL, "figures": (),
    },
}  # fmt: skip
NAMES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
OWN_FILES = ("data/published/", "data/bench/", "src/osad/report/")
"""Files of the project that jobs read."""
NETWORKS = ("run", "pack")
STATED = ("inputs", "outputs", "log", "threads", "resources", "snakemake_params", "message")
rules_of_grid = functools.cache(lambda name: rules_of(**GRIDS[name]))


@pytest.fixture(params=GRIDS)
def rules(request) -> Rules:
    return rules_of_grid(request.param)


def named(values: Mapping[str, str | list[str]]) -> Namedlist:
    """Return what Snakemake makes of a rule's inputs, outputs or parameters."""
    items = Namedlist()
    for name, value in values.items():
        start = len(items)
        items.extend([value] if isinstance(value, str) else value)
        items._set_name(name, start, end=None if isinstance(value, str) else len(items))
    return items


def words(job: Job) -> list[str]:
    """Return a job's command as Snakemake gives it to the shell."""
    rule, wildcards = job.rule, SimpleNamespace(**job.wildcards)
    outputs = {
        name: [path.format(**job.wildcards) for path in ([p] if isinstance(p, str) else p)]
        for name, p in {**rule.outputs, "record": rule.receipt}.items()
    }
    params = rule.snakemake_params.items()
    command = snakemake_format(
        rule.command,
        input=named({name: function(wildcards) for name, function in rule.inputs.items()}),
        output=named(outputs),
        params=named({name: v(wildcards) if callable(v) else v for name, v in params}),
        log=named({"log": [rule.log.format(**job.wildcards)]}),
        resources=SimpleNamespace(gpu=0),
        threads=rule.threads,
    )
    return shlex.split(command)


def test_the_commands_that_snakemake_gives_are_those_of_the_jobs(rules):
    for job in jobs(rules):
        given, own = words(job), shlex.split(job.command)
        assert given[: len(own)] == own
        rest = dict(zip(given[len(own) :: 2], given[len(own) + 1 :: 2], strict=True))
        assert (rest.pop("--failure"), rest.pop("--record")) == (job.failure, job.receipt)
        assert rest.pop("--log").startswith(f"{rules.grid.results}/logs/{job.rule.name}")
        assert rest.keys() == {"run": {"--gpu"}, "pack": {"--threads", "--gpu"}}.get(
            job.rule.name, {"--threads"} if job.rule.name == "pixels" else set()
        )


def test_every_step_understands_its_command(tmp_path, monkeypatch):
    """In an empty folder each says which file is missing, and not that an option is unknown."""
    first = dataclasses.replace(shipped().features.first, weights_file="my.pth")
    local = dataclasses.replace(shipped().features, networks=(first,))
    monkeypatch.chdir(tmp_path)
    for rule in rules_of(features=local, datasets=("mine",), dataset_settings={"mine": OWN}):
        if rule.name == "report_assets":
            continue  # It has nothing but files of the project, which is elsewhere.
        job = next(jobs_of(rule))
        assert harness.main(split_log(words(job)[3:])[1]) in (1, 2), rule.name
        assert json.loads(Path(job.failure).read_text())["error"] in ("DataError", "MissingData")


def test_texts_that_fit_into_no_command_are_refused_before_the_first_job():
    title = {"title": "€" * 9_000}  # 3 bytes each, in settings and in what tables are told.
    names = [f"n{number}" for number in range(4)]
    for count in (2, 4):
        settings = dict.fromkeys(names[:count], OWN | title)
        build = functools.partial(rules_of, datasets=tuple(settings), dataset_settings=settings)
        if count == 2:
            build()
            continue
        with pytest.raises(ConfigError, match=r"a command of 1\d{5} bytes, more than 80000; short"):
            build()


def test_outputs_logs_and_records_are_unique_and_relative(rules):
    every = jobs(rules)
    outputs = [path for job in every for path in job.outputs]
    logs = [job.rule.log.format(**job.wildcards) for job in every]
    for paths in (outputs, logs, [job.receipt for job in every], [job.failure for job in every]):
        assert len(set(paths)) == len(paths)
        assert not [path for path in paths if path.startswith("/") or ".." in path or "{" in path]
    assert makers(every).keys() == {path for rule in rules for path in rule.files}
    assert len(every) <= 1200


def test_every_input_is_made_by_an_earlier_job_or_is_in_the_project(rules):
    made: set[str] = set()
    for job in jobs(rules):
        for path in job.inputs:
            assert path in made or (path.startswith(OWN_FILES) and (ROOT / path).is_file()), path
        made.update(job.outputs)


def patterns(rules: Rules) -> Iterator[tuple[Rule, re.Pattern[str]]]:
    """Yield what each output of each rule matches, as Snakemake sees it."""
    for rule in rules:
        for path in [p for v in rule.outputs.values() for p in ([v] if isinstance(v, str) else v)]:
            text = re.escape(path)
            for name, expression in rules.grid.constraints().items():
                text = text.replace(rf"\{{{name}\}}", f"(?P<{name}>{expression})")
            yield rule, re.compile(text)


def test_constraints_match_every_output_in_exactly_one_way(rules):
    every = list(patterns(rules))
    for job in jobs(rules):
        for output in job.outputs:
            ways = [(rule, found) for rule, p in every if (found := p.fullmatch(output))]
            assert [(rule.name, found.groupdict()) for rule, found in ways] == [
                (job.rule.name, dict(job.wildcards))
            ]


def test_rules_without_any_job_are_left_out_of_all_targets():
    few, plain = rules_of_grid("controls"), rules_of_grid("no figures")
    assert [rule.name for rule in few if not rule.files] == ["weights", "pack", "masks"]
    assert targets(few, "features") == ["results/of controls/features/elpv/all/pixels.safetensors"]
    assert (hasattr(plain, "figure"), targets(plain, "figures")) == (False, [])


def test_each_network_has_packs_of_its_own_and_each_file_of_weights_is_made_once():
    rules = rules_of_grid("networks")
    lite0, lite1 = (f"data/weights/{get_backbone(name).file}" for name in NAMES)
    assert rules.weights.files == [lite0, lite1]
    options = [job.params["options"] for job in jobs_of(rules.weights)]
    assert options == [f"--backbone {name}" for name in NAMES]
    made = {(job.wildcards["network"], job.wildcards["pack"]): job for job in jobs_of(rules.pack)}
    first, larger, other = map(str, SEVERAL.networks)
    assert made.keys() == {
        (first, "plain"), (first, "rotated"),
        (first, "pooled"), (larger, "pooled"), (other, "pooled"),
    }  # fmt: skip
    for network, weights in ((first, lite0), (larger, lite0), (other, lite1)):
        job = made[network, "pooled"]
        assert weights in job.inputs
        assert job.outputs == (f"results/features/elpv/all/{network}/pooled.safetensors",)
        backbone, _, size = network.rpartition("-")
        told = f"--pack pooled --backbone {backbone} --weights {weights} --image-size {size} "
        assert job.params["options"].startswith(told)
    runs = {job.wildcards["method"]: job for job in jobs_of(rules.run)}
    (read,) = {p for job in runs.values() for p in job.inputs if f"{other}/" in p}
    assert read in runs["evidence"].inputs
    assert read not in runs["devnet"].inputs


@pytest.mark.parametrize(
    ("visible", "on_cluster", "asked"),
    [(0, False, 0), (1, False, 1), (4, False, 1), (1, True, 0)],
)
def test_every_rule_states_its_needs(monkeypatch, visible, on_cluster, asked):
    monkeypatch.setattr(table, "visible_gpus", lambda: visible)
    for rule in Rules(rules_of().grid, on_cluster=lambda: on_cluster):
        needs = dict(rule.resources)
        if rule.name in NETWORKS:
            gpus = needs.pop("gpu")
            assert callable(gpus)
            assert gpus(SimpleNamespace()) == asked
        assert needs == {"mem_mb": rule.mem_mb, "runtime": rule.runtime}
        assert rule.mem_mb >= 1000
        assert rule.runtime >= 30


def test_equal_parameters_are_equal_texts():
    hyper = dict(reversed([*shipped().hyper["dpdl"].items()]))
    again = rules_of(hyper={**shipped().hyper, "dpdl": hyper})
    wildcards = SimpleNamespace(method="dpdl")
    several: Any = [rules.run.snakemake_params for rules in (again, rules_of_grid("default"))]
    first, second = (parameters["hyper"](wildcards) for parameters in several)
    assert first == second == first.replace("\n", "")
    # Data and weights are only taken from somewhere: no package makes them.
    without = [rule.name for rule in again if "environment" not in rule.snakemake_params]
    assert without == ["fetch", "weights"]


def test_code_is_that_of_the_step_and_of_what_its_wildcards_name():
    rules, own = rules_of_grid("default"), rules_of_grid("no figures")
    run = {name: rules.run.code(SimpleNamespace(method=name)) for name in ("dpdl", "dpdl.x", "dra")}
    assert run["dpdl"] == run["dpdl.x"] != run["dra"]
    source, step = ROOT / "src", "osad.pipeline.steps.fetch"
    for found, module in ((rules, "osad.data.sets.elpv"), (own, "osad.data.layouts.own")):
        (job,) = jobs_of(found.fetch)
        assert job.code == code_fingerprint((step, module), source)


def test_phases_are_of_all_rules():
    names = [rule.name for rule in rules_of_grid("default")]
    assert [name for phase in PHASES.values() for name in phase] == names


# --- what is written by hand ------------------------------------------------------------------


def test_each_rule_has_a_block_of_its_own_in_the_rule_files():
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    _, *parts = re.split(r"^ *rule (\w+):$", text, flags=re.MULTILINE)
    blocks = dict(zip(parts[::2], parts[1::2], strict=True))
    for rule in rules_of_grid("default"):
        block = re.sub(r"EXCHANGE\.(\w+)\((RULES\.\w+)\)", r"\2.\1", blocks.pop(rule.name))
        used = set(re.findall(r"RULES\.(\w+)\.(\w+)", block)) - {(rule.name, "receipt")}
        assert used == {(rule.name, key) for key in (*STATED, "command")}
    assert {n: re.findall(r'targets\(RULES, "(\w+)"\)', b) for n, b in blocks.items()} == {
        phase: [phase] for phase in PHASES
    }
    # What needs a network runs where Snakemake does.
    (local,) = re.findall(r"localrules:\n((?: +\w+,\n)+)", text)
    assert re.findall(r"\w+", local) == ["fetch", "weights"]


def test_stages_of_dvc_hold_exactly_the_outputs_of_the_rules():
    rules = rules_of_grid("default")
    done: set[str] = set()
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert {"Snakefile", "workflow", "src/osad", "requirements/numeric.lock"} <= set(
            stage["deps"]
        )
        phases = re.findall(r" ([a-z]\w+)(?= )", stage["cmd"].partition("--")[0]) or PHASES
        outputs = {path for phase in phases for path in targets(rules, phase)} - done
        done |= outputs
        outs = [next(iter(out)) for out in (*stage["outs"], *stage.get("metrics", ()))]
        held = [[out for out in outs if f"{path}/".startswith(f"{out}/")] for path in outputs]
        assert all(len(found) == 1 for found in held), name
        assert {out for found in held for out in found} == set(outs), name
    assert done == {path for rule in rules for path in rule.files}
