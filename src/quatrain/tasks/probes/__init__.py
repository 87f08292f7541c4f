"""Probes: five small tasks, each of which needs one factor of attention."""

from quatrain.tasks.probes.questions import (
    IGNORE_INDEX,
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    Probe,
    Question,
    RecallSpec,
    SaliencySpec,
    Samples,
)
from quatrain.tasks.probes.task import ProbeNetwork, ProbeSpec, ProbeTask

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
