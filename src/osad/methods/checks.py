"""What every method must do, as checks on generated features (see `osad.methods.check`).

A check gets a method or variant and raises `CheckError` with the reason and the remedy. The first
line of its docstring is what is printed. `CHECKS` holds them in order.
"""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import numpy as np

from osad.core.errors import CheckError, TrainingError
from osad.core.seeds import torch_generator
from osad.features.kinds import TEST_PACKS
from osad.learn.images import Rows, State
from osad.learn.lazy_torch import torch
from osad.methods import registry
from osad.methods.trial import (
    ANOMALIES,
    NORMALS,
    TEST_ANOMALIES,
    TEST_NORMALS,
    Trial,
    changed,
    changed_images,
    spoilt,
)

Check = Callable[[Trial], None]
DRAW = "draw from generators of osad.core.seeds that are keyed on data.key"


def require(condition: object, problem: str) -> None:
    """Raise `CheckError` with the problem unless the condition holds."""
    if not condition:
        raise CheckError(problem)


def difference(one: State, other: State) -> str:
    """Return the name of the first tensor that differs, in quotes; empty where none does."""
    for name in dict.fromkeys([*one, *other]):
        a, b = one.get(name), other.get(name)
        if a is None or b is None or a.dtype != b.dtype or not torch.equal(a, b):
            return repr(name)
    return ""


def require_finite(state: State, scores: torch.Tensor, where: str) -> None:
    """Raise `CheckError` unless fitted tensors and scores are finite."""
    for name, value in {**state, "the score": scores}.items():
        require(value.isfinite().all(), f"{where}, {name} is not finite; bound divisors from below")


def describes_itself(trial: Trial) -> None:
    """It has a title, a paper and a docstring, and its base, if it has one, is another method."""
    spec = trial.spec
    for name in ("title", "paper"):
        require(getattr(spec, name).strip(), f"{name} is empty; give it in @method")
    text, name = spec.hyper.__doc__ or "", spec.hyper.__name__
    # A dataclass without a docstring gets its signature as one.
    own = text and not text.startswith(f"{name}(")
    require(own, f"class {name} has no docstring; say what the method does")
    if spec.base:
        require(registry.get(spec.base).name != spec.name, "it is its own base; name another one")


def has_fields(trial: Trial) -> None:
    """It is a frozen dataclass; each field has a text, and a default inside its range."""
    hyper = trial.spec.hyper
    require(hyper.__dataclass_params__.frozen, "the dataclass is not frozen; use frozen=True")
    hints = get_type_hints(hyper)
    for item in dataclasses.fields(hyper):
        remedy = "write it with a helper of osad.methods.fields, such as at_least or positive"
        require(item.default is not dataclasses.MISSING, f"{item.name} has no default; {remedy}")
        for part in ("text", "limits"):
            require(item.metadata.get(part), f"{item.name} has no {part}; {remedy}")
        place = f"default of {item.name}"
        value = registry.coerce(item.default, hints[item.name], place)
        same = type(value) is type(item.default)
        require(same, f"{place} is {item.default!r}, its type is {hints[item.name]}; correct one")
    trial.spec.build(trial.spec.resolve())


def fits(trial: Trial) -> None:
    """A fit gives finite tensors that a checkpoint keeps, so that scores are the same."""
    from safetensors.torch import load, save

    state = trial.fit()
    for name, value in state.items():
        tensor = isinstance(name, str) and isinstance(value, torch.Tensor)
        require(tensor, f"fit returned {name!r}: {type(value).__name__}; return named tensors only")
        require(not value.requires_grad, f"{name!r} requires a gradient; detach it")
        require(value.device.type == "cpu", f"{name!r} is not on the device of the data; move it")
    require_finite(state, trial.score().total, "after a fit")
    read = load(save({name: value.contiguous() for name, value in state.items()}))
    same = torch.equal(trial.scored(read).total, trial.score().total)
    require(same, "scores differ after the tensors were written and read; keep nothing elsewhere")


