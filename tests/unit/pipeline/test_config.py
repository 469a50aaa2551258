"""Parameters: what is shipped is right, what is wrong is named, files merge as in Snakemake."""

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from project_cases import ROOT
from snakemake.utils import update_config

from osad.core.errors import ConfigError
from osad.data import registry as data_registry
from osad.methods import registry
from osad.pipeline import config
from osad.pipeline.config import Params
from osad.pipeline.describe import feature_options

SCHEMA = config.read_schema(ROOT)


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return content


def changed(text: str) -> dict[str, Any]:
    """Return the shipped parameters with the values of a YAML text at places like ``a.b``."""
    content = shipped()
    for place, value in yaml.safe_load(f"{{{text}}}").items():
        target: Any = content
        *path, last = (int(key) if key.isdigit() else key for key in place.split("."))
        for key in path:
            target = target[key]
        target[last] = value
    return content


def parsed(text: str) -> Params:
    return config.parse(changed(text), SCHEMA)


def test_shipped_parameters_are_valid():
    params = config.load(ROOT)
    content = shipped()
    for name in ("methods", "seeds", "shots", "datasets"):
        assert list(getattr(params, name)) == content["grid"][name]
    assert params.hyper.keys() == set(params.methods)
    assert params.removed == content["protocol"]["removed"]
    assert params.features.strides == tuple(content["features"]["strides"])
    for name in params.methods:
        assert params.hyper[name].keys() == registry.get(name).resolve().keys()
    assert parsed("features.backbone: resnet18").features.first.backbone == "resnet18"


def further(*networks: str) -> Params:
    return parsed(f"features.further: [{', '.join(networks)}]")


LITE = "backbone: tf_efficientnet_lite"


def test_further_networks_come_after_the_first_in_their_order():
    networks = (f"{{{LITE}1, image_size: 240}}", f"{{{LITE}0, image_size: 96}}")
    features = further(*networks).features
    assert [*map(str, features.networks)] == [
        "tf_efficientnet_lite0-224", "tf_efficientnet_lite1-240", "tf_efficientnet_lite0-96",
    ]  # fmt: skip
    assert features.first is features.networks[0]
    assert features.networks[1].weights_file is None
    local = further(f"{{{LITE}1, image_size: 240, weights_file: my.pth}}").features
    assert local.networks[1].weights_file == "my.pth"
    assert further().features.networks == features.networks[:1]


def test_tiles_are_of_the_first_network_and_one_tile_is_none():
    usual = parsed("").features
    plain = feature_options("plain", usual, usual.first)
    assert "--grid" not in plain
    features = parsed("features.tiles: {grid: 1, overlap: 32}, features.resize: squash").features
    assert feature_options("plain", features, features.first) == plain
    features = parsed("features.tiles: {grid: 3, overlap: 64}, features.resize: pad").features
    told = feature_options("plain", features, features.first)
    assert told == f"{plain} --resize pad --grid 3 --overlap 64"
    assert (features.first.frame.side, features.networks[1].grid) == (544, 1)
    for tiles, message in (
        ("{grid: 3, overlap: 48}", "features.tiles.overlap: 48 is no multiple of the stride 32"),
        ("{grid: 3, overlap: 224}", "features.tiles.overlap: 224 must be less than"),
        ("{grid: 0, overlap: 0}", "features.tiles.grid: 0 is less than the minimum"),
        ("{grid: 3}", "features.tiles: 'overlap' is a required property"),
    ):
        with pytest.raises(ConfigError, match=message):
            parsed(f"features.tiles: {tiles}")


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([f"{{{LITE}0, image_size: 224}}"],
         "features.further.0: tf_efficientnet_lite0-224 is there already, as tf_"),
        ([f"{{{LITE}1, image_size: 64}}", f"{{{LITE}1, image_size: 64}}"],
         "features.further.1: tf_efficientnet_lite1-64 is there already"),
        # timm's default weights with and without their tag are one network.
        (["{backbone: resnet26, image_size: 64}", "{backbone: resnet26.bt_in1k, image_size: 64}"],
         "further.1: resnet26.bt_in1k-64 is there already, as resnet26-64; remove it or give"),
        ([f"{{{LITE}0, image_size: 96, weights_file: my.pth}}"],
         "further.0.weights_file: is my.pth, that of tf_efficientnet_lite0-224 is None"),
        (["{backbone: resnet, image_size: 64}"],
         "params.yaml, features.further.0.backbone: 'resnet' is unknown"),
        (["{backbone: vit_tiny_patch16_224, image_size: 65}"],
         "features.further.0.image_size: vit_tiny_patch16_224 gives images of 65 pixels no maps"),
        ([f"{{{LITE}1}}"], "features.further.0: 'image_size' is a required property"),
        ([f"{{{LITE}1, image_size: 9}}"], "features.further.0.image_size: 9 is less than"),
        ([f"{{{LITE}1, image_size: 64, stride: 8}}"], "features.further.0.stride: unknown key"),
    ],
)  # fmt: skip
def test_mistakes_in_further_networks_are_named_with_their_place(networks, message):
    with pytest.raises(ConfigError) as refused:
        further(*networks)
    assert message in str(refused.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path):
    params = config.load(ROOT, path)
    extra = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert params.results == extra.get("results", "results")
    for method, values in extra.get("methods", {}).items():
        for key, value in values.items():
            if method in params.methods:
                assert params.hyper[method][key] == value


