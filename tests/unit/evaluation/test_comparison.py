"""How methods compare: intervals over seeds and test images, ranks, and the rows of a grid."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from table_cases import bad, cells_of, compared_of, printed, request_of, runs_of, summary_of

from osad.core.seeds import numpy_generator
from osad.evaluation import comparison
from osad.evaluation.comparison import (
    NONE,
    drawn_aurocs,
    images_interval,
    is_lower,
    ranks,
    resample,
    seeds_interval,
)
from osad.evaluation.metrics import auroc
from osad.evaluation.tables.compare import COLUMNS, comparison_frame

PLACE = "elpv/all/general-m10"


def test_the_interval_over_seeds_is_student_s() -> None:
    from scipy import stats

    # Differences 0.1, 0.2, 0.3: mean 0.2, s = 0.1, standard error 0.1 / sqrt(3) = 0.057735;
    # t(2 degrees, 97.5 %) = 4.302653 (table): half width 0.248414.
    assert seeds_interval([0.1, 0.2, 0.3]) == pytest.approx((-0.048414, 0.448414), abs=1e-6)
    values = numpy_generator("differences").standard_normal(5).tolist()
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert seeds_interval(values) == pytest.approx(expected, abs=1e-8)
    assert seeds_interval([0.25, 0.25]) == (0.25, 0.25)
    for few in ([], [0.1]):
        assert all(map(math.isnan, seeds_interval(few)))


def test_draws_keep_the_number_of_images_of_each_label() -> None:
    labels = [1, 0, 0, 1, 1]
    counts = resample(labels, numpy_generator("x"), 500)
    assert counts.shape == (5, 500)
    assert (counts[[1, 2]].sum(axis=0) == 2).all()
    assert (counts[[0, 3, 4]].sum(axis=0) == 3).all()
    # Each image once on average; the mean of 500 draws has a standard error of at most 0.04.
    assert counts.mean(axis=1) == pytest.approx(1, abs=0.16)
    assert (counts == resample(labels, numpy_generator("x"), 500)).all()
    assert not resample([], numpy_generator("x"), 3).size


def test_the_auroc_of_a_draw_is_that_of_repeated_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import roc_auc_score

    monkeypatch.setattr(comparison, "CHUNK", 7)  # Which does not divide the number of draws.
    generator = numpy_generator("scores")
    labels = generator.permutation([0] * 13 + [1] * 9)
    counts = resample(labels, generator, 30)
    for scores in (
        generator.standard_normal(22),
        generator.integers(3, size=22) + labels,  # Many ties.
        np.zeros(22),
    ):
        drawn = drawn_aurocs(scores, labels, counts)
        for times, value in zip(counts.T, drawn, strict=True):
            truth, repeated = np.repeat(labels, times), np.repeat(scores, times)
            assert value == auroc(repeated, truth)
            assert value == pytest.approx(roc_auc_score(truth, repeated), abs=1e-12)
    assert set(drawn) == {0.5}
    # Normal 1, 3 and anomalous 2, 3: of 4 pairs 2 are won, 1 is a tie: 2.5 / 4. With the first
    # twice: of 6 pairs 4 won, 1 tie: 4.5 / 6. Without any normal image there is no AUROC.
    times = [[1, 2, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    drawn = drawn_aurocs([1, 3, 2, 3], [0, 0, 1, 1], times)
    assert drawn[:2].tolist() == [0.625, 0.75]
    assert math.isnan(drawn[2])
    with pytest.raises(ValueError, match=r"\(2,\) scores, \(1,\) labels"):
        drawn_aurocs([1, 2], [0], [[1]])


def test_the_interval_over_images_has_the_percentiles() -> None:
    # 0 to 40: 2.5 % of the way lies 1 from each end.
    values = np.array([*range(41), math.nan], dtype=np.float64)
    assert images_interval(values) == (1.0, 39.0)
    assert all(map(math.isnan, images_interval(np.array([math.nan]))))


def test_lower_is_what_every_interval_says() -> None:
    below, on, above = (-0.2, -0.1), (-0.2, 0.0), (0.1, 0.2)
    assert [is_lower(below, other) for other in (below, on, above, NONE)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert is_lower(NONE, NONE) is None


def test_ranks_go_down_by_what_is_not_told_apart() -> None:
    means = {"a": 0.9, "b": 0.89, "c": 0.8, "d": 0.79, "e": 0.5}
    found = ranks([*means], lambda one, other: means[other] - means[one] > 0.05)
    assert found == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}
    # A method with a wide interval is with the best, above one with a higher mean.
    apart = {("b", "a"): True, ("c", "a"): False}
    assert ranks(["a", "b", "c"], lambda *pair: apart[pair]) == {"a": 1, "c": 1, "b": 2}
    assert ranks(["a", "b"], lambda *_: None) == {"a": 1}


def row_of(frame: pd.DataFrame, cell: str) -> pd.Series:
    assert [*frame.columns] == [*COLUMNS]
    return frame.set_index("cell").loc[cell]


def test_a_method_is_compared_with_the_best_over_the_seeds_that_both_have() -> None:
    runs = runs_of(PLACE, dpdl=[0.90, 0.94, 0.92], dra=[0.80, 0.86, bad("failed", "x")])
    runs |= runs_of(PLACE, patchcore=[0.91, 0.91, 0.91], true_labels=1.0)
    frame = compared_of(cells_of(runs))
    # Differences -0.10, -0.08: mean -0.09, s = 0.0141421, over sqrt(2) 0.01; t(1) = 12.7062.
    dra = row_of(frame, f"{PLACE}/dra")
    assert (dra.best, dra.n_seeds, dra.distinguishable, dra["rank"]) == ("dpdl", 2, "no", 1)
    assert dra.difference_to_best == pytest.approx(-0.09)
    ends = [dra.seeds_low, dra.seeds_high]
    assert ends == pytest.approx([-0.217062, 0.037062], abs=1e-6)
    # The images alone (constant draws) would tell it apart; one interval with 0 is enough.
    assert [dra.images_low, dra.images_high] == pytest.approx([-0.09, -0.09])
    # Published 0.845; ours 0.80, 0.86: mean -0.015, s = 0.0424264, over sqrt(2) 0.03.
    ends = [dra.difference_to_published, dra.to_published_low, dra.to_published_high]
    assert ends == pytest.approx([-0.015, -0.396186, 0.366186], abs=1e-6)
    # 0.01, -0.03, -0.01: s = 0.02, over sqrt(3) 0.011547, t(2) = 4.302653.
    patchcore = row_of(frame, f"{PLACE}/patchcore")
    ends = [patchcore.seeds_low, patchcore.seeds_high, patchcore.difference_to_published]
    assert ends == pytest.approx([-0.059683, 0.039683, math.nan], abs=1e-6, nan_ok=True)
    best, control = row_of(frame, f"{PLACE}/dpdl"), row_of(frame, f"{PLACE}/true_labels")
    assert (best.difference_to_best, best["rank"], best.distinguishable) == (0, 1, "")
    assert (control.best, control["rank"] is pd.NA, control.distinguishable) == ("", True, "")


def test_what_cannot_be_compared_has_no_interval_and_no_rank() -> None:
    failed = bad("failed", "x")
    runs = runs_of(PLACE, dpdl=[0.9, failed], dra=[failed, 0.8], patchcore=failed, constant=0.5)
    cells, request = cells_of(runs), request_of()
    frame = compared_of(cells)
    for method in ("dra", "patchcore"):
        row = row_of(frame, f"{PLACE}/{method}")
        assert (row["rank"] is pd.NA, row.distinguishable) == (True, "")
        assert row[["difference_to_best", "seeds_low", "images_low"]].isna().all()
    # One seed and no scores: a difference, but nothing that says how sure it is.
    names: dict[str, Any] = {"methods": request.methods, "controls": request.controls}
    one = cells_of(runs_of(PLACE, dpdl=0.9, dra=0.8))
    row = row_of(comparison_frame(one, {}, printed(), **names), f"{PLACE}/dra")
    assert row.difference_to_best == pytest.approx(-0.1)
    assert (row.distinguishable, row["rank"] is pd.NA, math.isnan(row.seeds_low)) == (
        "",
        True,
        True,
    )
    # Equal scores are equally good.
    tied = compared_of(cells_of(runs_of(PLACE, dpdl=[0.9, 0.9], dra=[0.9, 0.9])))
    row = row_of(tied, f"{PLACE}/dra")
    assert (row.difference_to_best, row.distinguishable, row["rank"]) == (0, "no", 1)
    nothing = cells_of(runs_of(PLACE, constant=0.5, dra=failed))
    assert set(compared_of(nothing).best) == {""}


def test_an_average_is_of_each_seed_and_each_draw() -> None:
    runs = runs_of("elpv/all/hard-mono-m10", dpdl=[0.9, 0.9], dra=[0.8, 0.7])
    runs |= runs_of("elpv/all/hard-poly-m10", dpdl=[0.7, 0.8], dra=[0.6, 0.8])
    cells, request = cells_of(runs), request_of()
    shift = {"dpdl": np.array([0.02, 0.0]), "dra": np.array([0.0, 0.04])}
    draws = {row.cell: row.auroc + shift[row.method] for row in cells.itertuples()}
    frame = comparison_frame(
        cells, draws, printed(), methods=request.methods, controls=request.controls
    )
    row = row_of(frame, "elpv/all/hard-mean-m10/dra")
    # Means 0.8, 0.85 and 0.7, 0.75: -0.1 twice. Draws: -0.1 - 0.02 and -0.1 + 0.04.
    assert [row.difference_to_best, row.seeds_low, row.seeds_high] == pytest.approx([-0.1] * 3)
    # 2.5 % of the way from -0.12 to -0.06 is 0.0015.
    assert [row.images_low, row.images_high] == pytest.approx([-0.1185, -0.0615])
    assert (row.best, row.distinguishable, row["rank"]) == ("dpdl", "yes", 2)
    summary = summary_of(cells)
    assert [*frame.cell] == [*summary.cell]
