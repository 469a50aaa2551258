"""Parameters: what is shipped is right, what is wrong is named, files merge as in Snakemake."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from osad.core.cells import Protocol
from osad.core.errors import ConfigError
from osad.data import registry as data_registry
from osad.methods import registry
from osad.pipeline import config

ROOT = Path(__file__).parents[3]
SCHEMA = config.read_schema(ROOT)
OWN = {"layout": "folder", "raw_path": "images", "defect_classes": ["scratch", "dent"]}


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return content


def changed(**changes: Any) -> dict[str, Any]:
    """Return the shipped parameters with values put at places like ``grid__shots``."""
    content = shipped()
    for place, value in changes.items():
        *path, last = place.split("__")
        target = content
        for key in path:
            target = target[key]
        target[last] = value
    return content


def test_shipped_parameters_are_valid():
    params = config.load(ROOT)
    content = shipped()
    assert list(params.methods) == content["grid"]["methods"]
    assert params.hyper.keys() == set(params.methods)
    assert list(params.seeds) == content["grid"]["seeds"]
    assert params.removed == content["protocol"]["removed"]
    assert params.features.backbone == content["features"]["backbone"]
    assert params.features.strides == tuple(content["features"]["strides"])
    for name in params.methods:
        assert params.hyper[name].keys() == registry.get(name).resolve().keys()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path):
    params = config.load(ROOT, path)
    extra = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert params.results == extra.get("results", "results")
    for method, values in extra.get("methods", {}).items():
        for key, value in values.items():
            if method in params.methods:
                assert params.hyper[method][key] == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid__shot": [1]}, r"grid: unknown key 'shot'; did you mean 'shots'\?"),
        ({"grids": {}}, r"top level: unknown key 'grids'; did you mean 'grid'\?"),
        ({"zzz": 1}, "unknown key 'zzz'; known: datasets, features"),
        ({"grid__methods": ["dplx"]}, r"method 'dplx' is unknown; did you mean 'dpdl'\?"),
        ({"methods": {"dplx": {}}}, r"method 'dplx' is unknown; did you mean 'dpdl'\?"),
        ({"methods": {"dra": {"epoch": 1}}}, r"methods\.dra\.epoch: unknown hyper-parameter"),
        ({"methods": {"dra": {"epochs": "3"}}}, r"methods\.dra\.epochs: '3' is not of type int"),
        ({"methods": {"dpdl": {"s0": 2.0}}}, r"methods\.dpdl: s0 is 2\.0, must be in \(0, 1\)"),
        ({"methods": {"dra": 3}}, r"methods\.dra: 3 is not of type 'object'"),
        ({"grid__datasets": ["elpw"]}, "data set 'elpw' is unknown"),
        ({"datasets": {"elpv": {"raw": "x"}}}, "data set 'elpv': unknown setting 'raw'"),
        ({"grid__seeds": [0, 0]}, r"grid\.seeds: .* non-unique"),
        ({"grid__seeds": [-1]}, r"grid\.seeds\.0: -1 is less than the minimum of 0"),
        ({"grid__seeds": []}, r"grid\.seeds: \[\] "),
        ({"grid__settings": ["easy"]}, r"grid\.settings\.0: 'easy' is not one of"),
        ({"grid__shots": ["ten"]}, r"grid\.shots\.0: 'ten' is not of type 'integer'"),
        ({"protocol__removed": 5}, r"grid\.shots: 10 is more than protocol\.removed \(5\)"),
        ({"results": "/tmp/x"}, r"results: '/tmp/x' does not match"),
        ({"results": "../x"}, "does not match"),
        ({"features__backbone": "resnet"}, "features.backbone: 'resnet' is unknown; choose from"),
        ({"features__strides": [16, 64]}, r"features\.strides\.1: 64 is not one of"),
        ({"features__strides": [32, 16]}, "must be ascending"),
        ({"features__image_size": 224.5}, r"features\.image_size: 224\.5 is not of type 'integer'"),
        ({"features__views": 0}, r"features\.views: 0 is less than the minimum"),
        (
            {
                "features__strides": [32],
                "grid__methods": ["patchcore"],
                "methods": {"patchcore": {"strides": [32, 16]}},
            },
            r"methods\.patchcore\.strides: stride 16 is not cached; add it to features\.strides",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(changes, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(changed(**changes), SCHEMA)


def test_another_backbone_can_be_chosen():
    params = config.parse(changed(features__backbone="resnet18"), SCHEMA)
    assert params.features.backbone == "resnet18"


@pytest.mark.parametrize("key", ["results", "grid", "protocol", "datasets", "features", "methods"])
def test_missing_keys_are_named(key):
    content = shipped()
    del content[key]
    with pytest.raises(ConfigError, match=f"top level: '{key}' is a required property"):
        config.parse(content, SCHEMA)


def test_variants_inherit_their_method_s_hyper_parameters():
    content = changed(
        grid__methods=["dpdl", "dpdl.no_dfl"],
        methods={"dpdl": {"epochs": 7, "dispersion": 0.5}, "dpdl.no_dfl": {"lr": 0.1}},
    )
    hyper = config.parse(content, SCHEMA).hyper
    default = registry.get("dpdl").resolve()
    assert hyper["dpdl"] == default | {"epochs": 7, "dispersion": 0.5}
    assert hyper["dpdl.no_dfl"] == default | {"epochs": 7, "lr": 0.1, "dispersion": 0.0}


def test_declared_variants_change_what_they_say_and_nothing_else():
    content = changed(
        grid__methods=["dpdl", "dpdl.c8", "dpdl.no_dfl"],
        methods={"dpdl": {"epochs": 7, "prototypes": 16}},
        variants={"dpdl.c8": {"prototypes": 8, "kappa": 1}, "dpdl.unused": {"eps": 0.5}},
    )
    params = config.parse(content, SCHEMA)
    default = registry.get("dpdl").resolve()
    assert params.hyper.keys() == {"dpdl", "dpdl.c8", "dpdl.no_dfl"}
    assert params.hyper["dpdl.c8"] == default | {"epochs": 7, "prototypes": 8, "kappa": 1.0}
    assert params.changes == {
        "dpdl.c8": {"prototypes": (8, 16), "kappa": (1.0, 10.0)},
        "dpdl.no_dfl": {"dispersion": (0.0, 0.01)},
    }
    job = registry.get("dpdl.c8")  # A job has the name and all values, not the configuration.
    assert job.resolve(params.hyper["dpdl.c8"]) == params.hyper["dpdl.c8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": {"dplx.c8": {"lr": 1}}},
            r"variants\.dplx\.c8: method 'dplx' is unknown; did",
        ),
        (
            {"variants": {"dpdl.c8": {"prototype": 8}}},
            r"variants\.dpdl\.c8\.prototype: unknown hyper-parameter; did you mean 'prototypes'\?",
        ),
        (
            {"variants": {"dpdl.c8": {"prototypes": 8.5}}},
            r"c8\.prototypes: 8\.5 is not of type int",
        ),
        ({"variants": {"dpdl.c8": {"prototypes": 0}}}, r"dpdl\.c8: prototypes is 0, must be 1 or"),
        ({"variants": {"dpdl.no_dfl": {"lr": 0.1}}}, r"variants\.dpdl\.no_dfl: .* choose another"),
        ({"variants": {"dpdl.C8": {"lr": 0.1}}}, r"variants: 'dpdl\.C8' does not match"),
        ({"variants": {"dpdl": {"lr": 0.1}}}, r"variants: 'dpdl' does not match"),
        ({"variants": {"dpdl.c8": {}}}, r"variants\.dpdl\.c8: \{\} "),
        ({"grid__methods": ["dpdl.c8"]}, r"method 'dpdl\.c8' is unknown"),
        (
            {"variants": {"dpdl.c16": {"prototypes": 16}}, "grid__methods": ["dpdl.c61"]},
            r"method 'dpdl\.c61' is unknown; did you mean 'dpdl\.c16'\?",
        ),
        (
            {
                "variants": {"dpdl.c8": {"prototypes": 8}},
                "methods": {"dpdl.c8": {"prototypes": 9}},
            },
            r"methods\.dpdl\.c8\.prototypes: the variant fixes it to 8",
        ),
    ],
)
def test_mistakes_in_variants_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(changed(**changes), SCHEMA)


def test_a_budget_below_the_full_one_is_known(monkeypatch):
    spec = registry.registered("dpdl")
    full = {"epochs": 50, "iterations": 20, "prototypes": 64}
    monkeypatch.setitem(
        registry._specs["dpdl"], "dpdl", dataclasses.replace(spec, full_budget=full)
    )
    content = changed(
        grid__methods=["dpdl", "dpdl.c8", "dra"],
        methods={"dpdl": {"epochs": 20, "iterations": 30}},
        variants={"dpdl.c8": {"prototypes": 8}},
    )
    cuts = config.parse(content, SCHEMA).cuts
    assert cuts["dpdl"] == {"epochs": (20, 50), "prototypes": (32, 64)}
    assert cuts["dpdl.c8"] == {"epochs": (20, 50)}  # What makes a variant is no cut.


FIGURE = {
    "name": "prototypes", "title": "C", "kind": "line", "protocols": ["general-m10"],
    "parameter": {"label": "C", "field": "prototypes"}, "points": [[32, "dpdl"], [8, "dpdl.c8"]],
}  # fmt: skip


def with_figure(**values: Any) -> dict[str, Any]:
    return changed(
        figures=[FIGURE | values],
        variants={"dpdl.c8": {"prototypes": 8}},
        grid__methods=["dpdl", "dpdl.c8"],
    )


def test_figures_are_checked_against_the_grid():
    (figure,) = config.parse(with_figure(), SCHEMA).figures
    assert figure.points == ((8.0, "dpdl.c8"), (32.0, "dpdl"))
    mean = with_figure(protocols=["hard-mean-m10", "normal-m0"])
    assert config.parse(mean, SCHEMA).figures[0].protocols == ("hard-mean-m10", "normal-m0")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"points": [[8, "dpdl"], [32, "dpdl"]]},
            r"prototypes\.points: dpdl has prototypes 32, not 8",
        ),
        ({"points": [[8, "dra"], [32, "dpdl"]]}, r"figures\.0\.points: 'dra' is not in the grid"),
        ({"protocols": ["general-m5"]}, r"figures\.0\.protocols: 'general-m5' is not in the grid"),
        (
            {"parameter": {"label": "C", "field": "prototype"}},
            "has no hyper-parameter 'prototype'; did",
        ),
        ({"kind": "pie"}, r"figures\.0\.kind: 'pie' is not one of"),
        ({"points": [[8, "dpdl"]]}, r"figures\.0\.points: .* too short"),
        (
            {"points": [["8", "dpdl"], [32, "dpdl"]]},
            r"figures\.0\.points\.0\.0: '8' is not of type",
        ),
        ({"colour": "red"}, r"figures\.0: unknown key 'colour'"),
        ({"name": "A b"}, r"figures\.0\.name: 'A b' does not match"),
    ],
)
def test_mistakes_in_figures_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(with_figure(**values), SCHEMA)


def test_parsing_does_not_change_its_input():
    content = changed(methods={"patchcore": {"strides": [32]}})
    before = copy.deepcopy(content)
    assert config.parse(content, SCHEMA).hyper["patchcore"]["strides"] == (32,)
    assert content == before


@pytest.fixture
def root(tmp_path):
    """Return a project's folder with the shipped parameters."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / config.SCHEMA).parent.mkdir(parents=True)
    shutil.copy(ROOT / config.SCHEMA, tmp_path / config.SCHEMA)
    return tmp_path


