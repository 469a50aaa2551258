"""The page of the results in a real browser, opened from the disk."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_cases import FAILED, MACHINE, REASON, SKIPPED, Site, data_of

from osad.core.files import read_csv
from osad.report.scripts import script

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
PLACE = CELL.rpartition("/")[0]
LINK = f'a.ours[href="#{CELL}"]'
SUMMARY = "results/tables/summary.csv"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Watch:
    """A page, what it complained about, and what it asked for outside its folder."""

    def __init__(self, browser: Any, site: Site, **options: Any) -> None:
        self.context = browser.new_context(viewport=options.pop("viewport", WIDE), **options)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.problems: list[str] = []
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
            self.problems.append(f"asked for {address}")
            route.abort()

    def open(self, cell: str = "") -> Any:
        """Load the page anew, which an address that differs in its last part alone does not."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{cell}" if cell else self.address)
        self.page.wait_for_selector("#competing table")
        return self.page

    def open_cell(self, cell: str = CELL) -> Any:
        return dialog(self.open(cell))

    def download(self, selector: str) -> str:
        with self.page.expect_download() as waiting:
            self.page.click(selector)
        return Path(waiting.value.path()).read_text(encoding="utf-8")

    def close(self) -> None:
        self.context.close()
        assert self.problems == []


@pytest.fixture
def watch(browser: Any, site: Site) -> Iterator[Watch]:
    opened = Watch(browser, site)
    yield opened
    opened.close()


@pytest.fixture
def page(watch: Watch) -> Any:
    return watch.open()


def dialog(page: Any) -> Any:
    page.wait_for_selector("dialog[open] #view-title")
    return page.locator("dialog")


def scroll_to_pictures(view: Any) -> None:
    view.locator("h3", has_text="Curves").scroll_into_view_if_needed()
    view.locator(".charts svg").first.wait_for()
    view.locator("h3", has_text="wrong images").scroll_into_view_if_needed()
    view.locator(".pictures img").first.wait_for()


def gallery_of(site: Site) -> list[str]:
    """Return the paths of the images that all methods of `PLACE` show."""
    text = (site.page.parent / "gallery/elpv/all.js").read_text(encoding="utf-8")
    paths: list[str] = data_of(text)["places"]["general-m10"]
    return paths


def column(page: Any, table: str, number: int) -> list[str]:
    lines = page.locator(f"#competing table{table} tbody tr").all()
    return [line.locator("th, td").nth(number).inner_text() for line in lines]


def hashes(page: Any) -> list[str]:
    return page.eval_on_selector_all("a.ours", "all => all.map(a => a.hash)")


def titles(page: Any) -> dict[str, str]:
    """Return what is printed by what shows when the pointer rests on it."""
    return dict(page.locator("[title]").evaluate_all("all => all.map(a => [a.title, a.innerText])"))


def printed(row: dict[str, str]) -> str:
    mean, std = row["auroc_mean"], row["auroc_std"]
    text = f"{float(mean):.3f}" if mean else "n/a"
    text += f" ± {float(std):.3f}" if std else ""
    return f"{text} (n=1)" if row["n_seeds"] == "1" else text


def test_the_numbers_are_those_of_the_summary(page: Any, site: Site) -> None:
    rows = {row["cell"]: row for row in read_csv(site.root / SUMMARY, ["cell"])}
    shown = page.eval_on_selector_all("a.ours", "all => all.map(a => [a.hash, a.innerText])")
    assert dict(shown) == {f"#{cell}": printed(row) for cell, row in rows.items()}
    assert len(shown) == len(rows)
    # The published number, its difference and its source stand beside ours.
    row = rows[CELL]
    published = page.locator(LINK).locator("xpath=..").locator(".published").inner_text()
    difference = float(row["auroc_mean"]) - float(row["published_mean"])
    assert f"{float(row['published_mean']):.3f}" in published
    assert f"{difference:+.3f}".replace("-", "\u2212") in published
    assert row["published_source"] in page.locator("#competing").inner_text()
    assert page.get_attribute(LINK, "title") == f"{row['auroc_mean']} ± {row['auroc_std']}"
    assert page.locator('#competing a.ours[href*="random"]').count() == 0
    assert page.locator('#control-tables a.ours[href*="dpdl"]').count() == 0
    controls = sum("random" in cell for cell in rows)
    assert page.locator("#control-tables a.ours").count() == controls


