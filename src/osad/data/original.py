"""The original files of a data set: archives that a user has or that are downloaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file that the authors of a data set publish.

    Attributes:
        file: its name, which it also has below ``data/downloads/{dataset}``.
        page: address of the page where a person gets it.
        url: address of the file itself; empty when an account or a click is needed.
        digest: ``sha256:HEX`` or ``md5:HEX``; empty when it is not known, then the digest of the
            first good download is kept and compared from then on.
        size: bytes, None when not known.
        needs: what a person has to do on the page, for example ``a Kaggle account``.
    """

    file: str
    page: str
    url: str = ""
    digest: str = ""
    size: int | None = None
    needs: str = ""
