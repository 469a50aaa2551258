"""Names of protocols and cells.

A cell is one number of the benchmark. Its id is the path of its facets:
``{dataset}/{category}/{protocol}/{method}/s{seed}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from osad.core.errors import ConfigError

NAME = r"[a-z0-9][a-z0-9_]*"
NUMBER = "(?:0|[1-9][0-9]{0,8})"
PROTOCOL_PATTERN = re.compile(rf"(?:(general)|hard-({NAME}(?:-{NAME})*)|(normal))-m({NUMBER})")
METHOD_PATTERN = re.compile(rf"{NAME}(?:\.{NAME})?")
CELL_PATTERN = re.compile(
    rf"({NAME})/({NAME})/([a-z0-9_-]+)/({METHOD_PATTERN.pattern})/s({NUMBER})"
)


@dataclass(frozen=True, order=True)
class Protocol:
    """One evaluation protocol: which anomalies are seen in training.

    Attributes:
        setting: ``general`` (any defect class), ``hard`` (one known defect class) or ``normal``
            (normal images only).
        shots: number of labelled training anomalies.
        known_class: the defect class seen in training; empty unless the setting is ``hard``.
    """

    setting: str
    shots: int
    known_class: str = ""

    def __str__(self) -> str:
        """Return the name, for example ``hard-mono-m10``."""
        middle = f"-{self.known_class}" if self.known_class else ""
        return f"{self.setting}{middle}-m{self.shots}"

    @classmethod
    def parse(cls, name: str) -> Protocol:
        """Parse a protocol's name.

        Raises:
            ConfigError: the name is not of the form of a protocol.

        Example:
            >>> Protocol.parse("hard-mono-m10")
            Protocol(setting='hard', shots=10, known_class='mono')
        """
        match = PROTOCOL_PATTERN.fullmatch(name)
        if not match:
            raise ConfigError(
                f"protocol {name!r}: expected general-m10, hard-CLASS-m10 or normal-m0"
            )
        general, known, normal, shots = match.groups()
        if bool(normal) != (int(shots) == 0):
            raise ConfigError(f"protocol {name!r}: only 'normal' has 0 shots, and it has no other")
        return cls(general or normal or "hard", int(shots), known or "")


@dataclass(frozen=True, order=True)
class Cell:
    """One run: a method on a split.

    Attributes:
        dataset: id of the data set.
        category: category inside the data set, ``all`` where there are none.
        protocol: name of the protocol.
        method: name of the method, with its variant after a dot.
        seed: number of the run, which selects the split and all random draws.
    """

    dataset: str
    category: str
    protocol: str
    method: str
    seed: int

    def __str__(self) -> str:
        """Return the cell's id."""
        return f"{self.dataset}/{self.category}/{self.protocol}/{self.method}/s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Cell:
        """Parse a cell's id.

        Raises:
            ConfigError: the text is not a cell's id.

        Example:
            >>> Cell.parse("elpv/all/general-m10/dpdl/s0").method
            'dpdl'
        """
        match = CELL_PATTERN.fullmatch(text)
        if not match:
            raise ConfigError(
                f"cell {text!r}: expected DATASET/CATEGORY/PROTOCOL/METHOD/sSEED, "
                "for example elpv/all/general-m10/dpdl/s0"
            )
        dataset, category, protocol, method, seed = match.groups()
        Protocol.parse(protocol)
        return cls(dataset, category, protocol, method, int(seed))

    @property
    def split_id(self) -> str:
        """Return the id of the split that the cell uses, shared by all methods."""
        return f"{self.dataset}/{self.category}/{self.protocol}/s{self.seed}"


def manifest_path(dataset: str, category: str) -> Path:
    """Return the path of the manifest of a data set's category."""
    if category == "all":
        return Path("data/manifests") / f"{dataset}.csv"
    return Path("data/manifests") / dataset / f"{category}.csv"
