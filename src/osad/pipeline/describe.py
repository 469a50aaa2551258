"""What steps are told of a grid: plain values that become JSON on their command lines."""

import shlex
from typing import Any

from osad.methods import registry
from osad.pipeline.config import Features, protocols
from osad.pipeline.grid import Grid


def describe(grid: Grid) -> dict[str, Any]:
    """Return what the steps of tables need to know of the grid."""
    params = grid.params
    specs = {name: registry.get(name) for name in params.methods}
    return {
        "results": params.results,
        "seeds": list(params.seeds),
        "protocols": {
            "/".join(place): [str(protocol) for protocol in protocols(params, *place)]
            for place in grid.categories
        },
        "methods": [
            {
                "name": name,
                "title": spec.title,
                "settings": list(spec.settings),
                "control": spec.control,
                "backbone": params.features.backbone if spec.uses_backbone else "",
                "normal_only": spec.normal_only,
                "changes": dict(params.changes.get(name, {})),
                "cuts": dict(params.cuts.get(name, {})),
            }
            for name, spec in specs.items()
        ],
        "notes": notes(params.features),
        "datasets": {
            name: {**grid.dataset(name).texts(), "notes": list(grid.dataset(name).notes)}
            for name in params.datasets
        },
    }


def notes(features: Features) -> list[str]:
    """Return the lines that say how the protocol differs from the papers'."""
    turned = f", rotated by up to {features.rotation:g} degrees" if features.rotation else ""
    return [
        f"Ours: frozen {features.backbone} features at {features.image_size} px, cached once "
        f"({features.views} CutMix views of each training normal{turned}); methods train "
        "adapters and heads on them. Published: image-level training of ResNet-18 at 448 px "
        "(or as the source says).",
        "Hyper-parameters were chosen on held-out training normals and pseudo anomalies, "
        "never on test images; see docs/hyper-parameters.md.",
    ]


def feature_options(pack: str, features: Features, weights: str) -> str:
    """Return the command-line options that decide what a feature pack holds."""
    if pack == "pixels":
        return "--pack pixels"
    strides = ",".join(map(str, features.strides))
    return (
        f"--pack {pack} --backbone {features.backbone} --weights {weights} "
        f"--image-size {features.image_size} --strides {strides} --views {features.views} "
        f"--rotation {features.rotation}"
    )


def weights_options(features: Features) -> str:
    """Return the command-line options of the weights step."""
    local = f" --local {shlex.quote(features.weights_file)}" if features.weights_file else ""
    return f"--backbone {features.backbone}{local}"
