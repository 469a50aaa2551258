"""All that is patched of Snakemake: twenty-five private functions for speed, one for words.

A patch is applied only to the version that it was written for, and only if the function is there
with the same parameters. Else Snakemake stays as it is, which costs time and changes no result.
"""

import functools
import sys

from osad.runtime.snakemake_patches import graph, names, run
from osad.runtime.snakemake_patches.inside import UnknownError

PATCHES = (
    run.remember_checksums, run.plan_single_looks, graph.remember_signatures, names.look_up_flags,
    names.look_up_storage, names.keep_plain_names, names.share_guards, run.look_up_what_is_asked,
    run.tell_plans_briefly, run.plan_without_conda, run.plan_without_granting,
    graph.look_up_folders, names.compare_names_as_texts, graph.look_for_pipes_by_rule,
    graph.remember_producers, graph.pass_known_jobs, names.copy_concrete_names,
    names.modify_no_inputs, names.remember_folders, names.fill_in_wildcards_by_parts,
    graph.keep_names_of_logs, graph.look_for_protected_outputs_in_turn, names.pass_usual_names,
    names.ask_for_files_without_detours, graph.look_at_times_in_turn, run.tell_briefly,
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
