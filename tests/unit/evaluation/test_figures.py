"""Figures: their numbers, what is drawn of them, and the same bytes again."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from table_cases import (
    TITLES,
    bad,
    cells_of,
    compared_of,
    grid_value,
    method,
    request_of,
    runs_of,
    summary_of,
)

from osad.core.errors import ConfigError
from osad.evaluation.figures import draw as drawing
from osad.evaluation.figures.draw import CHANCE
from osad.evaluation.figures.request import FORMATS, FigureSpec, parse_figures
from osad.evaluation.figures.series import Panel, panels, protocol_label, seeds_note
from osad.evaluation.figures.style import add_notes, style
from osad.evaluation.tables.cells import write_frame
from osad.pipeline.steps import figures

ROOT = Path(__file__).resolve().parents[3]
PROTOCOLS = ["general-m10", "general-m1"]
LINE = {
    "name": "parts", "title": "Costs $5", "kind": "line", "protocols": PROTOCOLS,
    "parameter": {"label": "C", "log": True},
    "points": [[32, "dpdl"], [8, "dra"], [16, "patchcore"]],
}  # fmt: skip
BAR = {"name": "bars", "title": "All", "kind": "bar", "protocols": PROTOCOLS,
       "methods": ["dra", "dpdl"]}  # fmt: skip
FAILED, SKIPPED = bad("failed", "run: loss is nan"), bad("skipped", "not run")
TEN = runs_of("elpv/all/general-m10", dpdl=[0.8, 0.9], dra=[0.7, FAILED], patchcore=SKIPPED)
RUNS = TEN | runs_of("elpv/all/general-m1", dpdl=0.4, dra=[0.6, 0.5])


def spec_of(value: dict[str, Any], **changes: Any) -> FigureSpec:
    (spec,) = parse_figures([value | changes], where="figures", methods=TITLES, protocols=PROTOCOLS)
    return spec


def panels_of(value: dict[str, Any], runs: dict[str, Any] = RUNS) -> tuple[Panel, ...]:
    return panels(spec_of(value), summary_of(cells_of(runs)), request_of())


def draw(value: dict[str, Any], runs: dict[str, Any] = RUNS, **changes: Any):
    return drawing.draw(spec_of(value, **changes), panels_of(value, runs), request_of())


def test_points_are_means_over_seeds_with_the_published_value():
    (panel,) = panels_of(LINE)
    points = panel.points
    assert (panel.title, panel.missing) == ("ELPV", ("patchcore",))
    assert [*points.protocol] == ["general-m10"] * 2 + ["general-m1"] * 2
    assert ([*points.x], [*points.method]) == ([8.0, 32.0] * 2, ["dra", "dpdl"] * 2)
    names = ("auroc_mean", "auroc_std", "n_seeds", "published_mean", "published_std")
    first, second = points[[*names]].fillna(0).to_numpy().tolist()[:2]
    assert first == [0.7, 0, 1, 0.845, 0.013]
    # Deviations 0.05 each over n - 1 = 1.
    assert second == [pytest.approx(0.85), pytest.approx(0.005**0.5), 2, 0.937, 0.003]


def test_categories_are_shown_by_their_mean_and_notes_say_what_is_averaged():
    carpet = runs_of("mvtec/carpet/general-m10", dpdl=0.6)
    (panel,) = panels_of(BAR, carpet | runs_of("mvtec/grid/general-m10", dpdl=1.0))
    assert (panel.title, [*panel.points.auroc_mean]) == ("MVTec AD", [0.8])
    (panel,) = panels_of(BAR, carpet)
    assert panel.title == "MVTec AD / carpet"
    (panel,) = panels_of(LINE)
    spread = "mean ± standard deviation over n = 2 seeds except where shown"
    assert seeds_note([panel]) == spread
    assert seeds_note([Panel("x", panel.points[:1], ())]) == "n = 1 seed, no spread"
    assert protocol_label("normal-m0") == "normal images only"
    assert protocol_label("hard-mean-m10") == "hard (mean), 10 seen anomalies"


def texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_line_figure_has_a_line_for_each_protocol_and_hollow_published_marks():
    figure = draw(LINE)
    (axes,) = figure.axes
    ten, one = map(protocol_label, PROTOCOLS)
    marks = [bars.get_label() for bars in axes.containers]
    assert marks == [ten, "_published", one, "_published"]
    ours, printed = (bars.lines[0] for bars in axes.containers[:2])
    assert ours.get_xdata().tolist() == [8, 32]
    assert ours.get_ydata().tolist() == pytest.approx([0.7, 0.85])
    assert printed.get_ydata().tolist() == [0.845, 0.937]
    assert printed.get_markerfacecolor() == "white"
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8", "16", "32"]
    shown = texts(figure)
    for text in ("Costs $5", "ELPV", "C", "image AUROC", "n=1", "no result: PatchCore",
                 "published"):  # fmt: skip
        assert text in shown


def test_a_bar_figure_starts_at_chance_and_goes_below_it():
    figure = draw(BAR)
    (axes,) = figure.axes
    ends = {
        (round(bar.get_y() + bar.get_height() / 2, 2), round(bar.get_x() + bar.get_width(), 3))
        for bar in axes.patches
    }
    assert {bar.get_x() for bar in axes.patches} == {CHANCE}
    assert ends == {(-0.2, 0.7), (0.8, 0.85), (0.2, 0.55), (1.2, 0.4)}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["DRA", "DPDL"]
    assert axes.get_xlim()[0] < 0.4 < 0.94 < axes.get_xlim()[1]
    assert "n=1" in texts(figure)


@pytest.mark.parametrize(("changes", "message"), [
    ({"points": [[0, "dra"], [1, "dpdl"]]}, r"figures\.0\.points: 0 has no place on a log"),
    ({"points": [[1, "dra"], [1.0, "dpdl"]]}, "1 is there twice"),
    ({"points": [[1, "dra"], [2, "drx"]]}, r"'drx' is not in the grid; did you mean 'dra'\?"),
    ({"protocols": ["general-m2"]}, r"figures\.0\.protocols: 'general-m2' is not in the grid"),
    ({"methods": ["dra"]}, r"figures\.0\.methods: a line figure has none"),
    ({"kind": "bar", "methods": ["dra"]}, "parameter: a bar figure has none"),
    ({"kind": "bar"}, r"a bar figure .*; (add|remove) it"),
])  # fmt: skip
def test_a_wrong_figure_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        spec_of(LINE, **changes)
    with pytest.raises(ConfigError, match=r"figures\.1\.name: 'bars' names two figures"):
        parse_figures([BAR, BAR], where="figures", methods=TITLES, protocols=PROTOCOLS)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Write the cells of a grid; return the step's options but the output."""
    request = {
        "protocols": {"elpv/all": PROTOCOLS},
        "methods": [method(name) for name in ("dra", "dpdl", "patchcore")],
    }
    names = map(str, request_of(**request).cells)
    cells = cells_of({name: RUNS.get(name, 0.75) for name in names})
    write_frame(tmp_path / "cells.csv", cells)
    compared = compared_of(cells, request_of(**request))
    write_frame(tmp_path / "comparison.csv", compared)
    value = grid_value(**request) | {"figures": [asdict(spec_of(v)) for v in (LINE, BAR)]}
    common = ["--cells", str(tmp_path / "cells.csv"), "--published", str(ROOT / "data/published")]
    common += ["--comparison", str(tmp_path / "comparison.csv")]
    return ["--grid", json.dumps(value), *common]


