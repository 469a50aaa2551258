"""All that is patched of Snakemake: nineteen private functions for speed or memory, one for words.

A patch is applied only to the version that it was written for, and only if the function is there
with the same parameters. Else Snakemake stays as it is, which costs time and changes no result.
"""

import functools
import sys

from osad.runtime.snakemake_patches import graph, run
from osad.runtime.snakemake_patches.inside import UnknownError

PATCHES = (
    run.remember_checksums, run.plan_single_looks, graph.remember_signatures, graph.look_up_flags,
    graph.keep_plain_names, graph.share_guards, run.look_up_what_is_asked, run.tell_plans_briefly,
    run.plan_without_conda, run.plan_without_granting, graph.look_up_folders,
    graph.compare_names_as_texts, graph.look_for_pipes_by_rule, graph.remember_producers,
    graph.pass_known_jobs, graph.keep_concrete_names, graph.modify_no_inputs,
    graph.check_names_once, graph.remember_folders, run.tell_briefly,
)  # fmt: skip


@functools.cache  # Once a process.
def apply() -> None:
    """Apply every patch that fits the installed Snakemake; print a line on each that does not."""
    from snakemake import __version__

    for patch in PATCHES:
        try:
            patch()
        except UnknownError as function:
            print(
                f"osad: Snakemake {__version__}: {function} is not patched; no result changes",
                file=sys.stderr,
            )
