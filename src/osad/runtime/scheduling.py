"""Let Snakemake's scheduler plan one later look at the ready jobs, not one for each look.

Since it may start only so many jobs a second, each look at the ready jobs plans another one a
second later. Every job that ends is a look too, so that their number grows with the jobs done:
after 700 jobs the looks took a third of a core from the jobs themselves.
"""

from __future__ import annotations

import threading
from typing import Any

NAME = "_schedule_reevalutation"
"""Snakemake's method (its spelling); a version without it is left as it is."""


def plan_single_looks() -> None:
    """Make the scheduler leave out a look when one with the same delay is planned already."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    if hasattr(JobScheduler, NAME):
        setattr(JobScheduler, NAME, plan_look)


def plan_look(scheduler: Any, delay: float) -> None:
    """Wake the scheduler after a delay, seconds, unless it is to be woken so already."""
    planned: set[float] = vars(scheduler).setdefault("planned_looks", set())
    if delay in planned:
        return
    planned.add(delay)

    def look() -> None:
        planned.discard(delay)
        scheduler._open_jobs.release()

    timer = threading.Timer(delay, look)
    timer.daemon = True  # The end of a run does not wait for a look.
    timer.start()
