"""The plan of a submission in words and as JSON: `quatrain study plan --on slurm|ray`."""

import math
from dataclasses import asdict
from typing import Any

from rich.console import Console

from quatrain.cli.display import duration, hours_text
from quatrain.cli.output import print_line, print_rows
from quatrain.results import pluralize
from quatrain.study.engines import Engine, Slurm, SubmissionPlan

_COLUMNS = ("cell", "runs", "hours_of_a_run", "hours")


def print_submission_plan(console: Console, plan: SubmissionPlan, engine: Engine) -> None:
    """Print the hours of each cell, the workers with their hours, and the time limit of Slurm."""
    if plan.cells:
        print_rows(plan.cells, _COLUMNS, as_json=False)
    print_line(console, workers_summary(plan, engine.name))
    if plan.workers and engine.name == Slurm.name:
        print_line(console, time_limit_summary(plan, engine.time_limit(plan.seconds)))


def submission_plan_document(plan: SubmissionPlan, engine: Engine) -> dict[str, Any]:
    """The plan for JSON, with the engine and the minutes of the time limit that it requests."""
    return {
        "engine": engine.name,
        **asdict(plan),
        "time_limit_minutes": engine.time_limit(plan.seconds) if plan.workers else None,
    }


def workers_summary(plan: SubmissionPlan, engine: str) -> str:
    """The number of workers, in an array on Slurm, and their hours.

    'An array of 4 workers on slurm for 8 runs, about 2.5 h each and 9.0 h in all.'
    """
    runs = pluralize(plan.runs, "run")
    if not plan.workers:
        active = pluralize(plan.active, "active worker")
        return f"No worker would be submitted to {engine}: {runs} left, {active}."
    text = "An array of " if engine == Slurm.name else ""
    text += f"{pluralize(plan.workers, 'worker')} on {engine} for {runs}"
    text += f" besides {pluralize(plan.active, 'active worker')}" if plan.active else ""
    if plan.hours is None or plan.hours_of_a_worker is None:
        return f"{text}; add --estimate to estimate cells of one process."
    rest = "" if plan.known == plan.runs else f" for the {plan.known} whose duration is known"
    each, total = hours_text(plan.hours_of_a_worker), hours_text(plan.hours)
    return f"{text}, about {each} each and {total} in all{rest}."


def time_limit_summary(plan: SubmissionPlan, minutes: int | None) -> str:
    """The time limit that would be requested, or why there is none.

    'Time limit of each worker: 4:10:00, by finished runs with a margin.'
    """
    if plan.seconds is None:
        text = "No time limit would be requested, since not every cell has a finished run on "
        text += "this type of device with as many threads"
        if plan.seconds_by_trials is None:
            return f"{text}."
        return f"{text}; by trials --slurm time={math.ceil(plan.seconds_by_trials / 60)} is enough."
    needed = duration(plan.seconds)
    if minutes is None:
        return (
            "No time limit would be requested besides that of an option, the environment or the "
            f"partition; a worker may need {needed}, by finished runs with a margin."
        )
    limit = duration(60 * minutes)
    if 60 * minutes < plan.seconds:
        return f"Time limit of each worker: {limit}, that of the partition; it may need {needed}."
    return f"Time limit of each worker: {limit}, by finished runs with a margin."
