"""What to cite of a cell, as BibTeX: method, data set, weights and this project."""

import re

import osad
from osad.backbones import get_backbone
from osad.core.cells import Cell
from osad.evaluation.tables.markup import escape_latex
from osad.methods import registry
from osad.pipeline.grid import Grid

INITIALS = r"(?:[A-Z]\. )+[^,:.]+(?: et al\.)?"
CITED = re.compile(rf"({INITIALS}(?:, {INITIALS})*|[A-Z]\w+(?:, [A-Z]\w+)+): (.+?)\. (.+)")
"""Authors, title and the rest of a citation; other texts are kept as one title."""
PAPER = re.compile(r"([A-Z]\w+ et al\.), (.+)()")
ARXIV = re.compile(r"\s*\(arXiv ((\d\d)\d\d\.\d{4,5})\)")
DOI = re.compile(r"\s*\bdoi:(\S+)")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def references(grid: Grid, cell: Cell, commit: str, *, changed: bool = False) -> list[str]:
    """Return the entries of a cell; those of weights are left out where it reads no network.

    Args:
        grid: that the cell is of.
        cell: a run.
        commit: digest and date of the project's commit, empty if there is none.
        changed: whether what decides the numbers differs from it.
    """
    method, data = registry.get(cell.method), grid.dataset(cell.dataset)
    entries = [
        entry(f"method-{method.name}", method.paper, PAPER, note=f"method {method.title}"),
        entry(
            f"data-{data.name}", data.citation or data.title, CITED,
            howpublished=data.homepage, note=f"data set {data.title}, licence: {data.licence}",
        ),
    ]  # fmt: skip
    used = dict.fromkeys(network for network, _ in grid.kinds(method.packs) if network)
    for name in dict.fromkeys(grid.params.features.named[network].backbone for network in used):
        backbone = get_backbone(name)
        entries.append(
            entry(
                f"weights-{name}", f"ImageNet weights of {name}",
                howpublished=backbone.source, note=f"licence: {backbone.licence}",
            )
        )  # fmt: skip
    digest, _, date = commit.partition(" ")
    about = (osad.__doc__ or "").partition("\n")[0].rstrip(".")
    entries.append(
        entry(
            "osad", f"osad: {about}", year=date[:4], version=osad.__version__,
            note=f"commit {digest}{' with uncommitted changes' * changed}" if digest else "",
        )
    )  # fmt: skip
    return entries


def entry(
    key: str, text: str, form: re.Pattern[str] | None = None, year: str = "", **further: str
) -> str:
    """Return an entry of a citation; what its text does not say, or says twice, is left out."""
    source: dict[str, str] = {}
    if arxiv := ARXIV.search(text):
        source, year = {"archiveprefix": "arXiv", "eprint": arxiv[1]}, f"20{arxiv[2]}"
    if doi := DOI.search(text):
        source["doi"] = doi[1].rstrip(".")
    text = DOI.sub("", ARXIV.sub("", text))
    years = {*YEAR.findall(text)} or {year}
    fields = {"title": text} | further
    if parts := form.fullmatch(text) if form else None:
        authors = parts[1].replace(" et al.", ", others").replace(", ", " and ")
        notes = filter(None, (parts[3].rstrip("."), further["note"]))
        fields = {"author": authors} | fields | {"title": parts[2], "note": "; ".join(notes)}
    fields |= {"year": years.pop() if len(years) == 1 else "", **source}
    lines = [f"  {name} = {{{_escape(value)}}},\n" for name, value in fields.items() if value]
    return f"@misc{{{key},\n{''.join(lines)}}}"


def _escape(text: str) -> str:
    """Return a text for LaTeX; BibTeX counts braces, also those behind a backslash."""
    latex = escape_latex(text)
    return latex.replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")
