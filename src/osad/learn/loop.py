"""The training loop that all trained methods share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from osad.core.errors import TrainingError
from osad.learn.batches import Batch
from osad.learn.images import State
from osad.learn.journal import Journal
from osad.learn.lazy_torch import torch

Schedule = Callable[[int], float]
"""Factor of the learning rate at a step, counted from 0."""
RUNNING = (".running_mean", ".running_var")
"""Ends of the names of running statistics, which training steps move without a gradient."""


def constant(step: int) -> float:
    """Keep the learning rate."""
    return 1.0


def divided(every: int, iterations: int, *, early: int = 0) -> Schedule:
    """Divide the rate by 10 every so many epochs of ``iterations`` steps, some epochs early.

    Example:
        >>> [divided(2, 10, early=1)(step) for step in (0, 9, 10, 30)] == [1, 1, 0.1, 0.1**2]
        True
    """
    return lambda step: 0.1 ** ((step // iterations + early) // every)


def cosine(steps: int) -> Schedule:
    """Lower the learning rate along half a cosine from 1 at step 0 towards 0 at ``steps``.

    Example:
        >>> [round(cosine(4)(step), 3) for step in range(5)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return lambda step: (1 + math.cos(math.pi * step / steps)) / 2


def minimise(
    state: State,
    batches: Iterable[Batch],
    loss: Callable[[State, Batch], torch.Tensor],
    *,
    lr: float,
    weight_decay: float,
    device: torch.device | None = None,
    decoupled: bool = False,
    schedule: Schedule = constant,
    clip: float = 1.0,
    lr_factor: Mapping[str, float] | None = None,
    no_decay: frozenset[str] = frozenset(),
    fixed: frozenset[str] = frozenset(),
    after_step: Callable[[State], object] | None = None,
    journal: Journal | None = None,
    draws: torch.Generator | None = None,
) -> State:
    """Minimise a loss over the tensors of a state by Adam, one step a batch.

    Args:
        state: initial tensors, not changed.
        batches: one per step.
        loss: gives a scalar for the current tensors and a batch.
        lr: learning rate of Adam.
        weight_decay: L2 term of the gradient (Adam), or decay of the weights (AdamW).
        device: where the batches are; the tensors' own if it is not given.
        decoupled: use AdamW instead of Adam.
        schedule: factor of the learning rate at each step.
        clip: largest norm of the whole gradient.
        lr_factor: factors of the learning rate for tensors by name.
        no_decay: names of tensors without weight decay.
        fixed: names of tensors that are not trained; nor are a whitening, running statistics and
            whole numbers.
        after_step: called after each step, without gradient, to project or update tensors in place.
        journal: keeps the state after each epoch, and goes on from there.
        draws: the generator that the loss draws from, if it does.

    Returns:
        the trained tensors, detached, under the same names.

    Raises:
        TrainingError: the loss is not finite; the message names the step.
    """
    fixed |= {
        name
        for name, value in state.items()
        if name.startswith("whiten.") or name.endswith(RUNNING) or not value.is_floating_point()
    }
    tensors = {
        name: value.to(device, copy=True).requires_grad_(name not in fixed)
        for name, value in state.items()
    }
    factors = lr_factor or {}
    groups = [
        {
            "params": [value],
            "lr": lr * factors.get(name, 1.0),
            "initial": lr * factors.get(name, 1.0),
            "weight_decay": 0.0 if name in no_decay else weight_decay,
        }
        for name, value in tensors.items()
        if name not in fixed
    ]
    optimiser_class = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimiser = optimiser_class(groups, fused=True)
    trained = [value for name, value in tensors.items() if name not in fixed]
    done = journal.restore(tensors, optimiser, draws) if journal else 0
    for step, batch in enumerate(batches):
        if step < done:
            continue
        for group in optimiser.param_groups:
            group["lr"] = group["initial"] * schedule(step)
        value = loss(tensors, batch.through(tensors))
        if not torch.isfinite(value):
            raise TrainingError(
                f"loss is {value.item()} at step {step}; lower the learning rate "
                "or look at the features of this split"
            )
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, clip)
        optimiser.step()
        if after_step is not None:
            with torch.no_grad():
                after_step(tensors)
        if journal is not None:
            journal.after(step, tensors, optimiser, draws)
    return {name: value.detach() for name, value in tensors.items()}