def test_filters_leave_what_they_say(page: Any) -> None:
    total = len(hashes(page))
    for name, value in (("dataset", "mine"), ("setting", "hard"), ("shots", "1")):
        page.select_option(f"[name={name}]", value)
    places = [f"#mine/all/hard-{known}-m1" for known in ("dent", "scratch", "mean")]
    methods = ("dpdl", "dra", "patchcore", "random")
    assert sorted(hashes(page)) == sorted(f"{place}/{name}" for place in places for name in methods)
    assert f"12 of {total} table cells" in page.inner_text("#count")
    page.click(".choose summary")
    page.click("#no-methods")
    assert hashes(page) == []
    assert "Nothing is left" in page.inner_text("#competing")
    page.check("#method-boxes input[value=dra]")
    assert page.inner_text("#chosen") == "(1 of 4)"
    assert len(hashes(page)) == 3
    page.click("button[type=reset]")
    page.wait_for_function(f"document.querySelectorAll('a.ours').length === {total}")


def test_columns_are_sorted_and_methods_can_stand_in_rows(page: Any) -> None:
    table = '[data-name^="hard, M = 10"]'
    head = f"#competing table{table} thead th:nth-child(2)"
    before = column(page, table, 0)
    page.focus(f"{head} button")
    # The focus stays, so that the next press goes the other way, and the third undoes it.
    for descending in (True, False):
        page.keyboard.press("Enter")
        means = [float(text.split()[0]) for text in column(page, table, 1)]
        assert means == sorted(means, reverse=descending)
        order = "descending" if descending else "ascending"
        assert page.get_attribute(head, "aria-sort") == order
    page.keyboard.press("Enter")
    assert column(page, table, 0) == before
    page.select_option("[name=layout]", "methods")
    table = '[data-name="general, ELPV"]'
    assert page.locator(f"#competing table{table} thead th").all_inner_texts() == [
        "Method", "M = 10 labelled anomalies", "M = 1 labelled anomaly",
    ]  # fmt: skip
    assert column(page, table, 0) == ["DPDL", "DRA", "PatchCore"]


def test_a_cell_opens_by_click_or_key_with_everything_behind_it(page: Any, site: Site) -> None:
    page.click(LINK)
    view = dialog(page)
    assert page.evaluate("location.hash") == f"#{CELL}"
    text, content = view.inner_text(), view.text_content()
    digits = titles(view)
    for row in read_csv(site.root / "results/tables/cells.csv", ["cell"]):
        if row["cell"].startswith(f"{CELL}/"):
            for name in ("auroc", "average_precision"):
                assert digits[row[name]] == f"{float(row[name]):.3f}"
            assert row["scores_sha256"] in content
    for words in (f"osad audit explain {CELL}", f"osad audit verify {CELL} --rebuild"):
        assert words in text
    for words in (site.grid.environment(), "osad.methods.dpdl.method", "prototypes"):
        assert words in content
    # Curves of both seeds and pictures come when they are in sight.
    scroll_to_pictures(view)
    for kind, count in ((".charts svg", 3), (".pictures img", 12), ("canvas.heat", 12)):
        assert view.locator(kind).count() == count
    view.get_by_label("heat maps").uncheck()
    assert not view.locator("canvas.heat").first.is_visible()
    # The keyboard closes and opens it.
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog').open")
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{CELL}"
    assert page.evaluate("location.hash") == ""
    page.keyboard.press("Enter")
    dialog(page)
    assert page.evaluate("document.activeElement.id") == "view-title"


def test_an_address_leads_to_a_cell_and_its_digests(watch: Watch, site: Site) -> None:
    view, page = watch.open_cell(), watch.page
    view.locator(f'a[href="#/images/{CELL.rpartition("/")[0]}/s0"]').click()
    page.wait_for_selector("table.images")
    assert page.locator("table.images tbody tr").count() == 42
    page.select_option("dialog select", "train_anomaly")
    lines = page.locator("table.images tbody tr").all_inner_texts()
    split = read_csv(site.root / "results/splits/elpv/all/general-m10/s0.csv", ["sha256"])
    rows = [row for row in split if row["role"] == "train_anomaly"]
    assert [line.split() for line in lines] == [
        [row["path"], row["class"], "train_anomaly", row["sha256"]] for row in rows
    ]
    assert len(rows) == 10
    page.go_back()
    page.wait_for_selector(".tree")
    assert "DPDL" in page.inner_text("#view-title")


