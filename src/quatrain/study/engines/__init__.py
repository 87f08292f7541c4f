"""Engines: they start workers on other machines, which pull runs from the results folder."""

from quatrain.study.engines.engine import Engine, JobState, NoAnswerError, Workers
from quatrain.study.engines.jobs import (
    Job,
    JobWatch,
    active_jobs,
    cancel_jobs,
    state_text,
    stored_jobs,
)
from quatrain.study.engines.plan import SubmissionPlan, plan_submission
from quatrain.study.engines.slurm import LOGS, STOPPED, Slurm
from quatrain.study.engines.submit import MOST_WORKERS, Submission, submit

__all__ = [
    "LOGS",
    "MOST_WORKERS",
    "STOPPED",
    "Engine",
    "Job",
    "JobState",
    "JobWatch",
    "NoAnswerError",
    "Slurm",
    "Submission",
    "SubmissionPlan",
    "Workers",
    "active_jobs",
    "cancel_jobs",
    "plan_submission",
    "state_text",
    "stored_jobs",
    "submit",
]
