"""What is patched of Snakemake is there, does the same, and is left alone where it is another."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import os
import re
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import snakemake.api  # The parts of Snakemake cannot be imported in any order.
from snakemake import (
    common,
    dag,
    exceptions,
    io,
    iocontainers,
    jobs,
    output_index,
    rules,
)
from snakemake.scheduling import job_scheduler
from snakemake.scheduling.job_scheduler import JobScheduler

from osad.core.errors import DataError
from osad.runtime import snakemake_patches
from osad.runtime.snakemake_patches.run import SMALLEST

TABLE = {
    "_IOFile.checksum": (io._IOFile, "cc344b5b1a5e355b"),
    "JobScheduler._schedule_reevalutation": (JobScheduler, "bb09f100ea5766bb"),
    "get_function_params": (common, "ffd80f63645293c3"),
    "is_flagged": (io, "30f9120e76ce91ad"),
    "_IOFile.is_storage": (io._IOFile, "430c5832e179e786"),
    "_IOFile.clone_flags": (io._IOFile, "b3c7314a62abb22d"),
    "AttributeGuard": (iocontainers, "4682d91c4ec67bd8"),
    "Job.format_wildcards": (jobs.Job, "d0b0230c5d5bb8c4"),
    "Job.log_info": (jobs.Job, "f24bb879faed0cea"),
    "DAG.update_conda_envs": (dag.DAG, "a514a7f9a84be7a4"),
    "JobScheduler._free_resources": (JobScheduler, "bc0a4eb1c6b1455d"),
    "DAG.check_directory_outputs": (dag.DAG, "d5a17c047b46b717"),
    "_IOFile.__eq__": (io._IOFile, "57ad2f571cc61b08"),
    "Job.is_pipe_or_service_input": (jobs.Job, "e1e6678cceb7fe9e"),
    "OutputIndex.match_producers": (output_index.OutputIndex, "533ef47353b5d840"),
    "DAG.update": (dag.DAG, "67f5338497ea3b0e"),
    "_IOFile.apply_wildcards": (io._IOFile, "3a8880e1be2a7bd2"),
    "Rule.expand_input": (rules.Rule, "703f7584ed8aeadd"),
    "_IOFile.get_inventory_parent": (io._IOFile, "1d47db1a708b5e69"),
    "apply_wildcards": (io, "a027b0cdd37cfdad"),
    "Job.is_valid": (jobs.Job, "74609fe120193ef6"),
    "Job.check_protected_output": (jobs.Job, "cc24c2002a61d80b"),
    "check": (io, "a2f56d4a317fd6fd"),
    "_IOFile.exists": (io._IOFile, "43311be64594a635"),
    "Job.output_mintime": (jobs.Job, "b7b45c26508fd80f"),
    "format_exception_to_string": (exceptions, "42134937a2efc71a"),
}
"""What is patched: where it stands, and what its source is when the patch was written."""
PATCHED = {name: (holder, name.rpartition(".")[2]) for name, (holder, _) in TABLE.items()}
ORIGINALS = {name: getattr(*place) for name, place in PATCHED.items()}


@pytest.fixture(autouse=True)
def _undone(monkeypatch):
    """Put Snakemake back after each test."""
    others = [(module, "is_flagged") for module in (dag, jobs, rules)]
    for holder, name in [
        *PATCHED.values(),
        (rules, "get_function_params"),
        *others,
        (io._IOFile, "flags"),
        (io._IOFile, "__hash__"),
        (rules.Rule, "apply_path_modifier"),
    ]:
        monkeypatch.setattr(holder, name, getattr(holder, name))
    snakemake_patches.apply.cache_clear()
    yield
    snakemake_patches.apply.cache_clear()


PATCH = "from osad.runtime import snakemake_patches\nsnakemake_patches.apply()\n"


@pytest.fixture
def plans(tmp_path):
    """Plan a workflow by Snakemake itself, then with the patches."""

    def plan(snakefile, *options):
        done = []
        for head in ("\n\n", PATCH):  # As many lines: errors tell theirs.
            (tmp_path / "Snakefile").write_text(head + snakefile, encoding="utf-8")
            command = [sys.executable, "-m", "snakemake", "-n", "-c1", *options]
            done.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True))
        return done

    return plan


def unpatched():
    return [name for name, place in PATCHED.items() if getattr(*place, None) is ORIGINALS[name]]


# --- the installed Snakemake is the known one ---


def test_every_patch_fits_the_installed_snakemake(capfd):
    snakemake_patches.apply()
    assert unpatched() == []
    assert rules.get_function_params is common.get_function_params
    assert capfd.readouterr().err == ""
    # The second time nothing is patched again.
    before = [getattr(*place) for place in PATCHED.values()]
    snakemake_patches.apply()
    assert [getattr(*place) for place in PATCHED.values()] == before


@pytest.mark.parametrize("name", PATCHED)
def test_what_is_patched_has_not_changed(name):
    """If this fails, read what Snakemake does now, and whether the patch still does the same."""
    original = ORIGINALS[name]
    source = inspect.getsource(original.fget if isinstance(original, property) else original)
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == TABLE[name][1]


def test_snakemake_calls_what_is_patched(tmp_path):
    """In a run, else nothing is saved: a file is hashed once, a function inspected once."""
    (tmp_path / "Snakefile").write_text(
        f"{PATCH}import hashlib, inspect, threading, time\n"
        "began, counts = time.monotonic(), dict(hashed=0, inspected=0, looks=0)\n"
        "def count(holder, name, what, own):\n"
        "    original = getattr(holder, name)\n"
        "    def counted(*arguments):\n"
        "        counts[what] += own(*arguments)\n"
        "        return original(*arguments)\n"
        "    setattr(holder, name, counted)\n"
        "def text(wildcards): return wildcards.name\n"
        "count(hashlib, 'file_digest', 'hashed', lambda file, _: file.name == 'large')\n"
        "count(inspect, 'signature', 'inspected', lambda function: function is text)\n"
        "count(threading, 'Timer', 'looks', lambda delay, _: delay == 1)\n"
        "rule all:\n"
        "    input: 'a', 'b', 'c', 'd'\n"
        "rule one:\n"
        "    input: 'large'\n"
        "    output: '{name}'\n"
        "    wildcard_constraints: name='[a-d]'\n"
        "    params: text\n"
        "    shell: 'echo {params} > {output}'\n"
        "onsuccess:\n"
        "    counts['looks'] -= int(time.monotonic() - began)  # One a second.\n"
        "    print('counted', *counts.values())\n",
        encoding="utf-8",
    )
    (tmp_path / "large").write_bytes(bytes(SMALLEST))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    command += ["--scheduler", "greedy", "--max-checksum-file-size", "1GB"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    counted = re.search(r"^counted (\d+) (\d+) (-?\d+)$", result.stdout + result.stderr, re.M)
    assert counted, result.stderr
    hashed, inspected, looks = map(int, counted.groups())
    assert (hashed, inspected) == (1, 1)
    assert looks <= 1


PLANNED = """
rule all:
    input: "b.txt"