def repeats(trial: Trial) -> None:
    """Two fits give the same bytes, whatever the state of global random generators is."""

    def global_state() -> str:
        numbers = np.random.get_state()  # noqa: NPY002
        return repr((torch.get_rng_state().tolist(), [*map(repr, numbers)], random.getstate()))

    trial.fit()
    seed = int(torch.randint(2**31, ()))  # Another one than before the first fit.
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)  # noqa: NPY002
    before = global_state()
    other = difference(trial.fit(), trial.build().fit(trial.data()))
    require(not other, f"two fits differ in {other}; {DRAW}")
    require(global_state() == before, f"fit draws from a global random generator; {DRAW}")


def reads_rows(trial: Trial) -> None:
    """A fit does not depend on where its images lie in a pack."""
    order = torch.randperm(100, generator=torch_generator("storage"))
    place = order.argsort()

    def moved(rows: Rows) -> Rows:
        return dataclasses.replace(rows, tensor=rows.tensor[order], index=place[rows.index])

    other = difference(trial.fit(), trial.build().fit(changed(trial.data(), moved)))
    require(not other, f"{other} differs; read images by Rows.take or Rows.map, not Rows.tensor")


def scores(trial: Trial) -> None:
    """Scores are (n,) float32 and finite, with the heads and maps that are declared."""
    result, spec, n = trial.score(), trial.spec, len(trial.images())
    heads = tuple(result.heads)
    require(heads == spec.heads, f"score returned the heads {heads}, declared are {spec.heads}")
    for name, value in {"total": result.total, **result.heads}.items():
        require(
            value.shape == (n,) and value.dtype == torch.float32 and not value.requires_grad,
            f"{name} is {value.dtype} {tuple(value.shape)}; return float32 ({n},), detached",
        )
        require(value.isfinite().all(), f"{name} is not finite; find where it overflows")
    if result.maps is None or not spec.maps:
        agree = (result.maps is None) != spec.maps
        require(agree, f"declared is maps={spec.maps}, score says otherwise; make them agree")
        return
    shape, dtype = tuple(result.maps.shape), result.maps.dtype
    right = len(shape) == 3 and shape[0] == n and dtype == torch.float32
    require(right, f"maps are {dtype} {shape}; return float32 ({n}, h, w)")
    require(result.maps.isfinite().all(), "maps are not finite; find where they overflow")


def scores_each_alone(trial: Trial) -> None:
    """The score of an image depends neither on the other images nor on their order."""
    test, whole = TEST_NORMALS + TEST_ANOMALIES, trial.score()
    shuffled = torch.randperm(len(test), generator=torch_generator("order")).tolist()
    for places in (shuffled, [7, 8], [len(test) - 1]):
        part = trial.score(trial.images([test[place] for place in places]))
        for now, before in ((part.total, whole.total), (part.maps, whole.maps)):
            if now is not None and before is not None:
                require(
                    torch.allclose(now, before[places], rtol=1e-4, atol=1e-4),
                    "the same images get other scores in another set; take no mean, rank or "
                    "normalisation over the images that are scored",
                )


def keeps_inputs(trial: Trial) -> None:
    """Fit and score leave the features and the fitted tensors as they are."""
    fresh = Trial(trial.spec)  # In the others a change may have been made already.
    data = fresh.data()
    inputs = [fresh.packs.tensors, dict(data.base or {})]
    before = [{name: value.clone() for name, value in part.items()} for part in inputs]
    state = fresh.build().fit(data)
    inputs.append(state)
    before.append({name: value.clone() for name, value in state.items()})
    fresh.scored(state)
    for old, new in zip(before, inputs, strict=True):
        spoilt = difference(old, new)
        require(not spoilt, f"{spoilt} was changed in place; work on a copy")


def ignores_labels(trial: Trial) -> None:
    """Labels of test images are not looked at, but by a control that declares it."""
    if not trial.spec.sees_test_labels:
        images, before = trial.images(), trial.score().total
        for labels in (torch.zeros(len(images)), torch.ones(len(images))):
            seen = trial.score(dataclasses.replace(images, labels=labels.long())).total
            require(torch.equal(seen, before), "the score depends on test labels; ignore them")


def takes_any_number_of_anomalies(trial: Trial) -> None:
    """One seen anomaly is enough for a fit, ten are too, and none where that is declared."""
    for count in [1, 10, *([0] if "normal" in trial.spec.settings else [])]:
        state = trial.fit(NORMALS[:60], (*ANOMALIES, *TEST_ANOMALIES)[:count])
        total = trial.scored(state).total
        require_finite(state, total, f"with {count} seen anomalies")


