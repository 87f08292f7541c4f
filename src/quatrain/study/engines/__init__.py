"""Engines: they start workers on other machines, which pull runs from the results folder."""

from quatrain.study.engines.engine import Engine, JobState, NoAnswerError, NoClusterError, Workers
from quatrain.study.engines.jobs import (
    Job,
    JobStates,
    JobWatch,
    active_jobs,
    cancel_jobs,
    forget_job,
    state_text,
    stored_jobs,
)
from quatrain.study.engines.plan import SubmissionPlan, plan_submission
from quatrain.study.engines.ray import Ray, local_cluster
from quatrain.study.engines.slurm import LOGS, STOPPED, Slurm
from quatrain.study.engines.submit import MOST_WORKERS, Submission, submit

__all__ = [
    "LOGS",
    "MOST_WORKERS",
    "STOPPED",
    "Engine",
    "Job",
    "JobState",
    "JobStates",
    "JobWatch",
    "NoAnswerError",
    "NoClusterError",
    "Ray",
    "Slurm",
    "Submission",
    "SubmissionPlan",
    "Workers",
    "active_jobs",
    "cancel_jobs",
    "forget_job",
    "local_cluster",
    "plan_submission",
    "state_text",
    "stored_jobs",
    "submit",
]