rule one:
    output: temp("a")
    params: lambda wildcards, threads: f"text of {threads}"
    message: "one {output} {params} {threads}"
    shell: "echo {params:q} {resources.tmpdir} > {output}"
rule two:
    input: rules.one.output
    output: "{name}.txt"
    log: "{name}.log"
    conda: "env.yaml"
    message: "two {wildcards.name} {log}"
    shell: "cp {input} {output}"
"""


@pytest.mark.parametrize("options", [[], ["-p"], ["--quiet", "reason"]])
def test_a_plan_says_what_snakemake_says_by_itself(plans, tmp_path, options):
    (tmp_path / "env.yaml").write_text("dependencies: []\n", encoding="utf-8")
    said = []
    for done in plans(PLANNED, *options):
        done.check_returncode()
        plan = (done.stdout + done.stderr).partition("Job stats:")[2]
        said.append(re.sub(r".*\d:\d\d:\d\d.*", "", plan))
    assert "one a text of 1 1" in said[0]
    assert ("echo 'text of 1'" in said[0]) == ("-p" in options)
    assert said[1] == said[0]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [("a", "a/b/c", True), ("a", "aa/b", False), ("a/b", "a/c", False), ("a", "./a/b", True)],
)
def test_an_output_in_that_of_another_job_is_refused_as_before(plans, first, second, refused):
    snakefile = (
        "rule all:\n    input: 'one', 'two'\n"
        f"rule one:\n    output: 'one', directory('{first}')\n    shell: ''\n"
        f"rule two:\n    output: 'two', '{second}'\n    shell: ''\n"
    )
    for done in plans(snakefile):
        assert bool(done.returncode) is refused
        assert ("child to another output" in done.stdout) is refused


@pytest.mark.parametrize("dryrun", [True, False])
def test_a_plan_gives_no_resources_back(dryrun):
    snakemake_patches.apply()
    job = types.SimpleNamespace(scheduler_resources={"gpu": 1})
    scheduler = types.SimpleNamespace(dryrun=dryrun, resources={"gpu": 0})
    JobScheduler._free_resources(scheduler, job)
    assert scheduler.resources == {"gpu": 0 if dryrun else 1}


@pytest.mark.parametrize("mark", ["pipe", "service", "temp"])
def test_inputs_by_a_pipe_are_found_as_before(mark):
    rule = types.SimpleNamespace(output=[io.AnnotatedString("a")])
    rule.output[0].flags[mark] = True
    rule.workflow = types.SimpleNamespace(rules=[rule])
    source = mock.Mock(pipe_or_service_output={"a"} if mark != "temp" else set())
    job = mock.Mock(rule=rule)
    job.dag.dependencies = {job: {source: {"a", "b"}}}
    by_itself = [jobs.Job.is_pipe_or_service_input(job, path) for path in "abc"]
    snakemake_patches.apply()
    assert [jobs.Job.is_pipe_or_service_input(job, path) for path in "abc"] == by_itself
    assert by_itself == [mark != "temp", False, False]


def test_jobs_are_not_looked_through_where_no_rule_makes_a_pipe():
    snakemake_patches.apply()
    rule = types.SimpleNamespace(output=[io.AnnotatedString("a")])
    rule.workflow = types.SimpleNamespace(rules=[rule])
    job = types.SimpleNamespace(rule=rule, dag=None)
    assert not jobs.Job.is_pipe_or_service_input(job, "a")


def test_producers_are_looked_up_once_a_file():
    snakemake_patches.apply()
    rule = mock.Mock(**{"is_producer.side_effect": lambda file: file.endswith(".csv")})
    rule.products.return_value = [mock.Mock(constant_prefix=lambda: "a/", constant_suffix=str)]
    index = output_index.OutputIndex([rule])
    found = [index.match_producers(name) for name in ("a/b.csv", "a/c.txt", "b.csv") * 2]
    assert found == [{rule}, set(), set()] * 2
    assert rule.is_producer.call_count == 2
    assert output_index.OutputIndex([]).match_producers("a/b.csv") == set()  # Another workflow.


RULES = """
rule two:
    output: "{name}.one", "{name}.two"
    input: lambda wildcards: ["start", "given//file"]
    shell: "touch {output}"