def test_the_step_gives_equal_bytes_whatever_the_user_has_set(options, tmp_path):
    written = figures.main([*options, "--output", str(tmp_path / "here")])
    names = {f"{name}.{kind}" for name in ("parts", "bars") for kind in FORMATS}
    assert {path.name for path in written} == names
    settings = "axes.facecolor: black\nfont.size: 30\nsavefig.dpi: 20\n"
    (tmp_path / "matplotlibrc").write_text(settings)
    there = tmp_path / "there"
    code = "import sys; from osad.pipeline.steps.figures import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *options, "--output", str(there)]
    changes = {"MPLCONFIGDIR": str(tmp_path), "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo"}
    subprocess.run(command, env={**os.environ, **changes}, check=True, capture_output=True)
    for path in written:
        assert path.read_bytes() == (there / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in path.read_bytes()
    with Image.open(there / "parts.png") as image:
        assert image.size[0] >= 1000


def drawn(figure):
    """Return the texts above and below the axes, and the figure's box, as they are drawn."""
    with style():
        figure.draw_without_rendering()
    return [figure._suptitle, figure._supxlabel], figure.bbox


CONFIGURED = [
    value["title"]
    for path in [*(ROOT / "configs").glob("*.yaml"), ROOT / "params.yaml"]
    for value in yaml.safe_load(path.read_text(encoding="utf-8")).get("figures", [])
]
LONG = [*sorted(CONFIGURED, key=len)[-2:], "Wide MMMM words " * 12, "a\n\nb\u2028c $x_1$ \\frac{"]


@pytest.mark.parametrize("title", LONG)
@pytest.mark.parametrize("value", [LINE, BAR])
def test_no_text_leaves_the_figure(title, value):
    for runs in (TEN, {}):
        figure = draw(value, runs, title=title)
        assert ("no results" in texts(figure)) == (not runs)
        parts, box = drawn(figure)
        for part in parts:
            place = part.get_window_extent()
            assert box.x0 <= place.x0 < place.x1 <= box.x1
            assert box.y0 <= place.y0 < place.y1 <= box.y1
        assert parts[0].get_text().replace("\n", " ") == " ".join(title.split())


def test_many_missing_methods_fit_below_the_axes():
    figure = draw(LINE)
    with style():
        add_notes(figure, panels_of(LINE), titles=[f"Method {n}" for n in range(30)])
    parts, box = drawn(figure)
    assert parts[1].get_window_extent().x1 <= box.x1
    assert "Method 29" in parts[1].get_text()
