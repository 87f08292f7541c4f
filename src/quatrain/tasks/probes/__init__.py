"""Probes: five small tasks, each of which needs one factor of attention."""

from quatrain.tasks.probes.base import IGNORE_INDEX, Question, Samples
from quatrain.tasks.probes.network import ProbeNetwork
from quatrain.tasks.probes.questions import (
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    RecallSpec,
    SaliencySpec,
)
from quatrain.tasks.probes.task import Probe, ProbeSpec, ProbeTask

__all__ = [
    "IGNORE_INDEX",
    "LocalitySpec",
    "OffsetSpec",
    "PointerSpec",
    "Probe",
    "ProbeNetwork",
    "ProbeSpec",
    "ProbeTask",
    "Question",
    "RecallSpec",
    "SaliencySpec",
    "Samples",
]
