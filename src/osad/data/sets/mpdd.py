"""MPDD: metal parts on a production line, 6 categories in MVTec AD's layout."""

from osad.data.layouts import mvtec as mvtec_layout
from osad.data.registry import Archive, Counts, DatasetSpec

ARCHIVE = Archive(
    file="MPDD.zip",
    page="https://github.com/stepanje/MPDD",
    needs="a download by hand from the folder that the page links to",
)

EXPECTED = {
    "bracket_black": Counts(289, 32, {}, total=47),
    "bracket_brown": Counts(185, 26, {}, total=51),
    "bracket_white": Counts(110, 30, {}, total=30),
    "connector": Counts(128, 30, {}, total=14),
    "metal_plate": Counts(54, 26, {}, total=71),
    "tubes": Counts(122, 32, {}, total=69),
}
"""Counts of the paper's table; it has no sizes of the defect classes."""

SPEC = DatasetSpec(
    name="mpdd",
    title="MPDD",
    homepage=ARCHIVE.page,
    licence="CC BY-NC-SA 4.0",
    licence_note="No commercial use; what is made from the images is shared alike.",
    citation="Jezek, Jonak, Burget, Dvorak, Skotak: Deep learning-based defect detection of "
    "metal parts: evaluating current methods in complex conditions. ICUMT 2021.",
    fetch=mvtec_layout.fetch,
    categories=tuple(EXPECTED),
    expected=EXPECTED,
    settings=("raw_path",),
    archives=(ARCHIVE,),
    protocols=("normal",),
)
