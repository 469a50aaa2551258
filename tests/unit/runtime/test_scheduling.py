"""Snakemake's scheduler is woken once, however often it asked for it."""

from __future__ import annotations

import threading
import types

from snakemake.scheduling.job_scheduler import JobScheduler

from osad.runtime import scheduling


def scheduler() -> types.SimpleNamespace:
    return types.SimpleNamespace(_open_jobs=threading.Semaphore(0))


def test_looks_that_are_planned_already_are_left_out() -> None:
    asked = scheduler()
    for _ in range(20):
        scheduling.plan_look(asked, 0.05)
    assert asked._open_jobs.acquire(timeout=10)
    assert not asked._open_jobs.acquire(timeout=0.2)
    # The next one is planned as before.
    scheduling.plan_look(asked, 0.05)
    assert asked._open_jobs.acquire(timeout=10)


def test_looks_of_other_delays_and_schedulers_are_their_own() -> None:
    one, other = scheduler(), scheduler()
    scheduling.plan_look(one, 60)
    scheduling.plan_look(one, 0.01)
    scheduling.plan_look(other, 0.01)
    assert one._open_jobs.acquire(timeout=10)
    assert other._open_jobs.acquire(timeout=10)


def test_snakemake_has_the_method_that_is_replaced(monkeypatch) -> None:
    monkeypatch.setattr(JobScheduler, scheduling.NAME, getattr(JobScheduler, scheduling.NAME))
    scheduling.plan_single_looks()
    assert getattr(JobScheduler, scheduling.NAME) is scheduling.plan_look


def test_another_snakemake_is_left_as_it_is(monkeypatch) -> None:
    monkeypatch.delattr(JobScheduler, scheduling.NAME)
    scheduling.plan_single_looks()
    assert not hasattr(JobScheduler, scheduling.NAME)
