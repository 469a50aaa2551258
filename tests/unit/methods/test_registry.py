"""Finding methods by name, their hyper-parameters and variants, and what may be registered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from osad.core.errors import ConfigError
from osad.methods import registry

NAMES = {
    "constant", "devnet", "dpdl", "dpdl.no_dfl", "dpdl.no_dpl", "dra", "mahalanobis",
    "mahalanobis_lda", "mean_intensity", "patchcore", "random", "true_labels",
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


def test_all_methods_are_there_and_complete():
    specs = registry.all_specs()
    names = [spec.name for spec in specs]
    assert names == sorted(names)
    assert set(names) >= NAMES
    for spec in specs:
        assert spec.title
        assert spec.paper
        assert set(spec.packs) <= set(registry.PACKS)
        assert spec.settings
        assert not spec.sees_test_labels or spec.control
        assert spec.hyper.__module__ == f"osad.methods.{spec.name.split('.')[0]}"
        assert spec.hyper.__doc__
        spec.build(spec.resolve())
        assert spec is registry.get(spec.name)


def test_only_methods_that_read_maps_use_a_backbone():
    uses = {spec.name for spec in registry.all_specs() if spec.uses_backbone}
    assert uses & NAMES == NAMES - {"constant", "random", "true_labels", "mean_intensity"}


def test_methods_that_need_anomalies_are_out_of_the_normal_setting():
    normal = {spec.name for spec in registry.all_specs() if "normal" in spec.settings}
    assert not normal & {"devnet", "dpdl", "dra", "mahalanobis_lda"}
    assert normal >= {"mahalanobis", "mean_intensity", "patchcore"}


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


@pytest.mark.parametrize(
    "name", ["dpld", "dpdl.", "dpdl.C8", "dpdl.a.b", "dpld.c8", "registry", ""]
)
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
    with pytest.raises(
        ConfigError, match=r"'dpdl\.c8' is no registered variant.*; epochs, lr missing"
    ):
        variant.resolve(values)
    assert registry.get("dpdl.no_dfl") is registry.registered("dpdl.no_dfl")


def test_declared_variants_do_not_join_the_registered_ones():
    registry.get("dpdl.c8")
    with pytest.raises(ConfigError, match=r"method 'dpdl\.c8' is unknown"):
        registry.registered("dpdl.c8")
    assert "dpdl.c8" not in {spec.name for spec in registry.variants("dpdl")}


def test_a_full_budget_names_hyper_parameters(blank):
    describe(full_budget={"epochs": 50}, variants={"fast": {"epochs": 1}})(make_class())
    base, fast = registry._specs["made"].values()
    assert base.full_budget == fast.full_budget == {"epochs": 50}
    with pytest.raises(ConfigError, match="full_budget names no hyper-parameter"):
        describe(full_budget={"epoch": 50})(make_class())


def test_variant_is_the_same_class_with_other_values():
    base, variant = registry.get("dpdl"), registry.get("dpdl.no_dfl")
    assert variant.hyper is base.hyper
    assert variant.title == "DPDL (no dfl)"
    difference = {
        key: value for key, value in variant.resolve().items() if base.resolve()[key] != value
    }
    assert difference == {"dispersion": 0.0}
    assert variant.resolve({"dispersion": 0.0, "epochs": 1})["dispersion"] == 0.0
    with pytest.raises(ConfigError, match=r"the variant fixes it to 0\.0"):
        variant.resolve({"dispersion": 0.7})
    assert variant.resolve({"epochs": 1})["epochs"] == 1


def test_resolve_fills_in_defaults_and_converts_yaml_s_types(blank):
    describe()(make_class())
    spec = registry._specs["made"]["made"]
    assert spec.resolve() == {
        "epochs": 3, "lr": 0.5, "name": "x", "flag": True, "strides": (32,),
    }  # fmt: skip
    resolved = spec.resolve({"lr": 1, "strides": [16, 32], "flag": False})
    assert resolved["lr"] == 1.0
    assert isinstance(resolved["lr"], float)
    assert resolved["strides"] == (16, 32)
    assert resolved["flag"] is False
    assert spec.build(resolved).strides == (16, 32)


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
        registry._specs["made"]["made"].resolve(values)


def test_variants_are_registered_beside_the_method(blank):
    describe(variants={"fast": {"epochs": 1}}, settings=("general",), heads=("a",))(make_class())
    base, fast = registry._specs["made"].values()
    assert (base.name, fast.name) == ("made", "made.fast")
    assert fast.resolve()["epochs"] == 1
    assert base.resolve()["epochs"] == 3
    assert fast.settings == ("general",)
    assert fast.heads == ("a",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packs": ("plane",)}, "unknown packs or settings .'plane'"),
        ({"settings": ("generel",)}, "unknown packs or settings .'generel'"),
        ({"sees_test_labels": True}, "only a control may see test labels"),
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
        "import sys; from osad.methods import registry; registry.get('constant');"
        "print([m for m in sys.modules if m.startswith('osad.methods.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['osad.methods.registry', 'osad.methods.constant']"
