"""Finding methods by name, their hyper-parameters and variants, and what may be registered."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from learn_cases import build

from osad.cli import main
from osad.core.errors import ConfigError
from osad.methods import fields, registry

NAMES = {
    "constant", "devnet", "dpdl", "dpdl.cross_entropy", "dpdl.no_dfl", "dpdl.no_dpl", "dra",
    "evidence", "mahalanobis", "mahalanobis_lda", "mean_intensity", "mpfm", "mpfm.cross_entropy",
    "patchcore", "random", "true_labels",
}  # fmt: skip


@pytest.fixture
def blank(monkeypatch):
    """Keep what a test registers out of the real registry."""
    monkeypatch.setattr(registry, "_specs", {})


def make_class(module: str = "osad.methods.made", name: str = "Made"):
    @dataclass(frozen=True)
    class Made:
        epochs: int = 3
        lr: float = 0.5
        name: str = "x"
        flag: bool = True
        strides: tuple[int, ...] = (32,)

    Made.__module__, Made.__qualname__ = module, name
    return Made


def describe(**changes):
    values = {"title": "Made", "paper": "none", "packs": ("plain",)} | changes
    return registry.method(**values)


def test_all_methods_are_there_and_sorted():
    specs = registry.all_specs()
    names = [spec.name for spec in specs]
    assert names == sorted(names)
    assert set(names) >= NAMES
    for spec in specs:
        assert spec.hyper.__module__.startswith(registry.module(spec.name))
        assert spec is registry.get(spec.name)


def test_only_methods_that_read_maps_use_a_backbone_and_some_need_anomalies():
    specs = registry.all_specs()
    uses = {spec.name for spec in specs if spec.uses_backbone}
    assert uses & NAMES == NAMES - {"constant", "random", "true_labels", "mean_intensity"}
    normal = {spec.name for spec in specs if "normal" in spec.settings}
    assert not normal & {"devnet", "dpdl", "dra", "evidence", "mahalanobis_lda", "mpfm"}
    assert normal >= {"mahalanobis", "mean_intensity", "patchcore", "constant"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpld", r"method 'dpld' is unknown; did you mean 'dpdl'\?"),
        ("dpdl.no_dfll", r"did you mean 'dpdl\.no_dfl'\?"),
        ("dpdl.", "is unknown"),
        ("dpdl.C8", "is unknown"),
        ("registry", "is unknown"),
        ("", "known: .*constant, devnet"),
        ("zzz", "known: .*constant, devnet"),
    ],
)
def test_unknown_names_get_a_suggestion(name, message):
    with pytest.raises(ConfigError, match=message):
        registry.registered(name)


@pytest.mark.parametrize("name", ["dpld", "dpdl.", "dpdl.C8", "dpdl.a.b", "dpld.c8", "check", ""])
def test_jobs_know_no_other_methods_either(name):
    with pytest.raises(ConfigError, match="is unknown"):
        registry.get(name)


def test_jobs_take_a_declared_variant_by_its_name_with_all_of_its_values():
    base, variant = registry.get("dpdl"), registry.get("dpdl.c8")
    assert (variant.name, variant.title) == ("dpdl.c8", "DPDL (c8)")
    assert variant.hyper is base.hyper
    assert (variant.packs, variant.settings, variant.overrides) == (base.packs, base.settings, {})
    values = base.resolve() | {"prototypes": 8}
    assert variant.resolve(values) == values
    del values["epochs"], values["lr"]
    with pytest.raises(ConfigError, match=r"c8' is no registered variant.*; epochs, lr missing"):
        variant.resolve(values)
    with pytest.raises(ConfigError, match=r"method 'dpdl\.c8' is unknown"):
        registry.registered("dpdl.c8")
    assert "dpdl.c8" not in {spec.name for spec in registry.variants("dpdl")}


def test_variant_is_the_same_class_with_other_values():
    base, variant = registry.get("dpdl"), registry.get("dpdl.no_dfl")
    assert variant.hyper is base.hyper
    assert {**base.resolve(), "dispersion": 0.0} == variant.resolve()
    assert variant.resolve({"dispersion": 0.0, "epochs": 1})["dispersion"] == 0.0
    with pytest.raises(ConfigError, match=r"the variant fixes it to 0\.0"):
        variant.resolve({"dispersion": 0.7})
    assert variant.resolve({"epochs": 1})["epochs"] == 1


@pytest.mark.parametrize(
    ("name", "title"),
    [("ahl.devnet", "AHL(DevNet)"), ("ahl.x", "AHL(DRA) (x)"), ("dpdl.no_dfl", "DPDL (no dfl)")],
)
def test_a_variant_has_a_title_of_its_own_or_the_method_s_with_its_name(name, title):
    assert registry.get(name).title == title


def test_resolve_fills_in_defaults_and_converts_yaml_s_types(blank):
    describe()(make_class())
    [spec] = registry.variants("made")
    values = {"epochs": 3, "lr": 0.5, "name": "x", "flag": True, "strides": (32,)}
    assert spec.resolve() == values
    resolved = spec.resolve({"lr": 1, "strides": [16, 32], "flag": False})
    assert resolved == values | {"lr": 1.0, "strides": (16, 32), "flag": False}
    assert isinstance(resolved["lr"], float)
    built: Any = spec.build(resolved)
    assert built.strides == (16, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 1}, r"methods\.made\.epoch: unknown hyper-parameter; did you mean 'epochs'"),
        ({"zzz": 1}, "known: epochs, flag, lr"),
        ({"epochs": 1.0}, r"methods\.made\.epochs: 1\.0 is not of type int"),
        ({"epochs": True}, "True is not of type int"),
        ({"epochs": None}, "None is not of type int"),
        ({"lr": "1e-3"}, "'1e-3' is not of type float"),
        ({"lr": True}, "True is not of type float"),
        ({"flag": 1}, "1 is not of type bool"),
        ({"name": 3}, "3 is not of type str"),
        ({"strides": 32}, "32 is not of type tuple"),
        ({"strides": [32, "a"]}, "'a' is not of type int"),
    ],
)
def test_wrong_hyper_parameters_are_named(blank, values, message):
    describe()(make_class())
    with pytest.raises(ConfigError, match=message):
        registry.registered("made").resolve(values)


def test_variants_are_registered_beside_the_method(blank):
    values = {"settings": ("general",), "heads": ("a",), "full_budget": {"epochs": 50}}
    describe(variants={"fast": {"epochs": 1}}, **values)(make_class())
    base, fast = registry.variants("made")
    assert (base.name, fast.name) == ("made", "made.fast")
    assert (base.resolve()["epochs"], fast.resolve()["epochs"]) == (3, 1)
    assert fast.settings == ("general",)
    assert fast.heads == ("a",)
    assert base.full_budget == fast.full_budget == {"epochs": 50}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packs": ("plane",)}, r"osad\.methods\.made: unknown pack 'plane'; did you mean 'plain'"),
        ({"settings": ("generel",)}, "unknown setting 'generel'; did you mean 'general'"),
        ({"full_budget": {"epoch": 50}}, "unknown hyper-parameter in full_budget 'epoch'"),
        ({"sees_test_labels": True}, "only a control may see test labels"),
        ({"normal_only": True, "settings": ("normal",)}, "normal_only method supports every set"),
    ],
)
def test_wrong_descriptions_are_refused(blank, changes, message):
    with pytest.raises(ConfigError, match=message):
        describe(**changes)(make_class())
    assert registry._specs == {}


def test_a_file_holds_one_method(blank):
    describe()(make_class())
    describe()(make_class())  # The same class again, as when a module is reloaded.
    with pytest.raises(ConfigError, match=r"osad\.methods\.made: holds two methods"):
        describe()(make_class(name="Another"))


def test_only_the_file_of_a_method_is_imported():
    code = (
        "import sys; from osad.methods import registry; registry.get('constant'); print(sorted(m"
        " for m in sys.modules if m.startswith('osad.methods.') or m == 'torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ["controls", "fields", "images", "registry"]
    assert done.stdout.strip() == str([f"osad.methods.{name}" for name in loaded])


@pytest.mark.parametrize(
    ("field", "inside", "outside", "text"),
    [
        (fields.at_least(2, 2, "x"), [2, 9], [1, -3], "2 or more"),
        (fields.positive(1.0, "x"), [1e-9], [0.0, -1.0], "more than 0"),
        (fields.not_negative(1.0, "x"), [0.0, 3.0], [-1e-9], "0 or more"),
        (fields.share(0.5, "x"), [1e-9, 1.0], [0.0, 1.1], "in (0, 1]"),
        (fields.probability(0.5, "x"), [0.0, 1.0], [-0.1, 1.1], "in [0, 1]"),
        (fields.decay(0.5, "x"), [0.0, 0.999], [1.0, -0.1], "in [0, 1)"),
        (fields.real(0.5, "x"), [-9.0], [float("inf"), float("nan")], "finite"),
        (fields.choice("a", "x", ("a", "b")), ["a", "b"], ["c", ""], "one of a, b"),
        (fields.stride_list((32,), "x"), [(16, 32)], [()], "one or more strides"),
    ],
)
def test_fields_have_ranges(field, inside, outside, text):
    hyper: Any = dataclass(
        type("Hyper", (), {"value": field, "__annotations__": {"value": object}})
    )
    for value in inside:
        fields.check_ranges(hyper(value))
    for value in outside:
        with pytest.raises(ValueError, match=re.escape(f"value is {value!r}, must be {text}")):
            fields.check_ranges(hyper(value))


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("patchcore", "neighbourhood", 2, "must be odd"),
        ("mpfm", "width", 10, "must be a multiple of 4"),
        ("dpdl", "s0", 1.0, "must be in (0, 1)"),
        ("dpdl", "without", "seen", "must be empty or one or two of anomaly, residual, normal"),
        ("dpdl", "without", "anomaly+seen", "must be empty or one or two of"),
        ("dpdl", "without", "anomaly+residual+normal", "must be empty or one or two of"),
        ("dpdl", "codebook_samples", 20, "less than prototypes"),
        ("saoe", "batch", 2, "must be 3 or more"),
        ("flow_mismatching", "exponent", 3, "must be one of 0, 1, 2"),
    ],
)
def test_ranges_that_no_other_field_has(name, field, value, message):
    text = f"params.yaml, methods.{name}: {field} is {value!r}, {message}"
    with pytest.raises(ConfigError, match=re.escape(text)):
        build(name, **{field: value})


def test_parameters_are_printed_as_yaml_takes_them(capsys):
    assert main(["methods", "--parameters", "dpdl.no_dfl"]) == 0
    lines = {words[1]: words[2] for words in map(str.split, capsys.readouterr().out.splitlines())}
    assert lines.keys() - {"name"} == registry.get("dpdl").resolve().keys()
    assert (lines["dispersion"], lines["weight_decay"], lines["dpl"]) == ("0.0", "0.00001", "true")
    assert lines["without"] == '""'
    assert main(["methods", "--parameters"]) == 0
    assert {"devnet", "[32]"} <= {*capsys.readouterr().out.split()}
    assert main(["methods", "--parameters", "dpld"]) == 2
