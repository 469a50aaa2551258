"""A pretended GPU: tensors that say ``gpu:0`` and have real values, computed on the processor.

Inside `FakeGpu` every operation of torch checks devices as CUDA does, so code for a GPU runs to its
end on a machine without one, with its own control flow, and a tensor on the wrong side is an error:

- operands are on one device, but for tensors of one number on the processor among pointwise
  operands, indices on the processor, and copies;
- draws on the GPU do not take a generator of the processor;
- operations whose CUDA form is not deterministic raise if torch was told to be deterministic.

Values are those of the processor: nothing here says anything about rounding on a GPU.
"""

# mypy: disable-error-code="no-untyped-call,override"

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

GPU, CPU = torch.device("privateuseone:0"), torch.device("cpu")
MIXED = {"copy_", "_to_copy", "_foreach_copy_", "set_", "_local_scalar_dense", "lift_fresh"}
"""Operations that may read one device and write another."""
INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}
"""Operations whose indices may be on the processor, but not on the GPU if the tensor is not."""
UNDETERMINED = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d",
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward",
    "_upsample_bicubic2d_aa_backward", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "nll_loss2d_forward", "nll_loss2d_backward",
    "_ctc_loss_backward", "_embedding_bag_dense_backward", "put_", "histc", "kthvalue",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward",
}  # fmt: skip
"""What has no deterministic form on CUDA: the list of `torch.use_deterministic_algorithms`.

``median`` with indices and ``bincount`` with weights are on it too; see `undetermined`.
"""


needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: tests/gpu")
"""The pretended GPU stays known to torch, beside a real one that would not do."""


@functools.cache
def _register() -> None:
    """Make the device known to torch; it stays so for the process."""
    _setup_privateuseone_for_python_backend("gpu")


class OnGpu(torch.Tensor):
    """A tensor that says that it is on the GPU; its values are in ``held``."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnGpu:
        made: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=GPU,
        )
        made.held = values
        return made

    def __init__(self, values: torch.Tensor) -> None: ...

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.held})"

    def tolist(self) -> Any:
        return self.cpu().tolist()  # As CUDA's tensors do; torch refuses it to others.

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended GPU has left `FakeGpu`")


def undetermined(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether an operation has no deterministic form on CUDA."""
    name, overload = func.overloadpacket.__name__, func._overloadname
    weighed = name == "bincount" and [*args, None][1] is not None
    product = name.startswith("scatter_reduce") and "prod" in (*args, *kwargs.values())
    return (
        weighed
        or product
        or name in UNDETERMINED
        or (name in {"median", "nanmedian"} and overload.startswith("dim"))
    )


def tensors_of(*values: Any) -> list[torch.Tensor]:
    """Return the tensors among nested arguments."""
    return [one for one in tree_flatten(values)[0] if isinstance(one, torch.Tensor)]


def refused(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return why CUDA would not run an operation; empty where it would."""
    name, tensors = func.overloadpacket.__name__, tensors_of(args, kwargs)
    on_gpu = any(one.device == GPU for one in tensors) or kwargs.get("device") not in (None, CPU)
    draws = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Generator)]
    if on_gpu and any(one.device == CPU for one in draws):
        return f"{func}: a draw on {GPU} by a generator of the processor"
    if on_gpu and torch.are_deterministic_algorithms_enabled() and undetermined(func, args, kwargs):
        return f"{func}: has no deterministic form on CUDA"
    if name in INDEXING:
        own, indices, tensors = args[0], tensors_of(args[1]), tensors_of(args[0], args[2:], kwargs)
        if own.device == CPU and any(one.device == GPU for one in indices):
            return f"{func}: indices on {GPU} of a tensor on {CPU}"
    devices = {one.device for one in tensors}
    if torch.Tag.pointwise in func.tags or name in INDEXING:
        # One number on the processor may be an operand, but not what is written to.
        written = {args[0].device} if name.endswith("_") else set()
        devices = {one.device for one in tensors if one.dim() or one.device == GPU} | written
    if len(devices) > 1 and name not in MIXED:
        found = ", ".join(f"{one.device} {tuple(one.shape)}" for one in tensors)
        return f"{func}: expected all tensors on the same device, found {found}"
    return ""


class FakeGpu(TorchDispatchMode):
    """While it is active, the device `GPU` exists; `OnGpu` says what is on it.

    What CUDA refuses is a RuntimeError there and then or, in the computation of a gradient, where
    an error would end the process, when the mode ends.

    Attributes:
        used: names of the operations that ran there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()
        self._late: list[str] = []
        self._one_thread: list[Any] = []

    def __enter__(self) -> FakeGpu:
        _register()
        # Gradients are computed in this thread: there is none for a device that came late.
        torch._C._set_only_lift_cpu_tensors(True)  # So that `torch.tensor` is seen.
        self._one_thread.append(torch.autograd.set_multithreading_enabled(False))
        super().__enter__()
        return self

    def __exit__(self, kind: Any, *args: Any) -> None:
        super().__exit__(kind, *args)
        torch._C._set_only_lift_cpu_tensors(len(self._one_thread) > 1)
        self._one_thread.pop().__exit__(kind, *args)
        if self._late and kind is None:
            raise RuntimeError(self._late[0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():  # In inference mode what consists of others is not taken apart.
            with self:
                return func.decompose(*args, **kwargs)
        name, asked = func.overloadpacket.__name__, kwargs.get("device")
        on_gpu = any(one.device == GPU for one in tensors_of(args, kwargs))
        if problem := refused(func, args, kwargs):
            if torch._C._current_autograd_node() is None:
                raise RuntimeError(problem)
            self._late.append(problem)
        if not on_gpu and asked in (None, CPU):
            return func(*args, **kwargs)
        inner, named = tree_map(lambda x: x.held if isinstance(x, OnGpu) else x, (args, kwargs))
        result = func(*inner, **(named if asked is None else named | {"device": CPU}))
        copied = name in MIXED and args[0].device == CPU  # Of what is on the GPU, into this.
        if asked != CPU and not (asked is None and copied):
            self.used.add(name)
            result = tree_map(lambda x: OnGpu(x) if isinstance(x, torch.Tensor) else x, result)
        return return_and_correct_aliasing(func, args, kwargs, result)