EXTRA = {
    "results": "results/extra",
    "grid": {"seeds": [7], "methods": ["dpdl", "random"]},
    "features": {"views": 2},
    "datasets": {"mine": OWN},
    "methods": {"dpdl": {"epochs": 1, "eps": 0.1}},
}
MORE = {"grid": {"datasets": ["mine"]}, "methods": {"dpdl": {"eps": 0.2}, "dra": {"epochs": 4}}}


def test_files_merge_as_snakemake_merges_them(root):
    merged = shipped()
    for name, extra in (("extra", EXTRA), ("more", MORE)):
        (root / f"{name}.yaml").write_text(yaml.safe_dump(extra), encoding="utf-8")
        update_config(merged, extra)
    params = config.load(root, root / "extra.yaml", root / "more.yaml")
    assert params == config.parse(merged, SCHEMA)
    assert params.seeds == (7,)
    assert params.shots == (10, 1)
    assert (params.hyper["dpdl"]["epochs"], params.hyper["dpdl"]["eps"]) == (1, 0.2)
    assert params.datasets == ("mine",)
    assert params.features.views == 2
    assert params.features.image_size == shipped()["features"]["image_size"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"bad\.yaml: is not valid YAML"),
        ("- a", r"bad\.yaml: is not a mapping"),
        ("", r"bad\.yaml: is not a mapping"),
        (None, r"bad\.yaml: cannot be read \(No such file or directory\); run from"),
    ],
)
def test_files_that_cannot_be_used_are_named(root, text, message):
    path = root / "bad.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        config.load(root, path)