OWN = "{{mine: {{layout: folder, raw_path: images, defect_classes: {}}}}}, grid.datasets: [mine]"
VARIANT = "variants: {dpdl.c8: {prototypes: 8}}, grid.methods: [dpdl, dpdl.c8]"
FIGURE = f"""{VARIANT}, figures: [{{
    name: prototypes, title: C, kind: line, protocols: [general-m10],
    parameter: {{label: C, field: prototypes}}, points: [[32, dpdl], [8, dpdl.c8]]
}}], figures.0"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid.shot: [1]", "grid.shot: unknown key; did you mean 'shots'?"),
        ("grids: {}", "params.yaml, grids: unknown key; did you mean 'grid'?"),
        ("zzz: 1", "zzz: unknown key; known: datasets, features"),
        ("grid.methods: [dplx]", "method 'dplx' is unknown; did you mean 'dpdl'?"),
        ("variants: {}, grid.methods: [dpdl.c8]",
         "'dpdl.c8' is unknown; did you mean 'dpdl'?; a variant is declared below variants"),
        ("methods: {dra: {epoch: 1}}", "methods.dra.epoch: unknown hyper-parameter"),
        ("methods: {dra: {epochs: '3'}}", "methods.dra.epochs: '3' is not of type int"),
        ("methods: {dpdl: {s0: 2.0}}", "methods.dpdl: s0 is 2.0, must be in (0, 1)"),
        ("methods: {dra: 3}", "methods.dra: 3 is not of type 'object'"),
        ("grid.methods: [ahl]", "ahl starts from the checkpoints of dra, which is not there; add"),
        ("grid.datasets: [elpw]", "data set 'elpw' is unknown"),
        ("datasets: {elpv: {raw: x}}", "data set 'elpv': unknown setting 'raw'"),
        ("grid.seeds: [0, 0]", "grid.seeds: [0, 0] has non-unique"),
        ("grid.seeds: [-1]", "grid.seeds.0: -1 is less than the minimum of 0"),
        ("grid.seeds: []", "grid.seeds: [] "),
        ("grid.settings: [easy]", "grid.settings.0: 'easy' is not one of"),
        ("grid.shots: [ten]", "grid.shots.0: 'ten' is not of type 'integer'"),
        ("part: 3/2", "params.yaml, part: 3/2 is beyond the last part"),
        ("part: 0/2", "params.yaml, part: '0/2' does not match"),
        ("protocol.removed: 5", "grid.shots: 10 is more than protocol.removed (5)"),
        ("results: /tmp/x", "results: '/tmp/x' does not match"),
        ("results: ../x", "results: '../x' does not match"),
        ("features.backbone: resnet", "features.backbone: 'resnet' is unknown; choose from"),
        ("features.strides: [16, 32, 64]", "tf_efficientnet_lite0 has no stride 64; choose from"),
        ("features.strides: [0]", "features.strides.0: 0 is less than the minimum of 1"),
        ("features.strides: [32, 16]", "must be ascending"),
        ("features.image_size: 224.5", "features.image_size: 224.5 is not of type 'integer'"),
        ("grid.shots: [10.0]", "params.yaml, grid.shots.0: 10.0 is not of type 'integer'"),
        ("grid.seeds: [1.0]", "params.yaml, grid.seeds.0: 1.0 is not of type 'integer'"),
        ("protocol.removed: 1e+1", "params.yaml, protocol.removed: '1e+1' is not of type"),
        ("protocol.removed: 10.0", "params.yaml, protocol.removed: 10.0 is not of type"),
        ("datasets: {elpv: {layout: [folder]}}", "unknown layout ['folder']; known are csv, fol"),
        ("datasets: {elpv: {}, mvtec: {raw_path: [a]}}, grid.datasets: [mvtec]",
         "datasets.mvtec: data set 'mvtec': setting 'raw_path' must be the path of a folder or "
         "of an archive, not ['a']"),
        (f"results: {'x' * 101}", "params.yaml, results: 'xxx"),
        (f"grid.methods: [dpdl.{'x' * 100}]", "params.yaml, grid.methods.0: 'dpdl.xxx"),
        (f"datasets: {OWN.format('[a, b], homepage: javascript:alert(1)')}",
         "homepage must begin with https:// and have no blanks, not 'javascript:alert(1)'"),
        ("features.views: 0", "features.views: 0 is less than the minimum"),
        ("features.strides: [32], grid.methods: [patchcore], methods: {patchcore: {strides: [16]}}",
         "methods.patchcore.strides: stride 16 is not cached; add it to features.strides"),
        ("variants: {dplx.c8: {lr: 1}}", "variants.dplx.c8: method 'dplx' is unknown; did"),
        ("variants: {dpdl.c8: {prototype: 8}}",
         "variants.dpdl.c8.prototype: unknown hyper-parameter; did you mean 'prototypes'?"),
        ("variants: {dpdl.c8: {prototypes: 8.5}}", "c8.prototypes: 8.5 is not of type int"),
        ("variants: {dpdl.c8: {prototypes: 0}}", "dpdl.c8: prototypes is 0, must be 1 or"),
        ("variants: {dpdl.no_dfl: {lr: 0.1}}", "variants.dpdl.no_dfl: "),
        ("variants: {dpdl.C8: {lr: 0.1}}", "variants: 'dpdl.C8' does not match"),
        ("variants: {dpdl: {lr: 0.1}}", "variants: 'dpdl' does not match"),
        ("variants: {dpdl.c8: {}}", "variants.dpdl.c8: {} "),
        ("variants: {dpdl.c16: {lr: 1}}, grid.methods: [dpdl.c61]", "did you mean 'dpdl.c16'?"),
        (f"{VARIANT}, methods: {{dpdl.c8: {{prototypes: 9}}}}",
         "methods.dpdl.c8.prototypes: the variant fixes it to 8"),
        (f"{FIGURE}.points: [[8, dpdl], [32, dpdl]]", ".points: dpdl has prototypes 32, not 8"),
        (f"{FIGURE}.points: [[8, dra], [32, dpdl]]", "figures.0.points: 'dra' is not in the grid"),
        (f"{FIGURE}.points: [[8, dpdl]]", "figures.0.points: [[8, 'dpdl']] is too short"),
        (f"{FIGURE}.points: [['8', dpdl], [32, dpdl]]", "figures.0.points.0.0: '8' is not of type"),
        (f"{FIGURE}.protocols: [general-m5]", "protocols: 'general-m5' is not in the grid"),
        (f"{FIGURE}.protocols: easy", "'easy' is not one of"),
        (f"{FIGURE}.methods: some", "'all' was expected"),
        (f"{FIGURE}.parameter.field: prototype", "has no hyper-parameter 'prototype'; did"),
        (f"{FIGURE}.kind: pie", "figures.0.kind: 'pie' is not one of"),
        (f"{FIGURE}.colour: red", "figures.0.colour: unknown key"),
        (f"{FIGURE}.name: A b", "figures.0.name: 'A b' does not match"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(text, message):
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    assert message in str(refused.value)


@pytest.mark.parametrize("key", ["results", "grid", "protocol", "datasets", "features", "methods"])
def test_missing_keys_are_named(key):
    content = shipped()
    del content[key]
    with pytest.raises(ConfigError, match=f"top level: '{key}' is a required property"):
        config.parse(content, SCHEMA)


def test_variants_inherit_their_method_s_hyper_parameters():
    values = "methods: {dpdl: {epochs: 7, dispersion: 0.5}, dpdl.no_dfl: {lr: 0.1}}"
    hyper = parsed(f"grid.methods: [dpdl, dpdl.no_dfl], {values}").hyper
    default = registry.get("dpdl").resolve()
    assert hyper["dpdl"] == default | {"epochs": 7, "dispersion": 0.5}
    assert hyper["dpdl.no_dfl"] == default | {"epochs": 7, "lr": 0.1, "dispersion": 0.0}


def test_declared_variants_change_what_they_say_and_nothing_else():
    params = parsed(
        "grid.methods: [dpdl, dpdl.c8, dpdl.no_dfl], methods: {dpdl: {epochs: 7, prototypes: 16}}, "
        "variants: {dpdl.c8: {prototypes: 8, kappa: 1}, dpdl.unused: {eps: 0.5}}"
    )
    default = registry.get("dpdl").resolve()
    assert params.hyper.keys() == {"dpdl", "dpdl.c8", "dpdl.no_dfl"}
    assert params.hyper["dpdl.c8"] == default | {"epochs": 7, "prototypes": 8, "kappa": 1.0}
    assert params.changes == {
        "dpdl.c8": {"prototypes": (8, 16), "kappa": (1.0, 10.0)},
        "dpdl.no_dfl": {"dispersion": (0.0, 0.01)},
    }
    job = registry.get("dpdl.c8")  # A job has the name and all values, not the configuration.
    assert job.resolve(params.hyper["dpdl.c8"]) == params.hyper["dpdl.c8"]


def test_a_budget_below_the_full_one_is_known(monkeypatch):
    full = {"epochs": 50, "iterations": 20, "prototypes": 64}
    spec = dataclasses.replace(registry.registered("dpdl"), full_budget=full)
    monkeypatch.setitem(registry._specs["dpdl"], "dpdl", spec)
    cuts = parsed(f"{VARIANT}, methods: {{dpdl: {{epochs: 20, iterations: 30}}}}").cuts
    assert cuts["dpdl"] == {"epochs": (20, 50), "prototypes": (32, 64)}
    assert cuts["dpdl.c8"] == {"epochs": (20, 50)}  # What makes a variant is no cut.


def test_figures_are_checked_against_the_grid():
    (figure,) = parsed(f"{FIGURE}.title: D").figures
    assert (figure.title, figure.points) == ("D", ((8.0, "dpdl.c8"), (32.0, "dpdl")))
    (figure,) = parsed(f"{FIGURE}.protocols: [hard-mean-m10, normal-m0]").figures
    assert figure.protocols == ("hard-mean-m10", "normal-m0")


def test_a_figure_of_all_methods_follows_the_grid():
    """Methods that compete, protocols of a setting, means for the hard one; nothing, no figure."""
    every = "title: A, kind: bar, methods: all, protocols"
    drawn = f"figures: [{{name: a, {every}: general}}, {{name: b, {every}: hard}}]"
    params = parsed(drawn)
    competing = [m for m in params.methods if m not in ("true_labels", "random", "constant")]
    assert [figure.methods for figure in params.figures] == [tuple(competing)] * 2
    assert [figure.protocols for figure in params.figures] == [
        ("general-m10", "general-m1"), ("hard-mean-m10", "hard-mean-m1"),
    ]  # fmt: skip
    smaller = f"{drawn}, grid.settings: [hard], grid.shots: [1]"
    (figure,) = parsed(smaller).figures
    assert (figure.name, figure.protocols) == ("b", ("hard-mean-m1",))
    assert parsed(f"{smaller}, grid.methods: [constant]").figures == ()


def test_parsing_does_not_change_its_input():
    content = changed("methods: {patchcore: {strides: [32]}}")
    before = copy.deepcopy(content)
    assert config.parse(content, SCHEMA).hyper["patchcore"]["strides"] == (32,)
    assert content == before


EXTRA = """
results: results/extra
grid: {seeds: [7], methods: [dpdl, random]}
features: {views: 2}
datasets: {mine: {layout: folder, raw_path: images, defect_classes: [scratch, dent]}}
methods: {dpdl: {epochs: 1, eps: 0.1}}
"""
MORE = "{grid: {datasets: [mine]}, methods: {dpdl: {eps: 0.2}, dra: {epochs: 4}}}"


def test_files_merge_as_snakemake_merges_them(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / config.SCHEMA).parent.mkdir(parents=True)
    shutil.copy(ROOT / config.SCHEMA, tmp_path / config.SCHEMA)
    merged = shipped()
    for name, text in (("extra", EXTRA), ("more", MORE)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        update_config(merged, yaml.safe_load(text))
    params = config.load(tmp_path, tmp_path / "extra.yaml", tmp_path / "more.yaml")
    assert params == config.parse(merged, SCHEMA)
    assert (params.seeds, params.shots, params.datasets) == ((7,), (10, 1), ("mine",))
    assert (params.hyper["dpdl"]["epochs"], params.hyper["dpdl"]["eps"]) == (1, 0.2)
    assert params.features.views == 2
    assert params.features.first.image_size == shipped()["features"]["image_size"]
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read \(No such file or dir"):
        config.load(tmp_path, tmp_path / "no.yaml")


def names(params: Params, dataset: str) -> list[str]:
    return [str(protocol) for protocol in config.protocols(params, dataset, "all")]


def test_protocols_of_grids_and_of_data_sets(monkeypatch):
    assert names(config.load(ROOT), "elpv") == [
        "general-m10", "general-m1", "hard-mono-m10", "hard-mono-m1", "hard-poly-m10",
        "hard-poly-m1", "normal-m0",
    ]  # fmt: skip
    few = parsed("grid.settings: [hard], grid.shots: [1, 5]")
    assert names(few, "elpv") == ["hard-mono-m5", "hard-mono-m1", "hard-poly-m5", "hard-poly-m1"]
    # One defect class leaves the hard setting out.
    settings = "{layout: folder, raw_path: images, defect_classes: [scratch]}"
    one = parsed(f"datasets: {{mine: {settings}}}, grid.datasets: [mine]")
    assert names(one, "mine") == ["general-m10", "general-m1", "normal-m0"]
    spec = dataclasses.replace(data_registry.get("elpv"), protocols=("normal",))
    monkeypatch.setattr(data_registry, "get", lambda *_: spec)
    assert names(few, "elpv") == []
    assert names(config.load(ROOT), "elpv") == ["normal-m0"]


# --- files from anywhere -----------------------------------------------------------------------


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
        ("1: {}", "extra.yaml, top level: key 1 is no text"),
        ("variants: {1: {epochs: 1}}", "extra.yaml, variants: key 1 is no text"),
        ("datasets: {mine: {true: 1}}", "extra.yaml, datasets.mine: key True is no text"),
        ("features: {rotation: .nan}", "extra.yaml, features.rotation: nan is no number"),
        ("features: {rotation: -.inf}", "extra.yaml, features.rotation: -inf is no number"),
        ("datasets: {mine: {title: 2026-01-01}}", "datasets.mine.title: a value of type date"),
        ("grid: {methods: !!set {dpdl}}", "grid.methods: a value of type set"),
        ("results: !!binary aGVsbG8=", "results: a value of type bytes"),
        (
            "features: {image_size: 100000}",
            "extra.yaml, features.image_size: 100000 is greater than",
        ),
        ("features: {views: 1000000}", "features.views: 1000000 is greater than"),
        (
            "a: 1\n\nb: 2\na: 3",
            "extra.yaml, line 4: the key 'a' is in line 1 already; give it once",
        ),
        ("grid: {shots: [1], seeds: [0], shots: [2]}", "line 1: the key 'shots' is in line 1"),
        ("__use_yte__: true", "extra.yaml, __use_yte__: unknown key; known"),
        ("grid: {shots: [010]}", "extra.yaml, line 1: 010 is another number to YAML; write it in"),
        ("features: {rotation: 1:30}", "extra.yaml, line 1: 1:30 is another number"),
        ("features: {rotation: 1:30.5}", "extra.yaml, line 1: 1:30.5 is another number"),
        ("features: {image_size: 0x80}", "extra.yaml, line 1: 0x80 is another number"),
        ('results: "results\\n"', "extra.yaml, results: 'results\\n' does not match"),
        ('grid: {methods: ["dpdl\\n"]}', "extra.yaml, grid.methods.0: 'dpdl\\n' does not"),
        ('datasets: {elpv: {raw_path: "a\\0b"}}', "raw_path: 'a\\x00b' has the control char"),
        ('datasets: {elpv: {raw_path: "\\ud800"}}', "raw_path: '\\ud800' has the control char"),
        ('datasets: {"a\\e": {}}', "extra.yaml, datasets: key: 'a\\x1b' has the control"),
        ("datasets: {elpv: {raw_path: " + "x" * 10_001 + "}}", "more than 10000 characters"),
        ("grid: {seeds: [2147483648]}", "extra.yaml, grid.seeds.0: 2147483648 is greater than"),
        ("grid: {shots: [1000001]}", "extra.yaml, grid.shots.0: 1000001 is greater than"),
        ("protocol: {removed: 1000001}", "extra.yaml, protocol.removed: 1000001 is greater"),
        ("grid: {methods: [dplx]}", "extra.yaml, grid.methods: method 'dplx' is unknown"),
        ("methods: {foo: {}}", "extra.yaml, methods.foo: method 'foo' is unknown"),
        ("results: src/mine", "Z'; it is: Folder of everything that the pipeline makes,"),
        ("part: x", "Z'; it is: Which of how many machines this is, for example 2/8; see"),
        ("grid: {datasets: [elpw]}", "extra.yaml, grid.datasets: data set 'elpw' is unknown"),
        ("datasets: {elpv: {raw: x}}", "extra.yaml, datasets.elpv: data set 'elpv': unknown"),
        ("methods: {ahl.devnet: {lr: x}}", "extra.yaml, methods.ahl.devnet.lr: 'x' is not of"),
        ("results: [" + "x, " * 2_000 + "x]", "extra.yaml, results: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_hostile_files_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("extra.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refused:
        config.load(ROOT, tmp_path / "extra.yaml")
    assert message in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["extra.yaml"]


def test_a_value_of_params_yaml_is_not_blamed_on_another_file(tmp_path):
    path = tmp_path / "extra.yaml"
    path.write_text("grid: {shots: [11]}")
    with pytest.raises(ConfigError, match=r"^extra\.yaml, grid\.shots: 11 is more than"):
        config.load(ROOT, path)
    path.write_text("features: {views: 2}")
    values = {**shipped(), "results": "../x"}
    files = [("params.yaml", values), ("extra.yaml", yaml.safe_load(path.read_text()))]
    with pytest.raises(ConfigError, match=r"^params\.yaml, results: '\.\./x' does not match"):
        config.parse(values, SCHEMA, files)


def test_a_merge_key_overrides_and_numbers_of_many_digits_may_be_grouped(tmp_path):
    path = tmp_path / "extra.yaml"
    path.write_text("features: &f {views: 2, image_size: 96}\nmethods: {}\ngrid: {seeds: [1_000]}")
    assert config.load(ROOT, path).seeds == (1000,)
    path.write_text(
        "datasets:\n  a: &a {layout: folder, raw_path: x}\n  b: &b {<<: *a, raw_path: y}\n"
        "  c: {<<: *b, title: z}\ngrid: {datasets: [a, b, c]}"
    )
    found = config.load(ROOT, path).dataset_settings
    assert [settings["raw_path"] for settings in found.values()] == ["x", "y", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"datasets: {OWN.format('[mean, dent]')}",
         "datasets.mine: a category or known class may not be called 'mean'"),
        (f"datasets: {OWN.format('[dent]')}, grid.settings: [hard]", "hard give no cell: the data "
         "sets are for none of them (hard needs two or more defect_classes), the methods for"),
        ("grid.settings: [normal], grid.methods: [devnet, dra]", "grid.settings: normal give no "
         "cell: the data sets are for normal (hard needs two or more defect_classes), the methods "
         "for general, hard; add a setting"),
        (f"datasets: {OWN.format('[dent, Dent]')}", "without good, not 'Dent'"),
        (f"datasets: {OWN.format('[dent, ../dent]')}", "without good, not '../dent'"),
        (f"datasets: {OWN.format('[dent, ' + 'x' * 101 + ']')}", "at most 100 characters each"),
        (f"datasets: {OWN.format('[dent, dent]')}", "names the class 'dent' twice"),
    ],
)  # fmt: skip
def test_what_later_steps_would_refuse_is_refused_with_the_parameters(text, message):
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    assert str(refused.value).startswith("params.yaml, ")
    assert message in str(refused.value)


def test_a_class_called_mean_is_fine_where_no_table_names_it():
    params = parsed(f"datasets: {OWN.format('[mean, dent]')}, grid.settings: [general, normal]")
    assert names(params, "mine") == ["general-m10", "general-m1", "normal-m0"]


def test_references_are_fine_in_moderation(tmp_path):
    path = tmp_path / "extra.yaml"
    path.write_text("methods: {devnet: {epochs: &n 3}, flos: {epochs: *n}}")
    params = config.load(ROOT, path)
    assert params.hyper["devnet"]["epochs"] == params.hyper["flos"]["epochs"] == 3


@pytest.mark.parametrize("content", ["maximum: '1000'", "pattern: 'a[[a]'"])
def test_a_damaged_schema_is_named_with_the_remedy(tmp_path, content):
    place = tmp_path / config.SCHEMA
    place.parent.mkdir(parents=True)
    place.write_text(f"properties: {{seeds: {{{content}}}}}\n")
    with pytest.raises(
        ConfigError, match=r"params\.schema\.yaml: is no JSON schema .*git checkout"
    ):
        config.read_schema(tmp_path)
