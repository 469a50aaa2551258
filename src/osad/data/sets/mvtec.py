"""MVTec AD: 15 categories of objects and textures with a mask for every defect."""

from osad.data.layouts import mvtec as mvtec_layout
from osad.data.registry import Archive, Counts, DatasetSpec

ARCHIVE = Archive(
    file="mvtec_anomaly_detection.tar.xz",
    page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
    "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
    digest="sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
    size=5_264_982_680,
)

EXPECTED = {
    "bottle": Counts(209, 20, {"broken_large": 20, "broken_small": 22, "contamination": 21}),
    "cable": Counts(
        224,
        58,
        {
            "bent_wire": 13, "cable_swap": 12, "combined": 11, "cut_inner_insulation": 14,
            "cut_outer_insulation": 10, "missing_cable": 12, "missing_wire": 10,
            "poke_insulation": 10,
        },
    ),
    "capsule": Counts(
        219, 23, {"crack": 23, "faulty_imprint": 22, "poke": 21, "scratch": 23, "squeeze": 20}
    ),
    "carpet": Counts(
        280, 28, {"color": 19, "cut": 17, "hole": 17, "metal_contamination": 17, "thread": 19}
    ),
    "grid": Counts(
        264, 21, {"bent": 12, "broken": 12, "glue": 11, "metal_contamination": 11, "thread": 11}
    ),
    "hazelnut": Counts(391, 40, {"crack": 18, "cut": 17, "hole": 18, "print": 17}),
    "leather": Counts(245, 32, {"color": 19, "cut": 19, "fold": 17, "glue": 19, "poke": 18}),
    "metal_nut": Counts(220, 22, {"bent": 25, "color": 22, "flip": 23, "scratch": 23}),
    "pill": Counts(
        267,
        26,
        {
            "color": 25, "combined": 17, "contamination": 21, "crack": 26, "faulty_imprint": 19,
            "pill_type": 9, "scratch": 24,
        },
    ),
    "screw": Counts(
        320,
        41,
        {
            "manipulated_front": 24, "scratch_head": 24, "scratch_neck": 25, "thread_side": 23,
            "thread_top": 23,
        },
    ),
    "tile": Counts(
        230, 33, {"crack": 17, "glue_strip": 18, "gray_stroke": 16, "oil": 18, "rough": 15}
    ),
    "toothbrush": Counts(60, 12, {"defective": 30}),
    "transistor": Counts(
        213, 60, {"bent_lead": 10, "cut_lead": 10, "damaged_case": 10, "misplaced": 10}
    ),
    "wood": Counts(247, 19, {"color": 8, "combined": 11, "hole": 10, "liquid": 10, "scratch": 21}),
    "zipper": Counts(
        240,
        32,
        {
            "broken_teeth": 19, "combined": 16, "fabric_border": 17, "fabric_interior": 16,
            "rough": 17, "split_teeth": 18, "squeezed_teeth": 16,
        },
    ),
}  # fmt: skip
"""Counts of DRA's Table 5 and DPDL's Table 4; the papers do not print sizes of classes."""

KNOWN_CLASSES = {
    "carpet": ("color", "cut", "hole", "metal_contamination", "thread"),
    "metal_nut": ("bent", "color", "flip", "scratch"),
}
"""Known classes of the papers' hard setting, which has only two of the categories."""

SPEC = DatasetSpec(
    name="mvtec",
    title="MVTec AD",
    homepage=ARCHIVE.page,
    licence="CC BY-NC-SA 4.0",
    licence_note="No commercial use; what is made from the images is shared alike.",
    citation="Bergmann, Fauser, Sattlegger, Steger: MVTec AD - A Comprehensive Real-World "
    "Dataset for Unsupervised Anomaly Detection. CVPR 2019.",
    fetch=mvtec_layout.fetch,
    categories=tuple(EXPECTED),
    expected=EXPECTED,
    settings=("raw_path",),
    archives=(ARCHIVE,),
    defect_classes=KNOWN_CLASSES,
    notes=(
        "MVTec AD: tile has 84 anomalous images; the DPDL paper prints 83, with which its "
        "column does not add up to its total of 1258.",
    ),
)
