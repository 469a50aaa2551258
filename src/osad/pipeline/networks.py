"""The frozen networks of a grid and what is cached of every image (the parameter ``features``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osad.backbones import get_backbone
from osad.core.errors import ConfigError
from osad.features.kinds import KINDS
from osad.features.tiles import SQUASH, Frame


@dataclass(frozen=True)
class Network:
    """A frozen network at one size of its input.

    Attributes:
        backbone: its name.
        image_size: side of its square input, pixels.
        weights_file: local file of the weights, or None.
        resize: how images become squares, ``squash`` or ``pad``.
        grid: tiles along each side of the square.
        overlap: pixels that neighbouring tiles share.
    """

    backbone: str
    image_size: int
    weights_file: str | None = None
    resize: str = SQUASH
    grid: int = 1
    overlap: int = 0

    def __str__(self) -> str:
        """Return what tells the networks of a grid apart, the folder of their features."""
        return f"{self.backbone}-{self.image_size}"

    @property
    def frame(self) -> Frame:
        """The square that images are brought to."""
        return Frame(self.image_size, self.resize, self.grid, self.overlap)

    @property
    def weights(self) -> str:
        """Path of the weights file."""
        return f"data/weights/{get_backbone(self.backbone).file}"


@dataclass(frozen=True)
class Features:
    """What is cached of every image.

    Attributes:
        networks: the first serves all methods, all of them those that read ``pooled``.
        strides: strides of the first network's cached maps, ascending.
        views: training views per image.
        rotation: largest angle of the rotated views, degrees.
    """

    networks: tuple[Network, ...]
    strides: tuple[int, ...]
    views: int
    rotation: float

    @property
    def named(self) -> dict[str, Network]:
        """The networks by their names, in their order."""
        return {str(network): network for network in self.networks}

    @property
    def first(self) -> Network:
        """The network whose maps methods read."""
        return self.networks[0]

    @classmethod
    def from_config(cls, features: Mapping[str, Any]) -> "Features":
        """Convert the parameter ``features``.

        Raises:
            ConfigError: a network is unknown, is there twice, has no such stride or takes no such
                images; two files are given for the weights of one, or tiles do not fit together.
        """
        names = ("backbone", "image_size", "weights_file")
        resize = features.get("resize", SQUASH)
        tiles = features.get("tiles") or {"grid": 1, "overlap": 0}
        if tiles["grid"] == 1:
            tiles = {"grid": 1, "overlap": 0}
        first = Network(**{name: features[name] for name in names}, resize=resize, **tiles)
        further = [Network(**values, resize=resize) for values in features.get("further", ())]
        strides = tuple(features["strides"])
        _check_network(first, strides)
        for number, network in enumerate(further):
            _check_network(network, where=f"features.further.{number}")
            for other in (first, *further[:number]):
                if network.weights != other.weights:
                    continue
                if network.image_size == other.image_size:
                    raise ConfigError(
                        f"params.yaml, features.further.{number}: {network} is there already, as "
                        f"{other}; remove it or give another image_size"
                    )
                if network.weights_file != other.weights_file:
                    raise ConfigError(
                        f"params.yaml, features.further.{number}.weights_file: is "
                        f"{network.weights_file}, that of {other} is {other.weights_file}; both "
                        f"are {network.weights}, give the same"
                    )
        return cls((first, *further), strides, features["views"], float(features["rotation"]))


def _check_network(
    network: Network, strides: tuple[int, ...] = (), where: str = "features"
) -> None:
    """Check that a network has strides, without any those that are pooled, at its image size."""
    try:
        backbone = get_backbone(network.backbone)
        kept = KINDS["plain" if strides else "pooled"].strides(strides, backbone.levels)
        backbone.channels(kept)
        backbone.check_size(network.image_size, kept)
        network.frame.check(kept)
    except ConfigError as error:
        fault = str(error).removeprefix("features.")
        raise ConfigError(f"params.yaml, {where}.{fault}") from error
