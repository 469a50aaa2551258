"""What a long training leaves after each epoch, so that it can go on after an interruption."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osad.core.errors import DataError
from osad.core.files import read_metadata, read_tensors, write_tensors
from osad.learn.images import State
from osad.learn.lazy_torch import torch


@dataclass
class Journal:
    """The state of one training on disk, and its progress on standard error.

    Attributes:
        path: the file, which is written as a whole or not at all.
        key: digest of all that determines the training; a file with another one is not read.
        epochs: how many there are.
        iterations: steps of an epoch.
        now: clock, seconds.
    """

    path: Path
    key: str
    epochs: int
    iterations: int
    now: Callable[[], float] = time.monotonic
    _start: tuple[int, float] = field(default=(0, 0.0), init=False)

    def restore(
        self, tensors: State, optimiser: torch.optim.Optimizer, draws: torch.Generator | None
    ) -> int:
        """Bring tensors, optimiser and generator to where the file says; return the steps done."""
        step = 0
        if (kept := self._read()) is not None:
            step = int(kept.pop("step"))
            for name, value in tensors.items():  # In place: the order of memory changes last bits.
                value.data.copy_(kept[f"tensor/{name}"])
            for number, value in enumerate(_trained(optimiser)):
                optimiser.state[value] = {
                    "step": kept[f"adam/{number}/step"].to(value.device),
                    **{
                        part: torch.empty_like(value).copy_(kept[f"adam/{number}/{part}"])
                        for part in ("exp_avg", "exp_avg_sq")
                    },
                }
            if draws is not None:
                draws.set_state(kept["draws"])
            self._say(f"goes on after epoch {step // self.iterations} of {self.epochs}")
        self._start = step, self.now()
        return step

    def after(
        self,
        step: int,
        tensors: State,
        optimiser: torch.optim.Optimizer,
        draws: torch.Generator | None,
    ) -> None:
        """Write the state after the step, counted from 0, if it ends an epoch, and say so."""
        done = step + 1
        if done % self.iterations:
            return
        kept = {f"tensor/{name}": value.detach() for name, value in tensors.items()}
        for number, value in enumerate(_trained(optimiser)):
            kept |= {f"adam/{number}/{part}": v for part, v in optimiser.state[value].items()}
        kept["step"] = torch.tensor(done)
        if draws is not None:
            kept["draws"] = draws.get_state()
        kept = {name: value.cpu().contiguous() for name, value in kept.items()}
        write_tensors(self.path, kept, {"key": self.key})
        first, start = self._start
        each = (self.now() - start) / (done - first)
        left = each * (self.epochs * self.iterations - done)
        self._say(
            f"epoch {done // self.iterations}/{self.epochs}, {each:.2f} s a step, "
            f"{left / 60:.1f} min left"
        )

    def close(self) -> None:
        """Delete the file: the training is done, or would fail again."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, torch.Tensor] | None:
        """Return the tensors of the file; None where there is none of this training."""
        if not self.path.exists():
            return None
        try:
            same = read_metadata(self.path).get("key") == self.key
            return read_tensors(self.path) if same else None
        except DataError:  # A damaged one costs a training from the beginning.
            return None

    def _say(self, text: str) -> None:
        print(f"training: {text}", file=sys.stderr, flush=True)


def _trained(optimiser: torch.optim.Optimizer) -> list[Any]:
    return [value for group in optimiser.param_groups for value in group["params"]]