def test_a_cell_shows_its_intervals_and_all_published_values(watch: Watch, site: Site) -> None:
    rows = {row["cell"]: row for row in read_csv(site.root / SUMMARY, ["cell"])}
    cell = "elpv/all/general-m10/dra"
    text, row = watch.open_cell(cell).inner_text(), rows[cell]
    for kind in ("seeds", "images", "to_published"):
        low, high = (float(row[f"{kind}_{end}"]) for end in ("low", "high"))
        assert f"[{low:+.3f}, {high:+.3f}]".replace("-", "\u2212") in text
    assert f"{float(row['difference_to_best']):+.3f}".replace("-", "\u2212") in text
    for words in ("0.821\u20130.845", "0.821 ± 0.028 (Qsco (arXiv 2405.16368)"):
        assert words in text
    best = watch.open_cell(cell.replace("dra", row["best"])).inner_text()
    assert "To the best" in text
    assert "To the best" not in best


def test_addresses_of_means_and_shared_runs_and_unknown_ones(watch: Watch) -> None:
    text = watch.open_cell("elpv/all/general-m1/patchcore").text_content()
    for words in (
        "results/scores/elpv/all/normal-m0/patchcore/s0.csv",
        "results/metrics/elpv/all/general-m1/patchcore/s0.json", "one run serves all protocols",
    ):  # fmt: skip
        assert words in text
    assert "none of that id" in watch.open_cell("elpv/all/general-m10/nothing").inner_text()
    view = watch.open_cell("elpv/all/hard-mean-m10/dpdl")
    links = view.locator("table a").all_inner_texts()
    assert links == [f"elpv/all/hard-{known}-m10/dpdl" for known in ("mono", "poly")]
    view.get_by_text(links[1]).click()
    watch.page.wait_for_selector("dialog .tree")


def test_failed_and_skipped_runs_have_reasons(watch: Watch) -> None:
    page = watch.open()
    table = page.inner_text("#problems")
    for text in (str(FAILED), REASON, *map(str, SKIPPED)):
        assert text in table
    for run, count, text in (
        (FAILED, "1 failed", f"failed: run: {REASON}"), (SKIPPED[0], "2 skipped", "No run of this"),
    ):  # fmt: skip
        cell = str(run).rpartition("/")[0]
        assert count in page.locator(f'td:has(> a[href="#{cell}"])').inner_text()
        assert text in watch.open_cell(cell).inner_text()
        page = watch.open()


def test_the_address_keeps_filters_columns_and_order(watch: Watch) -> None:
    page = watch.open()
    page.select_option("[name=dataset]", "elpv")
    page.select_option("[name=layout]", "methods")
    page.locator(".choose summary").nth(1).click()
    page.uncheck("#column-boxes input[value='M = 1 labelled anomaly']")
    page.uncheck("#column-boxes input[value='published values']")
    page.click('#competing table[data-name="general, ELPV"] thead th:nth-child(2) button')
    page.locator(".choose summary").first.click()
    page.uncheck("#method-boxes input[value=dra]")

    def state(page: Any) -> tuple[list[str], list[str], str, str]:
        heads = page.locator("#competing table").first.locator("thead th").all_inner_texts()
        counts = (page.inner_text("#hidden-columns"), page.inner_text("#chosen"))
        return heads, hashes(page), *counts

    before, kept = state(page), page.evaluate("location.hash")
    assert before[0] == ["Method", "M = 10 labelled anomalies\u25bc"]
    assert before[2:] == ("(2 hidden)", "(3 of 4)")
    assert page.locator(".published").count() == 0
    page = watch.open(kept[1:])
    assert state(page) == before
    # A number opens above the same tables, has the filters in its address, and leads back.
    page.click(LINK)
    dialog(page)
    page.wait_for_function("query => location.hash.endsWith(query)", arg=kept[1:])
    assert page.evaluate("location.hash").startswith(f"#{CELL}?")
    page.keyboard.press("Escape")
    page.wait_for_function("hash => location.hash === hash", arg=kept)
    # The downloads are what is shown.
    latex = watch.download("#latex")
    assert "& M = 10 labelled" in latex
    assert "& M = 1 labelled" not in latex
    assert "published &" not in latex
    page.click("button[type=reset]")
    page.wait_for_function("location.hash === ''")
    assert page.inner_text("#hidden-columns") == "(all)"
    # What there is not counts for nothing.
    page = watch.open("?dataset=none&layout=odd&sort=x&hide=y&%zz")
    assert page.inner_text("#count").startswith(f"{len(hashes(page))} of {len(hashes(page))} table")