rule start:
    output: "start"
    shell: "touch {output}"
rule end:
    output: "end"
    input: "a.one", "b.two", "start", list=lambda wildcards: ["c.one", "d.two"]
    shell: "touch {output}"
"""
ALL = """
rule all:
    default_target: True
    input: "end", expand("{name}.{kind}", name=[*"abcd"], kind=["one", "two"])
"""


@pytest.fixture
def planned(plans, tmp_path):
    """Plan a workflow both ways; return the words of each line that each says, sorted."""

    def plan(snakefile):
        (tmp_path / "given").mkdir(exist_ok=True)
        (tmp_path / "given/file").touch()
        own = r"\[|.*(jobid|Workflow ID|Date): "  # Of each plan, or in the order of a set.
        return [
            [
                " ".join(sorted(re.split("[,; ]+", line)))
                for line in (done.stdout + done.stderr).splitlines()
                if not re.match(own, line)
            ]
            for done in plans(snakefile, "-p")
        ]

    return plan


def test_a_graph_is_that_of_snakemake(planned):
    by_itself, patched = planned(ALL + RULES)
    assert sorted(by_itself) == sorted(patched)
    assert any("a.one a.two command: touch" in line for line in patched)


def test_only_a_job_that_adds_nothing_to_the_graph_is_passed_over(monkeypatch):
    async def update(self, jobs, file=None, visited=None, known_producers=None, progress=False,
                     create_inventory=False):  # fmt: skip
        return "looked at"

    monkeypatch.setattr(dag.DAG, "update", update)
    snakemake_patches.apply()
    known, new = types.SimpleNamespace(input=["x"]), types.SimpleNamespace(input=[])
    graph = types.SimpleNamespace(_dependencies=[known])

    def passed(jobs, **arguments):
        return asyncio.run(dag.DAG.update(graph, jobs, **arguments)) != "looked at"

    assert passed([known])
    assert passed([known], file="y", visited=[new], progress=True)
    assert not passed([known], file="x")  # It reads what it makes.
    assert not passed([known], file="y", visited=[known])
    assert not passed([new])
    assert not passed([known, known], file="y")
    assert not passed([])


def test_a_function_of_inputs_may_ask_for_those_of_its_rule(planned):
    by_itself, patched = planned(
        'rule all:\n    output: "all"\n'
        "    input: x=lambda _: 'given//file', y=lambda w: [rules.all.input.x(w)]\n"
        '    shell: "touch {output}"\n'
    )
    assert sorted(by_itself) == sorted(patched)
    assert " all output:" in patched


def test_marks_that_a_function_sets_are_its_own(planned):
    """Snakemake marks the output of a checkpoint where it is asked for: for that reader alone."""
    by_itself, patched = planned(
        'checkpoint one:\n    output: "one"\n    shell: "touch {output}"\n'
        'rule two:\n    output: "two"\n'
        "    input: lambda _: ancient(checkpoints.one.get().output[0])\n"
        '    shell: "touch {output}"\n'
        'rule three:\n    output: "three"\n    input: "one"\n    shell: "touch {output}"\n'
        'rule all:\n    default_target: True\n    input: "two", "three"\n'
    )
    assert sorted(by_itself) == sorted(patched)
    assert " one output:" in patched


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            'rule other:\n    output: "{name}.one"\n    shell: "touch {output}"\n',
            "AmbiguousRuleException",
        ),
        ('rule ring:\n    output: "given//file"\n    input: "a.one"\n', "CyclicGraphException"),
    ],
)
def test_what_is_wrong_in_a_graph_is_told_as_before(planned, more, told):
    by_itself, patched = planned(ALL + RULES + more)
    assert {*by_itself} == {*patched}
    assert told in "".join(patched)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a",
        "{x}",
        "a/{x}.{y}",
        "{x,[a-z]+}/{ y }",
        "{x}{x}{y,a{3,5}}",
        "{1}",
        "{}",
        "{x}}",
        "{z}a",
    ],
)
def test_wildcards_are_filled_in_as_before(pattern):
    def told():
        try:
            return io.apply_wildcards(pattern, {"x": "{y}", "y": 1, "1": Path("a")})
        except exceptions.WildcardError as error:
            return str(error)

    by_itself = told()
    snakemake_patches.apply()
    assert told() == told() == by_itself
    assert ("z" in by_itself) is (pattern == "{z}a")


def test_names_of_a_log_must_be_as_before():
    job: Any = object.__new__(jobs.Job)
    job.rule, job._log, job._benchmark, job.wildcards_dict = mock.Mock(), None, None, {}
    job.rule.expand_log.side_effect = exceptions.WildcardError("no")
    snakemake_patches.apply()
    with pytest.raises(exceptions.WildcardError):
        job.is_valid()
    job.rule.expand_log.side_effect = None
    job.is_valid()
    job.is_valid()
    assert job.rule.expand_log.call_count == 2  # Once that it refused.


@pytest.mark.parametrize("protected", [False, True])
def test_protected_outputs_are_found_as_before(protected):
    snakemake_patches.apply()
    files = [io.IOFile(name) for name in "ab"]
    files[0].protected = mock.AsyncMock(return_value=False)
    files[1].protected = mock.AsyncMock(return_value=protected)
    job = mock.Mock(output=files, wildcards={})
    refused = pytest.raises(exceptions.ProtectedOutputException)
    with refused if protected else contextlib.nullcontext():
        asyncio.run(jobs.Job.check_protected_output(job))


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/.b/c-d_1.csv",
        "",
        "./a",
        "a//b",
        " a",
        "a ",
        "a\nb",
        "a/b\n",
        "{a}",
        "{a-b}",
        "é/a",
        "/a",
    ],
)
@pytest.mark.parametrize("storage", [False, True])
def test_odd_names_are_warned_of_as_before(name, storage, caplog):
    def told():
        caplog.clear()
        with caplog.at_level("WARNING", io.logger.name):
            io._IOFile.check(io.IOFile(name)) if not storage else io.check(name, None, True)
        return caplog.messages

    by_itself = told()
    snakemake_patches.apply()
    assert told() == by_itself
    assert bool(by_itself) is (
        name in {"", "./a", " a", "a ", "a\nb", "a/b\n"} or (name == "a//b" and not storage)
    )


@pytest.mark.parametrize("active", [False, True])
def test_whether_a_file_exists_is_remembered_as_before(active, tmp_path):
    """What was seen counts, until Snakemake clears it; with no memory the disk does."""
    cache = io.IOCache(1)
    cache.active = active
    file = io.IOFile(str(tmp_path / "a"))
    file.rule = types.SimpleNamespace(workflow=mock.Mock(iocache=cache))

    def seen():
        cache.clear()
        (tmp_path / "a").unlink(missing_ok=True)
        before = asyncio.run(file.exists())
        (tmp_path / "a").touch()
        after = asyncio.run(file.exists())
        cache.clear()
        return before, after, asyncio.run(file.exists())

    by_itself = seen()
    snakemake_patches.apply()
    assert seen() == by_itself == (False, not active, True)
    file._file = io.AnnotatedString("a")
    file._file.flags["storage_object"] = mock.Mock()
    file.exists_in_storage = mock.AsyncMock(return_value="there")
    assert asyncio.run(file.exists()) == "there"


@pytest.mark.parametrize("made", [(), (5,), (5, 3)])
@pytest.mark.parametrize("benchmark", [None, 4])
def test_the_oldest_output_counts_as_before(made, benchmark, tmp_path):
    rule = types.SimpleNamespace(workflow=mock.Mock(iocache=io.IOCache(1)))
    *outputs, measured = files = [io.IOFile(str(tmp_path / name)) for name in "abcd"]
    for file in files:
        file.rule = rule
    job: Any = object.__new__(jobs.Job)
    job.output, job._benchmark, job.wildcards_dict = outputs, None, {}
    job.rule = mock.Mock(expand_benchmark=lambda _: measured if benchmark else None)
    times = [*zip(outputs, made, strict=False), *[(measured, benchmark)] * bool(benchmark)]
    for file, time in times:
        Path(file).touch()
        os.utime(file, (time, time))
    by_itself = asyncio.run(_awaited(job))
    snakemake_patches.apply()
    assert asyncio.run(_awaited(job)) == by_itself
    assert by_itself == min([*made, *[benchmark] * bool(benchmark)], default=None)


async def _awaited(job):
    return await job.output_mintime


def test_names_of_inputs_get_a_prefix_as_before(planned, tmp_path):
    (tmp_path / "other.smk").write_text(RULES)
    (tmp_path / "below/given").mkdir(parents=True)
    (tmp_path / "below/given/file").touch()
    by_itself, patched = planned(
        'module other:\n    snakefile: "other.smk"\n    prefix: "below"\n'
        "use rule * from other\n"
        'rule all:\n    default_target: True\n    input: "below/end"\n'
    )
    assert {*by_itself} == {*patched}
    assert any("below/a.one below/a.two command: touch" in line for line in patched)


# --- another one is left as it is ---


@pytest.mark.parametrize("name", PATCHED)
@pytest.mark.parametrize("change", ["gone", "other parameters", "no function"])
def test_another_snakemake_is_left_as_it_is(monkeypatch, capfd, name, change):
    holder, attribute = PATCHED[name]
    if change == "gone":
        monkeypatch.delattr(holder, attribute)
    else:
        other = (lambda *, new: new) if change == "other parameters" else 1
        monkeypatch.setattr(holder, attribute, other)
    found = getattr(holder, attribute, None)
    snakemake_patches.apply()
    assert getattr(holder, attribute, None) is found
    users = {"_IOFile.is_storage": ["_IOFile.checksum"]} if change == "gone" else {}
    left = users.get(name, [])
    assert unpatched() == left  # All others are patched.
    assert capfd.readouterr().err == "".join(
        f"osad: Snakemake {snakemake.__version__}: {one} is not patched; no result changes\n"
        for one in [*left, name]
    )


@pytest.mark.parametrize(
    ("module", "kind", "names"),
    [
        (io, "_IOFile",
         ["_IOFile.checksum", "is_flagged", "_IOFile.is_storage",
          "_IOFile.clone_flags", "_IOFile.__eq__",
          "_IOFile.apply_wildcards", "_IOFile.get_inventory_parent", "_IOFile.exists"]),
        (job_scheduler, "JobScheduler",
         ["JobScheduler._schedule_reevalutation", "JobScheduler._free_resources"]),
    ],
)  # fmt: skip
def test_a_class_that_is_gone_is_not_patched(monkeypatch, capfd, module, kind, names):
    monkeypatch.delattr(module, kind)
    snakemake_patches.apply()
    assert unpatched() == names
    assert f" {names[0]} is not patched; " in capfd.readouterr().err


def test_a_module_that_is_gone_is_not_patched(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, job_scheduler.__name__, None)
    snakemake_patches.apply()
    assert unpatched() == ["JobScheduler._schedule_reevalutation", "JobScheduler._free_resources"]


def test_what_a_patch_uses_must_be_there(monkeypatch, capfd):
    monkeypatch.delattr(io._IOFile, "file")
    monkeypatch.setattr(JobScheduler, "__init__", lambda self: None)
    monkeypatch.setattr(rules, "get_function_params", lambda func: [])
    snakemake_patches.apply()
    assert unpatched() == list(PATCHED)[:3]
    assert len(capfd.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("version", ["9.28.0", "9.2.7", "10.0.0"])
def test_another_version_is_left_as_it_is(monkeypatch, capfd, version):
    monkeypatch.setattr(snakemake, "__version__", version)
    snakemake_patches.apply()
    assert unpatched() == list(PATCHED)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == (
        f"osad: Snakemake {version}: _IOFile.checksum is not patched; no result changes"
    )
    assert len(lines) == len(PATCHED)


# --- marks, texts ---


def test_marks_are_those_that_snakemake_sees():
    off = io.flag("a", "temp", False)
    marked = io.flag("a", "temp")
    files = [io.IOFile(value) for value in ("a", marked, off)]
    values = ["a", marked, off, *files, io.AnnotatedString(len), len, None, 3]
    pairs = [(value, flag) for value in values for flag in ("temp", "protected")]
    plain = [bool(ORIGINALS["is_flagged"](*pair)) for pair in pairs]
    snakemake_patches.apply()
    assert [io.is_flagged(*pair) for pair in pairs] == plain
    assert sum(plain) == 2
    assert dag.is_flagged is jobs.is_flagged is rules.is_flagged is io.is_flagged


def test_only_marks_that_there_are_are_copied():
    snakemake_patches.apply()
    plain, marked = io.IOFile("a"), io.IOFile(io.flag("a", "temp"))
    files = [io.IOFile("b"), io.IOFile("c"), io.IOFile(io.flag("d", "temp"))]
    for file, other in zip(files, (plain, marked, plain), strict=True):
        file.clone_flags(other)
    assert [io.is_flagged(file, "temp") for file in files] == [False, True, False]
    files[1].flags["temp"] = False  # It is a copy.
    assert io.is_flagged(marked, "temp")
    files[0].flags["local"] = True  # As to a file of a function that has marks.
    assert io.is_flagged(files[0], "local")
    assert not io.is_flagged(plain, "local")


def test_names_are_compared_as_before():
    values = ["a", "b", "a/", io.flag("a", "temp"), io.flag("b", "temp"), len, Path("a"), None]
    files = [io.IOFile(value) for value in values[:5]]
    pairs = [(file, other) for file in files for other in (*values, *files)]
    hashes = [hash(file) for file in files]
    equal = [(file == other, other == file, file != other) for file, other in pairs]
    snakemake_patches.apply()
    assert [hash(file) for file in files] == hashes
    assert [(file == other, other == file, file != other) for file, other in pairs] == equal
    assert len({*files}) == 2


def test_lists_of_names_guard_their_methods_as_before():
    snakemake_patches.apply()
    one, other = (iocontainers.Namedlist(fromdict={"x": "y"}) for _ in range(2))
    assert one.sort is other.sort
    with pytest.raises(AttributeError, match=r"index\(\) cannot be used on snakemake input"):
        one.index("y")
    assert iocontainers.Namedlist(fromdict={"index": "z"}).index == "z"


# --- errors ---


def refused(cause: Exception | None) -> Exception:
    """Return what the Snakefile raises where something of ours refuses."""
    error = exceptions.WorkflowError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left"), "osad: No space left; see to it and run the same command "),
        (
            PermissionError(1, "Not permitted", "a/b"),
            "osad: a/b: Not permitted; see to it ",
        ),
        (
            FileNotFoundError(2, "No", "/a/.snakemake/locks/0.x"),
            "osad: another snakemake has just ",
        ),
        (exceptions.WorkflowError("no"), "WorkflowError:\nno"),
        (refused(DataError("a.csv: is no table")), "osad: a.csv: is no table"),
        (refused(KeyError("no")), "WorkflowError:\n'no'"),
        (KeyError("no"), "KeyError: 'no'\n"),
    ],
)
def test_a_refusal_and_an_error_of_the_system_are_told_in_one_line(error, told):
    snakemake_patches.apply()
    text = exceptions.format_exception_to_string(error, {})
    assert text.startswith(told)
    assert "\n" not in text or not told.startswith("osad: ")


def test_an_error_of_the_system_in_the_workflow_is_told_with_its_line():
    snakemake_patches.apply()
    try:
        exec(compile("x = 1\nopen('/nowhere')", "own.smk", "exec"))  # noqa: S102
    except OSError as error:
        text = exceptions.format_exception_to_string(error, {"own.smk": {1: 1, 2: 2}})
    assert text.startswith('FileNotFoundError in file "own.smk", line 2:')


# --- checksums ---


@pytest.fixture
def hashed(monkeypatch):
    """Sizes of what Snakemake hashes, in order."""
    sizes = []
    original = hashlib.file_digest

    def file_digest(file, algorithm):
        sizes.append(os.fstat(file.fileno()).st_size)
        return original(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    snakemake_patches.apply()
    return sizes


def digest(path: Path, threshold=10**9):
    """Ask as Snakemake does, with a new object of the file as each job has."""
    file = io.IOFile(str(path))
    file.rule = types.SimpleNamespace(workflow=types.SimpleNamespace(iocache=io.IOCache(1)))
    file.rule.workflow.iocache.deactivate()
    return asyncio.run(file.checksum(threshold))


def expected(content: bytes):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_large_file_is_hashed_once_until_it_changes(tmp_path, hashed):
    path = tmp_path / "pack"
    size = SMALLEST
    path.write_bytes(b"a" * size)
    assert [digest(path) for _ in range(3)] == [expected(b"a" * size)] * 3
    assert hashed == [size]
    # Larger than what is hashed at all.
    assert digest(path, size - 1) is None
    # Replaced by another of the same size and time.
    times = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"b" * size)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    assert digest(path) == expected(b"b" * size)
    # Written anew.
    path.write_bytes(b"c" * size)
    os.utime(path, (1, 1))
    assert digest(path) == expected(b"c" * size)
    path.write_bytes(b"c" * (size + 1))
    assert digest(path) == expected(b"c" * (size + 1))
    assert hashed == [size, size, size, size + 1]
    path.unlink()
    assert digest(path) is None


def test_a_small_file_is_hashed_each_time(tmp_path, hashed):
    path = tmp_path / "split.csv"
    path.write_bytes(b"a")
    times = path.stat()
    assert digest(path) == expected(b"a")
    path.write_bytes(b"b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(path) == expected(b"b")
    assert hashed == [1, 1]


# --- looks ---


def scheduler():
    return types.SimpleNamespace(_open_jobs=threading.Semaphore(0))


def look(asked, delay):
    JobScheduler._schedule_reevalutation(asked, delay)


def test_looks_that_are_planned_already_are_left_out():
    snakemake_patches.apply()
    asked = scheduler()
    for _ in range(20):
        look(asked, 0.05)
    assert asked._open_jobs.acquire(timeout=10)
    assert not asked._open_jobs.acquire(timeout=0.2)
    # The next one is planned as before.
    look(asked, 0.05)
    assert asked._open_jobs.acquire(timeout=10)


def test_looks_of_other_delays_and_schedulers_are_their_own():
    snakemake_patches.apply()
    one, other = scheduler(), scheduler()
    look(one, 60)
    look(one, 0.01)
    look(other, 0.01)
    assert one._open_jobs.acquire(timeout=10)
    assert other._open_jobs.acquire(timeout=10)


# --- signatures ---


def test_signatures_are_looked_up_once_and_are_the_same(monkeypatch):
    snakemake_patches.apply()
    original = inspect.signature
    calls: list[Any] = []

    def counted(function):
        calls.append(function)
        return original(function)

    monkeypatch.setattr(inspect, "signature", counted)

    def reads(wildcards, input, threads):
        return [wildcards, input, threads]

    for look_up in (common.get_function_params, rules.get_function_params) * 3:
        assert list(look_up(reads)) == ["wildcards", "input", "threads"]
    assert calls == [reads]
    assert list(rules.get_function_params(lambda w: w)) == ["w"]
    assert len(calls) == 2


def test_a_function_may_name_its_own_parameters():
    snakemake_patches.apply()

    def any_arguments(*arguments):
        return arguments

    common.overwrite_function_params(any_arguments, ["wildcards", "attempt"])
    assert rules.get_function_params(any_arguments) == ["wildcards", "attempt"]
