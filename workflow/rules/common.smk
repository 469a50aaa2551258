# Parameters, checked; the table of rules; the resident fork server; the end of a run.
import atexit
import contextlib
import gc
import logging
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ExecMode

from osad.audit import actions
from osad.core.errors import OsadError
from osad.pipeline import config as parameters
from osad.pipeline import nodes, unchanged
from osad.pipeline.fingerprint import check_running
from osad.pipeline.grid import Grid
from osad.pipeline.handlers import Handlers, check_places
from osad.pipeline.parts import needed, targets, wanted
from osad.pipeline.rules import Rules
from osad.pipeline.storage import Exchange
from osad.runtime import (
    control,
    snakemake_config,
    snakemake_patches,
    snakemake_plan,
    snakemake_records,
)
from osad.runtime.snakemake_storage import Storage

# A large grid makes millions of objects that all stay; to look for garbage among them takes a
# fifth of the time.
gc.set_threshold(10_000_000)
atexit.register(gc.freeze)  # Nor to take them apart at the end.
# A full disk: the terminal has every line, and not a traceback for each that the log has not.
logging.raiseExceptions = False
ROOT = Path(workflow.basedir)
ON_NODE = workflow.exec_mode != ExecMode.DEFAULT  # A job of a cluster.
snakemake_patches.apply()


@contextlib.contextmanager
def clearly():
    """End with one message where something of ours refuses."""
    try:
        yield
    except (OsadError, OSError) as error:
        told = error if isinstance(error, OsadError) else OsadError(str(error))
        raise WorkflowError(str(told)) from told


with clearly():
    check_running(ROOT / "src")
    control.use_interpreter()
    (nodes.check if ON_NODE else nodes.tell)(nodes.facts(ROOT, config))
    if not ON_NODE:
        snakemake_config.check_installed()
        snakemake_config.check_given(sys.argv)
    FILES = snakemake_config.files()
    GRID = Grid(parameters.parse(config, parameters.read_schema(ROOT), FILES), ROOT)
    RULES = Rules(GRID, on_cluster=lambda: ON_NODE or not workflow.local_exec)
    EXCHANGE = Exchange(RULES, Storage(workflow))
    HANDLERS = Handlers(
        RULES,
        actions.adopt_lines,
        actions.record_line,
        EXCHANGE,
        lambda: snakemake_plan.asks_for_all(workflow),
    )
    UNCHANGED = not ON_NODE and unchanged.holds(RULES)
    if not ON_NODE and not UNCHANGED:
        snakemake_records.check_backend(workflow.workflow_settings)
        check_places(RULES)
        HANDLERS.restore()
        snakemake_plan.when_complete(HANDLERS.nothing)


def everything(wildcards):
    """Return what all is: nothing that is made, where that would only be compared once more."""
    if not snakemake_plan.compares_as_usual(workflow):
        return wanted(RULES)
    if UNCHANGED:
        print(
            "osad: no file has changed since nothing was to be done",
            file=sys.stderr,
        )
        return "params.yaml"
    return needed(RULES)


workflow.localrules(*EXCHANGE.here)


# Told to jobs on other machines.
envvars:
    nodes.HEAD,


# One GPU job at a time is the limit of a machine, not of a cluster.
resource_scopes:
    gpu="local",


wildcard_constraints:
    **GRID.constraints(),


onstart:
    if (
        workflow.touch
    ):  # It would say of old outputs that today's parameters made them.
        raise WorkflowError(
            "--touch: would record what was not computed; leave it out"
        )
    with clearly():
        HANDLERS.start(here=workflow.local_exec)


onsuccess:
    with clearly():
        HANDLERS.success()


onerror:
    with clearly():
        HANDLERS.error()