def test_all_methods_of_a_place_with_intervals_times_and_images(watch: Watch, site: Site) -> None:
    page = watch.open()
    page.locator(f'#competing a.place[href="#/place/{PLACE}"]').first.click()
    view = dialog(page)
    rows = [row for row in read_csv(site.root / SUMMARY, ["cell"])
            if row["cell"].startswith(f"{PLACE}/") and row["method"] != "random"]  # fmt: skip
    rows.sort(key=lambda row: -float(row["auroc_mean"]))
    lines = view.locator("table.ranges tbody tr").all()
    assert len(lines) == len(rows) == 3
    for line, row in zip(lines, rows, strict=True):
        text = line.inner_text()
        assert printed(row) in text
        for kind in ("seeds", "images"):
            if row["best"] != row["method"]:
                low, high = (float(row[f"{kind}_{end}"]) for end in ("low", "high"))
                assert f"[{low:+.3f}, {high:+.3f}]".replace("-", "\u2212") in text
        assert ("3.2\t512.0\t-\t-" in text) == (row["method"] == "dpdl")  # As measured.
        assert ("-\t-\t3.2\t512.0" in text) == (row["method"] == "dra")
    for number, machine in enumerate((f"{MACHINE}.", f"{MACHINE}, with a GPU."), 1):
        assert f"one run ({number}) were measured on {machine}" in view.inner_text()
    assert "run, s (1)\tmemory, MB (1)\trun, s (2)" in view.locator("table.ranges").inner_text()
    assert view.locator(".bar-point").count() == 2
    # The same images for every method, drawn where it has maps.
    view.locator("h3", has_text="The same images").scroll_into_view_if_needed()
    view.locator("table.gallery").wait_for()
    images = gallery_of(site)
    names = view.locator("table.gallery tbody th .name").all_inner_texts()
    assert [name.split()[-1] for name in names] == [Path(path).name for path in images]
    maps = sum(row["method"] in ("dpdl", "patchcore", "dra") for row in rows)
    assert view.locator("table.gallery canvas.heat").count() == maps * len(images)
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog').open")
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"#/place/{PLACE}"


def test_two_methods_stand_side_by_side(watch: Watch, site: Site) -> None:
    view, page = watch.open_cell(), watch.page
    view.get_by_label("with").select_option("patchcore")
    view.get_by_role("link", name="on the same images").click()
    page.wait_for_selector("table.gallery, h3:has-text('The same images')")
    assert page.evaluate("location.hash") == f"#/pair/{PLACE}/dpdl/patchcore"
    runs = {row["cell"]: row for row in read_csv(site.root / "results/tables/cells.csv", ["cell"])}
    digits = titles(view)
    for seed in (0, 1):
        pair = [float(runs[f"{PLACE}/{name}/s{seed}"]["auroc"]) for name in ("dpdl", "patchcore")]
        line = view.get_by_role("row", name=f"s{seed}").inner_text().split()
        difference = f"{pair[0] - pair[1]:+.3f}".replace("-", "\u2212")
        assert line == [f"s{seed}", *(f"{value:.3f}" for value in pair), difference]
        assert digits[repr(pair[0] - pair[1])] == difference
    view.locator("h3", has_text="All test images").scroll_into_view_if_needed()
    view.locator(".chart svg").first.wait_for()
    view.locator("h3", has_text="The same images").scroll_into_view_if_needed()
    view.locator("table.gallery").wait_for()
    path = gallery_of(site)[0]
    line = view.locator("table.gallery tbody tr").first.inner_text()
    for name in ("dpdl", "patchcore"):
        text = (site.page.parent / f"images/{PLACE}/{name}.js").read_text(encoding="utf-8")
        (one,) = [one for one in data_of(text)["common"] if one["path"] == path]
        assert ", ".join(one["scores"].values()) in line
        assert f"outranks {100 * float(one['standing']):.1f} %" in line
    for address in (f"/pair/{PLACE}/dpdl/nothing", "/place/elpv/all/general-m7"):
        assert "no methods to compare" in watch.open_cell(address).inner_text()
    text = watch.open_cell("/pair/mine/all/hard-dent-m1/dpdl/dra").inner_text()
    assert "No run of DRA is done" in text


