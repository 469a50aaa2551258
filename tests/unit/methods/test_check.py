"""`osad check-method`: the example of the docs passes, each check catches a wrong method."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from osad.cli import main
from osad.core.errors import CheckError, ConfigError
from osad.learn.images import Scores
from osad.methods import check, registry
from osad.methods.checks import CHECKS
from osad.methods.fields import at_least

ROOT = Path(__file__).parents[3]
EXAMPLE = re.search(
    r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)[1]


@pytest.fixture(autouse=True)
def blank(monkeypatch):
    """Keep what a test registers out of the real registry."""
    registry.all_specs()
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    yield
    sys.modules.pop("osad.methods.mine", None)


def pooled(rows) -> torch.Tensor:
    return rows.take().mean((-2, -1))


HALF = at_least(1, 2.5, "x")  # type: ignore[arg-type]
"""A default of the wrong type."""


class Right:
    """Distance from the mean of the normals."""

    epochs: int = at_least(1, 3, "steps towards the mean")

    def fit(self, data):
        return {"mean": pooled(data.normal.deepest).mean(0)}

    def score(self, state, images):
        return Scores((pooled(images.deepest) - state["mean"]).square().sum(1))


def reasons(fit=Right.fit, score=Right.score, fields=None, frozen=True, **description):
    """Return by check why a method that differs from the right one fails."""
    body = {"fit": fit, "score": score, "__doc__": "A method.", "epochs": Right.epochs}
    body |= {"__annotations__": {"epochs": int}, "__module__": "osad.methods.mine"} | (fields or {})
    made: Any = dataclass(frozen=frozen)(type("Mine", (), body))
    sys.modules["osad.methods.mine"] = sys.modules[__name__]
    values = {"title": "Mine", "paper": "none", "packs": ("plain",)} | description
    registry.method(**values)(made)
    [spec] = registry.variants("mine")
    return {tried.__name__: reason for tried, reason in check.run(spec) if reason}


def total(change):
    """Return a score whose total is changed by a function of it, the state and the images."""
    return lambda self, state, images: Scores(
        change(Right.score(self, state, images).total, state, images)
    )


def mean(change):
    """Return a fit whose mean is changed by a function of it and the data."""
    return lambda self, data: {"mean": change(Right.fit(self, data)["mean"], data)}


def spoil(self, state, images):
    images.deepest.tensor[0] = 0
    return Right.score(self, state, images)


def forgive(self, state, images):
    return Scores((pooled(images.deepest).nan_to_num() - state["mean"]).square().sum(1))


def views(data, *names):
    return torch.stack([getattr(data, name).need("rotated").take().mean((1, 3, 4)).mean(0)
                        for name in names]).mean(0)  # fmt: skip


TRAINED = {"packs": ("plain", "rotated")}
WRONG = [
    ("describes_itself", "paper is empty", {"paper": " "}),
    ("describes_itself", "class Mine has no docstring", {"fields": {"__doc__": None}}),
    ("has_fields", "not frozen; use frozen=True", {"frozen": False}),
    ("has_fields", "epochs has no text; write it with a helper", {"fields": {"epochs": 3}}),
    ("has_fields", "epochs is 0, must be 1 or more", {"fields": {"epochs": at_least(1, 0, "x")}}),
    ("has_fields", "default of epochs", {"fields": {"epochs": HALF}}),
    ("fits", "after a fit, mean is not finite", {"fit": mean(lambda m, data: m / 0)}),
    ("fits", "'n': int; return named tensors", {"fit": lambda self, data: {"n": 1}}),
    ("fits", "'mean' requires a gradient", {"fit": mean(lambda m, data: m.requires_grad_())}),
    ("fits", r"NameError: name 'nowhere'.*\(test_check\.py, line \d+\)",
     {"fit": lambda self, data: nowhere}),  # type: ignore[name-defined]  # noqa: F821
    ("repeats", "two fits differ in 'mean'; draw from",
     {"fit": mean(lambda m, data: m + torch.rand(1))}),
    ("repeats", "fit draws from a global", {"fit": mean(lambda m, data: m + 0 * torch.rand(1))}),
    ("reads_rows", "'mean' differs; read images by Rows.take",
     {"fit": lambda self, data: {"mean": data.normal.deepest.tensor[:9].float().mean((0, 2, 3))}}),
    ("scores", r"total is torch\.float64", {"score": total(lambda t, state, images: t.double())}),
    ("scores", r"total is torch\.float32 \(1,\)", {"score": total(lambda t, s, i: t[:1])}),
    ("scores", r"heads \(\), declared are \('a',\)", {"heads": ("a",)}),
    ("scores", "declared is maps=True", {"maps": True}),
    ("scores_each_alone", "other scores in another set",
     {"score": total(lambda t, state, images: t - t.mean())}),
    ("keeps_inputs", "'s32' was changed in place; work on a copy", {"score": spoil}),
    ("ignores_labels", "depends on test labels", {"score": total(
        lambda t, state, images: t if images.labels is None else t + images.labels)}),
    ("takes_any_number_of_anomalies", "with 1 seen anomalies, mean is not finite",
     {"fit": mean(lambda m, data: m + 0 * m / (len(data.anomaly) - 1))}),
    ("learns_from_normals_alone", "'mean' depends on the seen anomalies", {"normal_only": True,
     "fit": mean(lambda m, data: m + 0.01 * len(data.anomaly))}),
    ("survives_equal_images", "with constant channels, mean is not finite",
     {"fit": mean(lambda m, data: m / pooled(data.normal.deepest).std(0) ** 2 * 0)}),
    ("can_be_cut", "ZeroDivisionError",
     {"fit": lambda self, data: {"mean": Right.fit(self, data)["mean"] * (1 / (self.epochs - 1))}}),
    ("finds_anomalies", r"AUROC is 0\.\d+ on shifted features",
     {"score": total(lambda t, state, images: -t)}),
    ("stops_at_bad_normals", "plain of the normal images were no numbers",
     {"fit": mean(lambda m, data: m.nan_to_num())}),
    ("stops_at_bad_views", "rotated of the normal images were no numbers", TRAINED),
    ("stops_at_bad_views", "rotated of the anomaly images were no numbers",
     TRAINED | {"fit": mean(lambda m, data: m + 0 * views(data, "normal"))}),
    ("marks_bad_images", "hides that features are no numbers", {"score": forgive}),
    ("marks_bad_images", "changes the scores of others",
     {"score": total(lambda t, state, images: t + 0 * t.sum())}),
]  # fmt: skip


def test_a_right_method_passes_all_checks():
    assert reasons() == {}
    right = mean(lambda m, data: m + 0 * views(data, "normal", "anomaly"))
    assert reasons(fit=right, **TRAINED) == {}


@pytest.mark.parametrize(("name", "reason", "changes"), WRONG)
def test_a_wrong_method_fails_its_check(name, reason, changes):
    assert re.search(reason, reasons(**changes)[name])


def test_every_check_has_caught_something_and_says_what_it_is():
    assert {tried.__name__ for tried in CHECKS} == {name for name, _, _ in WRONG}
    assert all(tried.__doc__.splitlines()[0].endswith(".") for tried in CHECKS)


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("package", [False, True])
def test_the_example_of_the_docs_passes_from_anywhere(tmp_path, capsys, package):
    path = written(tmp_path, EXAMPLE, "mine/__init__.py" if package else "mine.py")
    assert main(["check-method", str(Path(path).parent) if package else path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("mine: ok: ") for line in lines)
    assert registry.get("mine").title == "Mine"


def test_a_failed_check_is_told_with_its_reason_and_ends_with_1(tmp_path, capsys):
    wrong = EXAMPLE.replace("Scores(distance", "Scores(-distance")
    assert main(["check-method", written(tmp_path, wrong)]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"mine: FAILED: Anomalies .*\n    AUROC is 0\.0", out)
    assert err == f"osad check-method: 1 of {len(CHECKS)} checks failed\n"


def test_a_registered_method_is_checked_with_its_variants_and_a_variant_alone(capsys):
    assert main(["check-method", "constant"]) == 0
    assert [spec.name for spec in check.load("flos")] == [
        "flos", "flos.signed", "flos.images",
    ]  # fmt: skip
    assert [spec.name for spec in check.load("flos.signed")] == ["flos.signed"]
    own = ROOT / "src/osad/methods/flos.py"
    assert [spec.name for spec in check.load(str(own))] == ["flos", "flos.signed", "flos.images"]


@pytest.mark.parametrize(
    ("text", "name", "error", "message"),
    [
        ("", "dra.py", ConfigError, "a method dra exists already; rename the file"),
        ("", "Mine.py", ConfigError, "a method's name has a-z, 0-9 and _ only"),
        ("x = 1\n", "mine.py", CheckError, "registers no method; decorate its class"),
        ("x = 1\n1 / 0\n", "mine.py", CheckError, r"division by zero \(mine\.py, line 2\)"),
        ("def f(:\n", "mine.py", CheckError, "SyntaxError: invalid syntax"),
        (EXAMPLE.replace('"plain"', '"plane"'), "mine.py", CheckError, "unknown pack 'plane'"),
    ],
)
def test_files_that_are_no_methods(tmp_path, text, name, error, message):
    with pytest.raises(error, match=message):
        check.load(written(tmp_path, text, name))


@pytest.mark.parametrize("name", ["nowhere.py", "constnat", "flos.sgned"])
def test_names_of_nothing_are_wrong_usage(name, capsys):
    assert main(["check-method", name]) == 2
    assert "no such file" in (err := capsys.readouterr().err) or "did you mean" in err
