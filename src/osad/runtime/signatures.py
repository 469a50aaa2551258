"""Let Snakemake look up the parameters of a rule's function once a run.

It inspects the signature of every input, parameter and resource function anew for each job, which
takes a twelfth of the planning of a grid of ten thousand cells.
"""

from __future__ import annotations

import functools


def remember_signatures() -> None:
    """Make Snakemake remember the parameters of functions; rules never change theirs."""
    from snakemake import common, rules

    if hasattr(common.get_function_params, "cache_clear"):
        return
    remembered = functools.cache(common.get_function_params)
    common.get_function_params = rules.get_function_params = remembered
