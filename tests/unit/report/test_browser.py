"""The page of the results in a real browser, opened from the disk."""

import csv
import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_cases import FAILED, REASON, SKIPPED, Site

from osad.core.files import read_csv
from osad.report.scripts import script, value_of

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)"),
]

AXE = Path(__file__).parents[2] / "data/axe/axe.min.js"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""axe-core 4.14.1 of the npm registry, file axe.min.js; licence MPL-2.0."""
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
CELL = "elpv/all/general-m10/dpdl"
LINK = f'a.ours[href="#{CELL}"]'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Watch:
    """A page, what it complained about, and what it asked for outside its folder."""

    def __init__(self, browser: Any, site: Site, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": WIDE, "accept_downloads": True, **options}
        )
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.outside: list[str] = []
        self.folder = site.page.parent.as_uri()
        self.address = site.page.as_uri()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.context.route("**/*", self._route)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _route(self, route: Any) -> None:
        address = route.request.url
        if address.startswith((self.folder, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(address)
            route.abort()

    def open(self, place: str = "") -> Any:
        self.page.goto(self.address + place)
        self.page.wait_for_selector("#competing table")
        return self.page

    def download(self, selector: str) -> str:
        with self.page.expect_download() as waiting:
            self.page.click(selector)
        return Path(waiting.value.path()).read_text(encoding="utf-8")


@pytest.fixture
def watch(browser: Any, site: Site) -> Iterator[Watch]:
    found = Watch(browser, site)
    yield found
    found.context.close()
    assert found.problems == []
    assert found.outside == []


def dialog(page: Any) -> Any:
    page.wait_for_selector("dialog[open] #view-title")
    return page.locator("dialog")


def column(page: Any, table: str, number: int) -> list[str]:
    lines = page.locator(f"{table} tbody tr").all()
    return [line.locator("th, td").nth(number).inner_text() for line in lines]


def test_the_numbers_are_those_of_the_summary(watch: Watch, site: Site) -> None:
    page = watch.open()
    rows = read_csv(site.root / "results/tables/summary.csv", ["cell"])
    wanted = {}
    for row in rows:
        mean, std = row["auroc_mean"], row["auroc_std"]
        text = f"{float(mean):.3f}" if mean else "n/a"
        text += f" ± {float(std):.3f}" if std else ""
        text += " (n=1)" if row["n_seeds"] == "1" else ""
        wanted["#" + row["cell"]] = text
    shown = page.eval_on_selector_all("a.ours", "all => all.map(a => [a.hash, a.innerText])")
    assert dict(shown) == wanted
    assert len(shown) == len(wanted)
    # The published number, its difference and its source stand beside ours.
    row = next(row for row in rows if row["cell"] == CELL)
    published = page.locator(LINK).locator("xpath=..").locator(".published").inner_text()
    difference = float(row["auroc_mean"]) - float(row["published_mean"])
    assert f"{float(row['published_mean']):.3f}" in published
    assert f"{difference:+.3f}".replace("-", "\u2212") in published
    assert row["published_source"] in page.locator("#competing").inner_text()
    assert page.locator('#competing a.ours[href*="random"]').count() == 0
    assert page.locator('#control-tables a.ours[href*="dpdl"]').count() == 0
    assert page.locator("#control-tables a.ours").count() == sum("random" in h for h in wanted)


def test_filters_leave_what_they_say(watch: Watch) -> None:
    page = watch.open()
    total = page.locator("a.ours").count()
    page.select_option("[name=dataset]", "mine")
    page.select_option("[name=setting]", "hard")
    page.select_option("[name=shots]", "1")
    cells = page.eval_on_selector_all("a.ours", "all => all.map(a => a.hash)")
    methods = ("dpdl", "dra", "patchcore", "random")
    places = [f"#mine/all/hard-{known}-m1" for known in ("dent", "scratch", "mean")]
    assert sorted(cells) == sorted(f"{place}/{name}" for place in places for name in methods)
    assert f"12 of {total} table cells" in page.inner_text("#count")
    page.click(".choose summary")
    page.click("#no-methods")
    assert page.locator("a.ours").count() == 0
    assert "Nothing is left" in page.inner_text("#competing")
    page.check("#method-boxes input[value=dra]")
    assert page.inner_text("#chosen") == "(1 of 4)"
    assert page.locator("a.ours").count() == 3
    page.click("button[type=reset]")
    page.wait_for_function(f"document.querySelectorAll('a.ours').length === {total}")


def test_a_column_is_sorted_by_its_numbers(watch: Watch) -> None:
    page = watch.open()
    table = 'table[data-name^="hard, M = 10"]'
    sort = f"#competing {table} thead th:nth-child(2) button"
    before = column(page, f"#competing {table}", 0)
    page.focus(sort)
    page.keyboard.press("Enter")
    means = [float(text.split()[0]) for text in column(page, f"#competing {table}", 1)]
    assert means == sorted(means, reverse=True)
    assert (
        page.get_attribute(f"#competing {table} thead th:nth-child(2)", "aria-sort") == "descending"
    )
    # The focus stays, so that the next press goes the other way, and the third undoes it.
    page.keyboard.press("Enter")
    means = [float(text.split()[0]) for text in column(page, f"#competing {table}", 1)]
    assert means == sorted(means)
    page.keyboard.press("Enter")
    assert column(page, f"#competing {table}", 0) == before


def test_methods_can_stand_in_rows(watch: Watch) -> None:
    page = watch.open()
    page.select_option("[name=layout]", "methods")
    table = '#competing table[data-name="general, ELPV"]'
    assert page.locator(f"{table} thead th").all_inner_texts() == [
        "Method", "M = 10 labelled anomalies", "M = 1 labelled anomaly",
    ]  # fmt: skip
    assert column(page, table, 0) == ["DPDL", "DRA", "PatchCore"]


def test_a_cell_opens_by_click_with_everything_behind_it(watch: Watch, site: Site) -> None:
    page = watch.open()
    page.click(LINK)
    view = dialog(page)
    assert page.evaluate("location.hash") == f"#{CELL}"
    rows = read_csv(site.root / "results/tables/cells.csv", ["cell"])
    runs = [row for row in rows if row["cell"].startswith(f"{CELL}/")]
    text = view.inner_text()
    for row in runs:
        assert row["auroc"] in text
        assert row["average_precision"] in text
        assert row["scores_sha256"] in view.text_content()
    for words in (f"osad audit explain {CELL}", f"osad audit verify {CELL} --rebuild"):
        assert words in text
    content = view.text_content()
    assert site.grid.environment() in content
    assert "osad.methods.dpdl.method" in content
    assert "prototypes" in content
    # Curves of both seeds and pictures come when they are in sight.
    view.locator(".charts svg").first.wait_for()
    assert view.locator(".charts svg").count() == 3
    view.locator("h3", has_text="wrong images").scroll_into_view_if_needed()
    view.locator(".pictures img").first.wait_for()
    assert view.locator(".pictures img").count() == 12
    assert view.locator("canvas.heat").count() == 12
    view.get_by_label("heat maps").uncheck()
    assert not view.locator("canvas.heat").first.is_visible()


def test_the_keyboard_opens_and_closes_a_cell(watch: Watch) -> None:
    page = watch.open()
    page.focus(LINK)
    page.keyboard.press("Enter")
    dialog(page)
    assert page.evaluate("document.activeElement.id") == "view-title"
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog').open")
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{CELL}"
    assert page.evaluate("location.hash") == ""


def test_an_address_leads_to_a_cell_and_its_digests(watch: Watch, site: Site) -> None:
    page = watch.open(f"#{CELL}")
    view = dialog(page)
    view.locator(f'a[href="#/images/{CELL.rpartition("/")[0]}/s0"]').click()
    page.wait_for_selector("table.images")
    split = read_csv(site.root / "results/splits/elpv/all/general-m10/s0.csv", ["sha256"])
    assert page.locator("table.images tbody tr").count() == 42
    page.select_option("dialog select", "train_anomaly")
    lines = page.locator("table.images tbody tr").all_inner_texts()
    wanted = [row for row in split if row["role"] == "train_anomaly"]
    assert len(lines) == len(wanted) == 10
    for line, row in zip(lines, wanted, strict=True):
        assert line.split() == [row["path"], row["class"], "train_anomaly", row["sha256"]]
    page.go_back()
    page.wait_for_selector(".tree")
    assert "DPDL" in page.inner_text("#view-title")


def test_a_cell_of_a_shared_run_names_the_run_s_files(watch: Watch) -> None:
    text = dialog(watch.open("#elpv/all/general-m1/patchcore")).text_content()
    assert "results/scores/elpv/all/normal-m0/patchcore/s0.csv" in text
    assert "results/metrics/elpv/all/general-m1/patchcore/s0.json" in text
    assert "one run serves all protocols" in text


def test_failed_and_skipped_runs_have_reasons(watch: Watch) -> None:
    page = watch.open()
    table = page.inner_text("#problems")
    for text in (str(FAILED), REASON, *map(str, SKIPPED)):
        assert text in table
    failed, skipped = (str(run).rpartition("/")[0] for run in (FAILED, SKIPPED[0]))
    assert "1 failed" in page.locator(f'td:has(> a[href="#{failed}"])').inner_text()
    page.click(f'a.ours[href="#{failed}"]')
    text = dialog(page).inner_text()
    assert f"failed: run: {REASON}" in text
    page.goto(f"{watch.address}#{skipped}")
    page.wait_for_function("document.querySelector('dialog')?.innerText.includes('No run of this')")
    assert "2 skipped" in page.locator(f'td:has(> a[href="#{skipped}"])').text_content()


def test_a_mean_over_classes_leads_to_its_parts(watch: Watch) -> None:
    page = watch.open("#elpv/all/hard-mean-m10/dpdl")
    view = dialog(page)
    links = view.locator("table a").all_inner_texts()
    assert links == [f"elpv/all/hard-{known}-m10/dpdl" for known in ("mono", "poly")]
    view.get_by_text(links[1]).click()
    page.wait_for_selector("dialog .tree")


def test_unknown_addresses_say_so(watch: Watch) -> None:
    page = watch.open("#elpv/all/general-m10/nothing")
    assert "none of that id" in dialog(page).inner_text()


def test_csv_and_latex_are_what_is_shown(watch: Watch, site: Site) -> None:
    page = watch.open()
    everything = watch.download("#csv")
    stored = (site.root / "results/tables/summary.csv").read_text(encoding="utf-8")
    assert everything == stored
    page.select_option("[name=dataset]", "elpv")
    page.select_option("[name=setting]", "general")
    few = list(csv.DictReader(io.StringIO(watch.download("#csv"))))
    assert few == [
        row
        for row in csv.DictReader(io.StringIO(stored))
        if (row["dataset"], row["setting"]) == ("elpv", "general")
    ]
    latex = watch.download("#latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{table*}") == 4
    first = latex.partition(r"\bottomrule")[0]
    dpdl = page.locator(LINK).inner_text().replace("±", r"$\pm$")
    assert dpdl in first
    assert r"ELPV & ours & " in first
    stored = (site.root / "results/tables/general.tex").read_text(encoding="utf-8")
    shared = set(re.findall(r"0\.\d{3} \$\\pm\$ 0\.\d{3}", latex))
    assert shared <= set(re.findall(r"0\.\d{3} \$\\pm\$ 0\.\d{3}", stored))


def test_colours_are_chosen_and_remembered(watch: Watch) -> None:
    page = watch.open()
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.reload()
    page.wait_for_selector("#competing table")
    assert page.evaluate(background) != light


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["desktop", "phone"])
def test_nobody_is_kept_out(browser: Any, site: Site, scheme: str, size: dict[str, int]) -> None:
    """No violation of WCAG 2 level A or AA, on the page and in a cell."""
    script = AXE.read_bytes()
    assert hashlib.sha256(script).hexdigest() == AXE_SHA256
    watch = Watch(browser, site, color_scheme=scheme, viewport=size)
    rules = "{preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}"
    for place in ("", f"#{CELL}"):
        page = watch.open(place)
        page.reload()  # An address that differs in its last part alone loads nothing anew.
        page.wait_for_selector("#competing table")
        if place:
            view = dialog(page)
            view.locator(".charts svg").first.wait_for()
            view.locator("h3", has_text="wrong images").scroll_into_view_if_needed()
            view.locator(".pictures img").first.wait_for()
            for summary in view.locator(".tree summary").all():
                summary.evaluate("one => { one.parentElement.open = true; }")
        page.evaluate(script.decode())
        found = page.evaluate(f"axe.run(document, {rules})")
        problems = [
            (one["id"], node["target"], node["failureSummary"])
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert problems == [], place
        # A phone scrolls tables, never the page, to the side.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watch.context.close()
    assert watch.problems == watch.outside == []


def test_the_page_prints_light_and_without_controls(watch: Watch) -> None:
    page = watch.open()
    page.click("#theme")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#filters").is_visible()
    assert page.locator(LINK).is_visible()


def test_a_page_of_3000_runs_opens_at_once(browser: Any, site: Site, tmp_path: Path) -> None:
    """600 table cells of 5 seeds; 2 s on an idle machine, with a margin for a busy one."""
    folder = tmp_path / "report"
    ignored = shutil.ignore_patterns("cells", "images", "manifests", "figures")
    shutil.copytree(site.page.parent, folder, ignore=ignored)
    value = value_of((folder / "data.js").read_text(encoding="utf-8"), where="data.js")
    rows = []
    for number in range(13):
        for row in value["rows"]:
            dataset = f"set{number}_{row['fields'][0]}"
            fields = [dataset, *row["fields"][1:-1], f"{dataset}/{row['fields'][-1]}"]
            rows.append({**row, "fields": fields, "label": dataset})
    datasets = list(dict.fromkeys(row["fields"][0] for row in rows))
    text = script("page", {**value, "rows": rows, "datasets": datasets})
    (folder / "data.js").write_text(text, encoding="utf-8")
    assert len(rows) > 600
    page = browser.new_context(viewport=WIDE).new_page()
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("#competing table")
    assert page.locator("a.ours").count() == len(rows)
    seconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    print(f"opened in {seconds:.2f} s, {len(text) / 1e6:.2f} MB of data")
    assert 0 < seconds < 8
    page.context.close()
