"""When Snakemake compares all that its targets need."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # noqa: F401  # The parts of Snakemake cannot be imported in any order.
from snakemake.settings.enums import RerunTrigger
from snakemake.settings.types import (
    DAGSettings,
    ExecutionSettings,
    StorageSettings,
    WorkflowSettings,
)

from osad.core.config_files import read_yaml
from osad.runtime.snakemake_plan import CHECKSUM_BYTES, asks_for_all, compares_as_usual

ROOT = Path(__file__).resolve().parents[3]


def workflow(
    execution: dict[str, Any] | None = None,
    storage: dict[str, Any] | None = None,
    ancient: dict[str, Any] | None = None,
    **dag: Any,
) -> SimpleNamespace:
    """Return what Snakemake has while it plans, as its command line sets it."""
    usual = {"force_incomplete": True, "allowed_rules": None, "targets": set(), "until": set()}
    usual |= {"max_checksum_file_size": CHECKSUM_BYTES, "print_dag_as": None}
    return SimpleNamespace(
        dag_settings=DAGSettings(**usual | dag),
        execution_settings=ExecutionSettings(**execution or {}),
        storage_settings=StorageSettings(**storage or {}),
        workflow_settings=WorkflowSettings(consider_ancient=ancient or {}),
    )


def test_the_profile_and_this_agree_on_what_is_compared():
    size = read_yaml(ROOT / "profiles/default/config.yaml")["max-checksum-file-size"]
    assert size == f"{CHECKSUM_BYTES // 10**9}GB"


@pytest.mark.parametrize("targets", [set(), frozenset(), {"all"}])
def test_the_usual_command_asks_for_all(targets):
    assert asks_for_all(workflow(targets=targets))


@pytest.mark.parametrize("targets", [{"runs"}, {"all", "runs"}])
def test_other_targets_are_compared_as_usual(targets):
    assert compares_as_usual(workflow(targets=targets))
    assert not asks_for_all(workflow(targets=targets))


@pytest.mark.parametrize(
    "settings",
    [
        {"forceall": True},
        {"forcetargets": True},
        {"forcerun": {"run"}},
        {"until": {"runs"}},
        {"omit_from": {"runs"}},
        {"batch": (1, 2)},
        {"allowed_rules": {"run"}},
        {"target_jobs": {"run"}},
        {"rerun_triggers": frozenset({RerunTrigger.MTIME})},
        {"trust_io_cache": True},
        {"max_checksum_file_size": 1},
        {"execution": {"ignore_incomplete": True}},
        {"storage": {"default_storage_provider": "s3"}},
        {"ancient": {"run": {0}}},
    ],
)
def test_what_changes_the_comparison_is_seen(settings):
    assert not compares_as_usual(workflow(**settings))
    assert not asks_for_all(workflow(**settings))