def names(params: config.Params, dataset: str) -> list[str]:
    return [str(protocol) for protocol in config.protocols(params, dataset, "all")]


def test_protocols_of_the_shipped_grid():
    assert names(config.load(ROOT), "elpv") == [
        "general-m10", "general-m1", "hard-mono-m10", "hard-mono-m1", "hard-poly-m10",
        "hard-poly-m1", "normal-m0",
    ]  # fmt: skip
    few = config.parse(changed(grid__settings=["hard"], grid__shots=[1, 5]), SCHEMA)
    assert names(few, "elpv") == ["hard-mono-m5", "hard-mono-m1", "hard-poly-m5", "hard-poly-m1"]


def test_one_defect_class_leaves_the_hard_setting_out():
    one = OWN | {"defect_classes": ["scratch"]}
    params = config.parse(changed(datasets={"mine": one}, grid__datasets=["mine"]), SCHEMA)
    assert names(params, "mine") == ["general-m10", "general-m1", "normal-m0"]
    assert config.protocols(params, "mine", "all")[-1] == Protocol("normal", 0)


# --- files from anywhere -----------------------------------------------------------------------


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "extra.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BOMB = "".join(
    f"x{number}: &x{number} [{', '.join([f'*x{number - 1}'] * 9) if number else 'lol'}]\n"
    for number in range(12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch hacked']", "could not determine a constructor"),
        ("results: !!python/name:os.system", "could not determine a constructor"),
        ("grid: [", "extra.yaml: is not valid YAML"),
        ("grid: !unknown {}", "is not valid YAML"),
        ("a: &a [*a, *a]", "is nested more than 50 deep"),
        ("grid: &g {grid: *g}", "is nested more than 50 deep"),
        (BOMB, "more than 100000 values"),
        ("[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("x" * 1_000_001, "has more than 1000000 bytes"),
        (b"results: \xe4", "is not UTF-8"),
        (b"results: \x00", "is not valid YAML"),
        ("grid: {seeds: [" + "9" * 5000 + "]}", "is not valid YAML"),
        ("- a\n- b", "is not a mapping"),
        ("", "is not a mapping"),
        ("1: {}", "params.yaml, top level: key 1 is no text"),
        ("variants: {1: {epochs: 1}}", "params.yaml, variants: key 1 is no text"),
        ("datasets: {mine: {true: 1}}", "params.yaml, datasets.mine: key True is no text"),
        ("features: {rotation: .nan}", "params.yaml, features.rotation: nan is no number"),
        ("features: {rotation: -.inf}", "params.yaml, features.rotation: -inf is no number"),
        ("datasets: {mine: {title: 2026-01-01}}", "datasets.mine.title: a value of type date"),
        ("grid: {methods: !!set {dpdl}}", "grid.methods: a value of type set"),
        ("results: !!binary aGVsbG8=", "results: a value of type bytes"),
        ("features: {image_size: 100000}", "features.image_size: 100000 is greater than"),
        ("features: {views: 1000000}", "features.views: 1000000 is greater than"),
        ("grid: {seeds: [-1]}", r"grid.seeds.0: -1 is less than"),
        ("results: ../elsewhere", "'../elsewhere' does not match"),
        ("results: /tmp/x", "'/tmp/x' does not match"),
        ("results: [" + "x, " * 2_000 + "x]", "params.yaml, results: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_hostile_files_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        config.load(ROOT, written(tmp_path, text))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["extra.yaml"]


def test_references_are_fine_in_moderation(tmp_path):
    path = written(tmp_path, "methods: {devnet: {epochs: &n 3}, flos: {epochs: *n}}")
    params = config.load(ROOT, path)
    assert params.hyper["devnet"]["epochs"] == params.hyper["flos"]["epochs"] == 3


def test_a_data_set_has_the_settings_that_it_is_used_in(monkeypatch):
    params = config.parse(changed(), SCHEMA)
    settings = {protocol.setting for protocol in config.protocols(params, "elpv", "all")}
    assert settings == {"general", "hard", "normal"}
    spec = dataclasses.replace(data_registry.get("elpv"), protocols=("normal",))
    monkeypatch.setitem(data_registry._registered, "elpv", spec)
    assert config.protocols(params, "elpv", "all") == [Protocol("normal", 0)]


def test_a_figure_of_all_methods_follows_the_grid():
    """Methods that compete, protocols of a setting, means for the hard one; nothing, no figure."""
    every = {"name": "a", "title": "A", "kind": "bar", "methods": "all"}
    figures = [{**every, "protocols": "general"}, {**every, "name": "b", "protocols": "hard"}]
    params = config.parse({**shipped(), "figures": figures}, SCHEMA)
    competing = [m for m in params.methods if m not in ("true_labels", "random", "constant")]
    assert [figure.methods for figure in params.figures] == [tuple(competing)] * 2
    assert [figure.protocols for figure in params.figures] == [
        ("general-m10", "general-m1"), ("hard-mean-m10", "hard-mean-m1"),
    ]  # fmt: skip
    smaller = shipped() | {"figures": figures}
    smaller["grid"] = smaller["grid"] | {"settings": ["hard"], "shots": [1]}
    (figure,) = config.parse(smaller, SCHEMA).figures
    assert (figure.name, figure.protocols) == ("b", ("hard-mean-m1",))
    smaller["grid"] = smaller["grid"] | {"methods": ["constant"]}
    assert config.parse(smaller, SCHEMA).figures == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [({"methods": "some"}, "'all' was expected"), ({"protocols": "easy"}, "'easy' is not one of")],
)
def test_no_other_word_stands_for_methods_or_protocols(values, message):
    figure = {"name": "a", "title": "A", "kind": "bar", "methods": "all", "protocols": "general"}
    content = shipped() | {"figures": [figure | values]}
    with pytest.raises(ConfigError, match=message):
        config.parse(content, SCHEMA)
