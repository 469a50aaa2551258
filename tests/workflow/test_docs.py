"""Every command that the pages tell a reader to type, run word for word in copies of the project.

Commands stand in blocks marked ``sh``; a block runs as one script of bash. `WHERE` says in which
copy, `PRELUDE` what stands in for programs, and `Place.names` what stands in for names; all else
is as on the page, and nothing is left out.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from crate_validator import fill_cache
from PIL import Image, ImageDraw
from projects import ROOT, Outcome, Project, new_project
from test_own_images import CLASSES, REAL

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

README, AUDIT, OWN = "README.md", "docs/audit.md", "docs/own-images.md"
COMMANDS = "docs/commands.md"
EXPORTS = "docs/exports.md"
FEATURES, GRIDS = "docs/features.md", "docs/grids.md"
SELECT, REPORT, CONTRIBUTING = "docs/hyper-parameters.md", "docs/report.md", "CONTRIBUTING.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "cd", "dvc", "git", "make", "osad", "python", "rocrate-validator", "sha256sum",
    "snakemake", "source",
}  # fmt: skip
"""Programs that are known here."""
PRELUDE = """
set -euo pipefail
# Installations and whole grids take minutes: make says what it would run, and of that the grids
# are planned.
make() {
  command make --dry-run "$@" | tee made.txt
  { grep '^snakemake --cores' made.txt || true; } | sed 's/$/ --dry-run --quiet/' > planned.sh
  builtin source ./planned.sh
  rm made.txt planned.sh
}
# The tests have an environment of their own; a copy has no .venv, but its package is what runs.
source() { [ "$*" = .venv/bin/activate ]; export PYTHONPATH=$PWD/src; }
# What it would get from the network is in a cache.
rocrate-validator() {
  command rocrate-validator "$@" --offline --cache-path "$CONTEXTS" --no-paging
}
"""
"""What stands in for programs, and why."""
PLANNED = """
# Grids that take hours: their jobs are planned.
snakemake() { command snakemake "$@" --dry-run --quiet; }
# Each measures for minutes or hours, so only its words are checked (test_page_commands.py);
# test_select.py runs one.
osad() { [ "$1" = select ]; }
python() { [ "$1" = bench/bench.py ] || [ "$1" = bench/scale.py ]; }
"""
"""What stands in for them where nothing is computed."""
WHERE = {
    README: {
        "git clone <this repository> osad && cd osad": "beside",
        "source .venv/bin/activate": "saved",
        "snakemake --cores 8 --resources gpu=1 --configfile configs/own.yaml": "own",
    },
    COMMANDS: {"source .venv/bin/activate": "saved"},
    AUDIT: {
        "cd provenance && sha256sum --check SHA256SUMS": "saved",
        "osad status": "saved",
        "dvc remote add --default store ssh://host/path": "saved",
        "git clone <this repository> osad && cd osad": "beside_saved",
        "osad audit explain elpv/all/general-m10/dpdl/s0 --depth 2": "clone",
        "osad audit verify --all": "saved",
    },
    OWN: {
        "snakemake --cores 8 --resources gpu=1 --configfile configs/good.yaml": "good",
        "snakemake --cores 8 --resources gpu=1 --configfile configs/own.yaml": "own",
        "osad tables results/own/tables/summary.csv": "own",
        "osad audit explain mine/all/general-m10/patchcore --configfile configs/own.yaml --depth 1":
            "own",
        "osad predict mine/all/general-m10/patchcore/s0 ../new-screws --output predictions/first"
        " --configfile configs/own.yaml": "own",
        "osad predict mine/all/general-m10/patchcore/s0 ../new-screws --output predictions/decided"
        " --threshold fpr=0.1 --configfile configs/own.yaml": "own",
    },
    EXPORTS: {
        "osad export huggingface elpv/all/general-m10/dpdl --output exported/huggingface": "saved",
        "osad page --publish site": "saved",
    },
    FEATURES: {
        "python -m osad.runtime.job features --pack plain --manifest data/manifests/elpv.csv \\":
            "saved",
    },
    GRIDS: {
        "snakemake --cores 2 --resources gpu=1 --configfile configs/ablation.yaml": "planned",
    },
    "docs/images.md": {
        "snakemake --cores 2 --resources gpu=1 --configfile configs/images.yaml": "planned",
    },
    "docs/machines.md": {"snakemake --cores 8 --resources gpu=1 --config part=1/2": "planned"},
    SELECT: {"snakemake splits features --cores 2 --configfile configs/select.yaml": "planned"},
    REPORT: {"python bench/bench.py --only cells --json data/bench/NAME.json": "planned"},
    "docs/scale.md": {"python bench/scale.py --runs 1000 3000 10000 30000": "planned"},
    CONTRIBUTING: {"make test": "clone"},
}  # fmt: skip
"""The fixture in which a block of a page runs, by its first command."""


def blocks(page: str, language: str = "sh") -> list[str]:
    """Return the blocks of a page in some language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [content for name, content in FENCE.findall(text) if name == language]