def learns_from_normals_alone(trial: Trial) -> None:
    """A method of the normal setting does not look at seen anomalies."""
    if "normal" in trial.spec.settings:
        other = difference(trial.fit(NORMALS, ()), trial.fit())
        remedy = "leave them alone, or declare neither normal_only nor the normal setting"
        require(not other, f"{other} depends on the seen anomalies; {remedy}")


def survives_equal_images(trial: Trial) -> None:
    """Images that are all alike, and channels that never vary, give finite scores."""

    def alike(rows: Rows) -> Rows:
        return dataclasses.replace(rows, tensor=rows.tensor[:1].expand_as(rows.tensor).clone())

    def constant(rows: Rows) -> Rows:
        tensor = rows.tensor.clone()
        if tensor.ndim > 2:
            # Channels are the last axis of what is pooled, else the third from the end.
            tensor.movedim(-1 if tensor.ndim == 3 else -3, 0)[::3] = 1.0
        return dataclasses.replace(rows, tensor=tensor)

    for change, where in ((constant, "with constant channels"), (alike, "with equal images")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # k-means finds fewer groups than it is asked for.
            state = trial.build().fit(changed(trial.data(), change))
            scores = trial.scored(state, changed_images(trial.images(), change))
        require_finite(state, scores.total, where)


def can_be_cut(trial: Trial) -> None:
    """Where it has epochs, one is enough for a fit."""
    names = {item.name for item in dataclasses.fields(trial.spec.hyper)}
    if "epochs" in names - {*trial.spec.overrides}:
        method = trial.build(epochs=1)
        state = method.fit(trial.data())
        require_finite(state, trial.scored(state).total, "after one epoch")


def finds_anomalies(trial: Trial) -> None:
    """Anomalies that everyone can see score higher than normals (controls apart)."""
    if not trial.spec.control:
        total, n = trial.score().total, len(TEST_NORMALS)
        auroc = (total[n:, None] > total[:n]).float().mean().item()
        require(auroc > 0.5, f"AUROC is {auroc:.2f} on shifted features; higher is more anomalous")


def stops_at_bad_normals(trial: Trial) -> None:
    """Features of normals that are no numbers stop the fit, or show in its tensors."""
    if trial.spec.test_packs and not trial.spec.on_images:  # Pixels are always numbers.
        _stops(trial, trial.spec.test_packs, "normal", step=2)


def stops_at_bad_views(trial: Trial) -> None:
    """Training views that are no numbers stop the fit, or show in its tensors."""
    for name in trial.spec.packs:
        if name not in TEST_PACKS:
            _stops(trial, (name,), "normal", step=1)
        if name == "rotated":
            _stops(trial, (name,), "anomaly", step=1)


def _stops(trial: Trial, packs: Sequence[str], role: str, *, step: int) -> None:
    data = trial.data()
    part = changed_images(getattr(data, role), lambda rows: spoilt(rows, step), packs)
    changes: dict[str, Any] = {role: part}
    try:
        state = trial.build().fit(dataclasses.replace(data, **changes))
    except TrainingError:
        return
    require(
        not all(bool(value.isfinite().all()) for value in state.values()),
        f"{', '.join(packs)} of the {role} images were no numbers, and the fit hid it; skip "
        "nothing, or raise TrainingError",
    )


def marks_bad_images(trial: Trial) -> None:
    """A test image whose features are no numbers has no finite score, and no other is touched."""
    if trial.spec.packs and not trial.spec.on_images:
        images = changed_images(trial.images(), lambda rows: spoilt(rows, len(rows)))
        now, before = trial.score(images).total, trial.score().total
        require(not now[0].isfinite(), "the score hides that features are no numbers; let it show")
        same = torch.allclose(now[1:], before[1:], rtol=1e-5, atol=1e-5)
        require(same, "an image whose features are no numbers changes the scores of others")


CHECKS: tuple[Check, ...] = (
    describes_itself, has_fields, fits, repeats, reads_rows, scores, scores_each_alone,
    keeps_inputs, ignores_labels, takes_any_number_of_anomalies, learns_from_normals_alone,
    survives_equal_images, can_be_cut, finds_anomalies, stops_at_bad_normals, stops_at_bad_views,
    marks_bad_images,
)  # fmt: skip