def test_csv_and_latex_are_what_is_shown(watch: Watch, site: Site) -> None:
    page = watch.open()
    stored = (site.root / SUMMARY).read_text(encoding="utf-8")
    assert watch.download("#csv") == stored
    page.select_option("[name=dataset]", "elpv")
    page.select_option("[name=setting]", "general")
    header, *rows = stored.splitlines()
    few = [row for row in rows if row.startswith("elpv,all,general,")]
    assert watch.download("#csv").splitlines() == [header, *few]
    latex = watch.download("#latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{table*}") == 4
    first = latex.partition(r"\bottomrule")[0]
    assert page.locator(LINK).inner_text().replace("±", r"$\pm$") in first
    assert r"ELPV & ours & " in first
    stored = (site.root / "results/tables/general.tex").read_text(encoding="utf-8")
    number = re.compile(r"0\.\d{3} \$\\pm\$ 0\.\d{3}")
    assert {*number.findall(latex)} <= {*number.findall(stored)}


def test_colours_are_chosen_and_remembered_but_not_printed(watch: Watch) -> None:
    page, background = watch.open(), "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    watch.open()
    assert page.evaluate(background) != light
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert not page.locator("#filters").is_visible()
    assert page.locator(LINK).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["desktop", "phone"])
def test_nobody_is_kept_out(browser: Any, site: Site, scheme: str, size: dict[str, int]) -> None:
    """No violation of WCAG 2 level A or AA, on the page and in its views."""
    script = AXE.read_bytes()
    assert hashlib.sha256(script).hexdigest() == AXE_SHA256
    watch = Watch(browser, site, color_scheme=scheme, viewport=size)
    rules = "{preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}"
    # Both views of several methods in both sizes and both colours, but each in two of the four.
    views = {True: f"/place/{PLACE}", False: f"/pair/{PLACE}/dpdl/dra"}
    for cell in ("?hide=DRA", CELL, views[(scheme == "light") == (size is WIDE)]):
        page = watch.open(cell)
        if cell.startswith("?"):
            for summary in page.locator(".choose summary").all():
                summary.click()
        elif cell.startswith("/"):
            view = dialog(page)
            if "pair" in cell:
                view.locator("h3", has_text="All test images").scroll_into_view_if_needed()
                view.locator(".chart svg").first.wait_for()
            view.locator("h3", has_text="The same images").scroll_into_view_if_needed()
            view.locator("table.gallery").wait_for()
        else:
            view = dialog(page)
            scroll_to_pictures(view)
            for summary in view.locator(".tree summary").all():
                summary.evaluate("one => { one.parentElement.open = true; }")
        page.evaluate(script.decode())
        violations = page.evaluate(f"axe.run(document, {rules})")["violations"]
        assert [
            (one["id"], node["target"], node["failureSummary"])
            for one in violations
            for node in one["nodes"]
        ] == [], cell
        # A phone scrolls tables, never the page, to the side.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watch.close()


def test_a_page_of_3000_runs_opens_at_once(browser: Any, site: Site, tmp_path: Path) -> None:
    """600 table cells of 5 seeds; 2 s on an idle machine, with a margin for a busy one."""
    folder = tmp_path / "report"
    ignored = shutil.ignore_patterns("cells", "images", "manifests", "figures")
    shutil.copytree(site.page.parent, folder, ignore=ignored)
    value = data_of((folder / "data.js").read_text(encoding="utf-8"))
    rows = []
    for number in range(13):
        for row in value["rows"]:
            dataset, *fields, cell = row["fields"]
            dataset = f"set{number}_{dataset}"
            fields = [dataset, *fields, f"{dataset}/{cell}"]
            rows.append({**row, "fields": fields, "label": dataset})
    datasets = list(dict.fromkeys(row["label"] for row in rows))
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