def commands(block: str) -> list[str]:
    """Return the lines of a block without comments."""
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


@dataclass
class Place:
    """Where blocks run.

    Attributes:
        project: its folder.
        names: what stands in for names in blocks.
        environment: further variables.
        prelude: what else stands in for programs.
        done: the outcomes of blocks; each runs once.
    """

    project: Project
    names: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    prelude: str = ""
    done: dict[str, Outcome] = field(default_factory=dict)

    def run(self, block: str) -> Outcome:
        """Run a block, and check that it says what its comments promise in quotes."""
        if block not in self.done:
            shutil.rmtree(self.project.root / "crate", ignore_errors=True)
            script = PRELUDE + self.prelude + block
            for name, value in self.names.items():
                script = script.replace(name, value)
            outcome = self.project.run("bash", "-c", script, **self.environment)
            assert outcome.code == 0, f"{block}\n{outcome.output[-5000:]}"
            for promise in re.findall(r'"(.+?)"', "".join(re.findall(r"\s#.*", block))):
                pattern = re.sub(r"\bN\b", "[0-9]+", re.escape(promise))
                assert re.search(pattern, outcome.output), f"{promise}\n{outcome.output[-5000:]}"
            self.done[block] = outcome
        return self.done[block]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("docs")
    yield folder
    shutil.rmtree(folder)


