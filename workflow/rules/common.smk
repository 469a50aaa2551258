# Parameters, checked; the resident fork server; what happens at the end of a run.
import gc
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ExecMode

from osad.pipeline import config as parameters
from osad.core.errors import OsadError
from osad.pipeline.handlers import Handlers
from osad.report.targets import Report
from osad.runtime.checksums import remember_checksums
from osad.runtime.scheduling import plan_single_looks
from osad.runtime.signatures import remember_signatures
from osad.pipeline.workflow import SHARED, Workflow

# A large grid makes millions of objects that all stay; to look for garbage among them takes a
# fifth of the time.
gc.set_threshold(10_000_000)
ROOT = Path(workflow.basedir)
remember_checksums()
remember_signatures()
plan_single_looks()

try:
    WF = Workflow(parameters.parse(config, parameters.read_schema(ROOT)), ROOT)
    CONSTRAINTS = WF.constraints()
    ENVIRONMENT = WF.environment()
    HANDLERS = Handlers(WF)
    if workflow.exec_mode == ExecMode.DEFAULT:  # Not in the jobs of a cluster.
        HANDLERS.adopt()
except OsadError as error:
    raise WorkflowError(str(error)) from None

CELL = WF.cell
REPORT = Report(WF)
MEAN = REPORT.mean
KINDS = WF.kinds()
PUBLISHED = WF.published()


wildcard_constraints:
    **CONSTRAINTS,


onstart:
    HANDLERS.start()


onsuccess:
    try:
        HANDLERS.success()
    except OsadError as error:
        raise WorkflowError(str(error)) from None


onerror:
    HANDLERS.error()
