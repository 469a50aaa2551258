"""What steps are told of a grid: plain values that become JSON on their command lines."""

import shlex
from typing import Any

from osad.methods import registry
from osad.pipeline.config import protocols
from osad.pipeline.grid import Grid
from osad.pipeline.networks import Features, Network


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
                "backbone": backbones_of(grid, spec),
                "normal_only": spec.normal_only,
                "changes": dict(params.changes.get(name, {})),
                "cuts": dict(params.cuts.get(name, {})),
            }
            for name, spec in specs.items()
        ],
        "notes": notes(grid),
        "datasets": {
            name: {**grid.dataset(name).texts(), "notes": list(grid.dataset(name).notes)}
            for name in params.datasets
        },
    }


def backbones_of(grid: Grid, spec: registry.MethodSpec) -> str:
    """Return the names of the networks that a method reads, joined by +; empty without any."""
    named = grid.params.features.named
    used = [named[network].backbone for network, _ in grid.kinds(spec.packs) if network]
    return "+".join(dict.fromkeys(used))


def notes(grid: Grid) -> list[str]:
    """Return the lines that say how the protocol differs from the papers'."""
    features = grid.params.features
    first, *others = features.networks
    read = [f"{n.backbone} at {n.image_size} px" for n in others if str(n) in grid.networks]
    trained = [name for name in grid.params.methods if registry.get(name).on_images]
    frame = first.frame
    cut = f" in {frame.grid} x {frame.grid} tiles of a square of {frame.side}" * (frame.grid > 1)
    cut += ", aspect kept" * (frame.resize != "squash")
    turned = f", rotated by up to {features.rotation:g} degrees" if features.rotation else ""
    return [
        f"Ours: frozen {first.backbone} features at {first.image_size} px{cut}, cached once "
        f"({features.views} CutMix views of each training normal{turned}); methods train "
        "adapters and heads on them. Published: image-level training of ResNet-18 at 448 px "
        "(or as the source says).",
        *(
            [
                f"{', '.join(trained)}: trained on images at {first.image_size} px, the backbone "
                "with the heads, rotated by up to 180 degrees unless stated otherwise."
            ]
            if trained
            else []
        ),
        *(
            [f"Methods that read pooled features see those of {', '.join(read)}, too."]
            if read
            else []
        ),
        "Hyper-parameters were chosen on development sets, images left out of training and pseudo "
        "anomalies, never on test images of the tables; see docs/hyper-parameters.md.",
    ]


PIXELS = "--pack pixels"
"""Command-line options of the pack that needs no network."""


def feature_options(pack: str, features: Features, network: Network) -> str:
    """Return the command-line options that decide what a feature pack holds."""
    strides = ",".join(map(str, features.strides))
    return (
        f"--pack {pack} --backbone {network.backbone} --weights {network.weights} "
        f"--image-size {network.image_size} --strides {strides} --views {features.views} "
        f"--rotation {features.rotation}{network.frame.options}"
    )


def weights_options(network: Network) -> str:
    """Return the command-line options of the weights step."""
    local = f" --local={shlex.quote(network.weights_file)}" if network.weights_file else ""
    return f"--backbone {network.backbone}{local}"