def add_make(project: Project) -> None:
    """Copy what installations are made with, which no run needs."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, project.root / name)


def beside_repository(folder: Path, repository: Project) -> Place:
    """Return an empty folder in which a repository is cloned."""
    folder.mkdir()
    search = str(folder / "osad/src")
    return Place(
        Project(folder), {"<this repository>": str(repository.root)}, {"PYTHONPATH": search}
    )


@pytest.fixture(scope="module")
def beside(root: Path) -> Place:
    """Where the project is cloned, with the results that git holds."""
    origin = new_project(root / "origin")
    add_make(origin)
    for name in ("data/bench", "data/manifests", "provenance", "results/tables"):
        shutil.copytree(ROOT / name, origin.root / name, dirs_exist_ok=True)
    origin.run("git", "init", "--quiet").check()
    origin.commit("The project")
    return beside_repository(root / "beside", origin)


@pytest.fixture(scope="module")
def clone(beside: Place) -> Place:
    """A clone in which nothing has run."""
    beside.run(blocks(README)[0])
    return Place(Project(beside.project.root / "osad"))


@pytest.fixture(scope="module")
def planned(clone: Place) -> Place:
    """The same, in which nothing is computed."""
    return Place(clone.project, prelude=PLANNED)


@pytest.fixture(scope="module")
def saved(plain_run: tuple[Project, Outcome], root: Path) -> Place:
    """A finished project in git and DVC, of a data set that takes seconds."""
    project = plain_run[0].copy(root / "saved")
    add_make(project)
    project.run("git", "init", "--quiet").check()
    project.run("osad", "audit", "save").check()
    project.commit("A run")
    fill_cache(root / "contexts")
    names = {
        " elpv/": " tiny/",
        " elpv=": " tiny=",
        "/elpv.csv": "/tiny.csv",
        "<this repository>": str(project.root),
        "ssh://host/path": str(root / "store"),
        " HEAD~1 ": " HEAD ",  # It has no commit before.
    }
    identity = {
        f"GIT_{role}_{what}": "nobody@example.invalid"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return Place(project, names, {"CONTEXTS": str(root / "contexts"), **identity})


@pytest.fixture(scope="module")
def beside_saved(saved: Place, root: Path) -> Place:
    """Where a project is cloned whose data are in a remote of DVC."""
    (send,) = [block for block in blocks(AUDIT) if "audit push" in block]
    saved.run(send)
    return beside_repository(root / "beside_saved", saved.project)


def screws(folder: Path, counts: dict[str, int]) -> None:
    """Put images into a folder: real screws where they are at hand, or drawn ones."""
    for kind, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        real = sorted((REAL / name).glob("*.png"))
        for number in range(count):
            target = folder / name / f"{number:03}.png"
            if real:
                shutil.copy(real[number], target)
                continue
            image = Image.new("L", (64, 64), 100 + number)
            ImageDraw.Draw(image).line((8, 8, 50, 6 * kind), fill=250, width=4)
            image.save(target)


@pytest.fixture(scope="module")
def own(root: Path) -> Place:
    """A project with a user's images and the settings of the page, less of each."""
    project = new_project(root / "own/project")
    counts = {"train/good": 16, "test/good": 9, **{f"test/{name}": 11 for name in CLASSES}}
    screws(root / "own/my-screws", counts)
    screws(root / "own/new-screws", {"test/good": 2})
    screws(project.root / "new/images", {f"test/{CLASSES[0]}": 2})
    path = project.root / "configs/own.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    folder, _, first_look = map(yaml.safe_load, blocks(OWN, "yaml"))
    content["datasets"] = folder["datasets"]
    content["grid"] |= first_look["grid"] | {"settings": ["general", "normal"]}
    content["features"] = {"image_size": 64}
    content["methods"] = {"devnet": {"epochs": 1, "iterations": 2}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Place(project, {"--cores 8": "--cores 2"})  # Eight processes start slower on two.


@pytest.fixture(scope="module")
def good(root: Path) -> Place:
    """A project with good parts alone, as few as the page says, and a scratch in a new one."""
    project = new_project(root / "good/project")
    generator = np.random.default_rng(0)
    for folder, count in (("my-parts/train/good", 73), ("new-parts", 4)):
        (root / "good" / folder).mkdir(parents=True)
        for number in range(count):
            values = generator.integers(100, 140, (64, 64)).astype(np.uint8)
            if (folder, number) == ("new-parts", 3):
                values[10:50, 20:30] = 255
            Image.fromarray(values).save(root / "good" / folder / f"{number:03}.png")
    path = project.root / "configs/good.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(content | {"features": {"image_size": 64}}), encoding="utf-8")
    return Place(project, {"--cores 8": "--cores 2"})


def test_every_page_with_commands_is_among_them() -> None:
    names = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.md"))
    pages = [name for name in names if re.match(r"[\w-]+\.md|(docs|examples|profiles)/", name)]
    assert {page for page in pages if blocks(page)} == set(WHERE)


@pytest.mark.parametrize("page", WHERE)
def test_every_command_is_known(page: str) -> None:
    """A new one fails here until `WHERE` and `PROGRAMS` say how it is run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {name for name, _ in FENCE.findall(text)} <= {"sh", "yaml", "text", "python"}
    assert not re.search(r"\n\n( {4}|\t)", FENCE.sub("", text)), "a block without a language"
    assert [commands(block)[0] for block in blocks(page)] == list(WHERE[page])
    lines = "\n".join(line for block in blocks(page) for line in commands(block))
    parts = re.split(r"\n|;|&&", lines.replace("\\\n", ""))
    assert {part.split()[0] for part in parts} <= PROGRAMS


@pytest.mark.parametrize("page", WHERE)
def test_commands_work(page: str, request: pytest.FixtureRequest) -> None:
    for block in blocks(page):
        place: Place = request.getfixturevalue(WHERE[page][commands(block)[0]])
        place.run(block)


def test_good_parts_alone_lead_to_decisions_and_heat_maps(good: Place) -> None:
    good.run(blocks(OWN)[0])
    results, scored = good.project.root / "results/good", good.project.root / "predictions/good"
    for row in good.project.rows("results/good/tables/cells.csv"):
        counts = [row[name] for name in ("n_train_normal", "n_test_normal", "n_test_anomaly")]
        assert counts == ["54", "19", "0"]
        assert (row["status"], row["auroc"], row["pixel_auroc"]) == ("ok", "", "")
        assert row["reason"].startswith("no anomalous test image")
    assert "no anomalous test image" in (results / "tables/normal.md").read_text(encoding="utf-8")
    assert (results / "report/index.html").is_file()
    rows = good.project.rows("predictions/good/scores.csv")
    assert {Path(row["path"]).stem: row["decision"] for row in rows}["003"] == "anomalous"
    assert sum(row["decision"] == "anomalous" for row in rows) < 3
    assert len([*scored.rglob("*.png")]) == 4
    threshold = json.loads((scored / "prediction.json").read_text(encoding="utf-8"))["threshold"]
    assert (threshold["false_alarms"]["images"], threshold["detections"]) == (19, None)


def test_the_example_in_python_gives_the_scores_of_the_command(own: Place) -> None:
    for block in blocks(OWN)[1:]:
        own.run(block)
    (example,) = blocks(OWN, "python")
    code = f"{example}\nprint(scores.tolist())"
    told = own.project.run(sys.executable, "-c", code).check().output.splitlines()[-1]
    rows = own.project.rows("predictions/decided/scores.csv")
    assert told == str([float(row["score"]) for row in rows])
    assert {row["decision"] for row in rows} <= {"normal", "anomalous"}


def test_the_example_of_the_audit_is_what_a_clone_says(clone: Place) -> None:
    """But for what is told from files that only ``dvc pull`` brings."""
    block = next(block for block in blocks(AUDIT) if "explain" in block)
    (example,) = blocks(AUDIT, "text")
    output = clone.run(block).output
    for line in example.partition("IMAGES")[0].splitlines():
        if line and line != "..." and not line.startswith("  s0: "):
            pattern = re.escape(line).replace(re.escape("..."), ".+")
            match = re.search(f"^{pattern}", output, re.MULTILINE)
            assert match, f"{line}\n{output[:5000]}"
            output = output[match.end() :]


@pytest.mark.parametrize("page", [README, OWN])
def test_settings_of_own_images_are_accepted(page: str, own: Place) -> None:
    """Also those that are not run here."""
    files = ["configs/own.yaml"]
    for number, block in enumerate(blocks(page, "yaml")):
        files.append(f"configs/page-{number}.yaml")
        (own.project.root / files[-1]).write_text(block, encoding="utf-8")
    options = [text for name in files for text in ("--configfile", name)]
    own.project.run("osad", "progress", *options).check()
