"""Any model of timm as a backbone, described by timm's own configuration of its weights.

Networks with levels, convolutional ones and Swin-like transformers, have one map a stride. Networks
whose blocks all have one stride, such as vision transformers, have one level: the patch tokens
after the last block and the final norm, without class and register tokens.

Nothing is folded: that is right only for orders of layers that were looked at, those of the listed
backbones.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from osad.backbones import hub
from osad.backbones.registry import Backbone, State
from osad.core.errors import ConfigError
from osad.core.lazy import lazy

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

timm: Any = lazy("timm")
timm_features: Any = lazy("timm.models._features")


@dataclass(frozen=True, kw_only=True)
class TimmBackbone(Backbone):
    """A model of timm.

    Attributes:
        indices: numbers of the levels among timm's, by stride.
        options: of timm's model.
    """

    indices: Mapping[int, int]
    options: Mapping[str, Any]

    def check_size(self, size: int, strides: Sequence[int]) -> None:
        """Try on the meta device, where shapes alone are computed; see `Backbone.check_size`."""
        if self._takes(size, strides):
            return
        unit = max(self.levels)
        beside = (size // unit * unit, -(-size // unit) * unit)
        near = [str(n) for n in beside if n and self._takes(n, strides)]
        choice = "another backbone"
        if near:
            choice = f"{' or '.join(near)}, multiples of {unit}"
        elif self._takes(self.image_size, strides):
            choice = str(self.image_size)
        raise ConfigError(
            f"features.image_size: {self.name} gives images of {size} pixels no maps of "
            f"{size} / stride rows, rounded up; choose {choice}"
        )

    def _takes(self, size: int, strides: Sequence[int]) -> bool:
        with torch.device("meta"), torch.inference_mode():
            model = self._getter(strides).eval()
            try:
                maps = model(torch.empty(1, 3, size, size))
            except Exception:  # Networks refuse sizes with errors of many kinds.
                return False
        sides = {stride: -(-size // stride) for stride in strides}
        expected = [(1, self.levels[stride], side, side) for stride, side in sides.items()]
        return [tuple(item.shape) for item in maps] == expected

    def network(
        self, state: State, strides: Sequence[int], *, folded: bool = True
    ) -> torch.nn.Module:
        """Return the network of a checked state, without gradients."""
        # On the CPU: buffers that no file holds are computed.
        return self._getter(strides, state).requires_grad_(False)

    def _getter(self, strides: Sequence[int], state: State | None = None) -> torch.nn.Module:
        """Return a module that gives the maps of some strides, with the tensors of a state."""
        model = _create(self.architecture, self.options)
        if state is not None:
            model.load_state_dict(state, strict=True)
        return _getter(model, [self.indices[stride] for stride in strides])


def _create(architecture: str, options: Mapping[str, Any]) -> torch.nn.Module:
    """Create timm's model without its classifier."""
    model: torch.nn.Module = timm.create_model(
        architecture, pretrained=False, num_classes=0, **options
    )
    return model


def _indices(model: Any) -> dict[int, int]:
    """Return the number of the last of timm's levels of each stride, ascending."""
    return dict(sorted((item["reduction"], at) for at, item in enumerate(model.feature_info)))


def _getter(model: torch.nn.Module, indices: Iterable[int]) -> torch.nn.Module:
    """Return a module that gives the maps of some levels and drops the layers after them.

    The final norm belongs to maps of the network's only stride.
    """
    norm = len(_indices(model)) == 1
    maps: torch.nn.Module = timm_features.FeatureGetterNet(
        model, out_indices=list(indices), norm=norm
    )
    return maps


@functools.cache
def describe(name: str, listed: tuple[str, ...]) -> TimmBackbone:
    """Describe a model of timm, given by its name with or without the tag of its weights.

    Without a tag timm chooses the weights. ``listed`` are the names of the other backbones.

    Raises:
        ConfigError: timm has no such model or weights, or the model gives no maps.
    """
    try:
        found = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # No weights with this tag.
        found = None
    if found is None:
        known = [*listed, *timm.list_models(), *timm.list_pretrained()]
        near = [near for near in difflib.get_close_matches(name, known) if near not in listed]
        raise ConfigError(
            f"features.backbone: {name!r} is unknown; choose from {', '.join(listed)} "
            "or the models of timm" + (f", such as {', '.join(near)}" if near else "")
        )
    architecture = f"{found.architecture}.{found.tag}" if found.tag else found.architecture
    with torch.device("meta"):
        model = _create(architecture, {})
        if not hasattr(model, "forward_intermediates"):
            raise ConfigError(f"features.backbone: {name} gives no maps; choose another")
        # Position embeddings are then interpolated, so that images of other sizes can be taken.
        dynamic = any(
            "dynamic_img_size" in inspect.signature(part).parameters for part in type(model).mro()
        )
        indices = _indices(model)
        levels: Any = _getter(model, indices.values()).feature_info
    modules = found.classifier or ()
    return TimmBackbone(
        name=name,
        architecture=architecture,
        file=f"{architecture}.safetensors",
        sha256="",
        licence=found.license or "not stated",
        source=f"https://huggingface.co/{found.hf_hub_id}" if found.hf_hub_id else "a local file",
        image_size=found.input_size[-1],
        mean=found.mean,
        std=found.std,
        interpolation=found.interpolation,
        levels=dict(zip(indices, levels.channels(), strict=True)),
        fetch=functools.partial(hub.fetch, repository=found.hf_hub_id or ""),
        read=hub.read,
        classifier=(modules,) if isinstance(modules, str) else tuple(modules),
        indices=indices,
        options={"dynamic_img_size": True} if dynamic else {},
    )
