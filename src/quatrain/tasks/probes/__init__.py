"""Probes: small tasks, each of which needs one factor or one extension of attention."""

from quatrain.tasks.probes.extension_questions import (
    AbsenceSpec,
    AddressSpec,
    LongerSpec,
    ShiftedSpec,
)
from quatrain.tasks.probes.questions import (
    IGNORE_INDEX,
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    Question,
    RecallSpec,
    SaliencySpec,
    Samples,
)
from quatrain.tasks.probes.task import Probe, ProbeNetwork, ProbeSpec, ProbeTask

__all__ = [
    "IGNORE_INDEX",
    "AbsenceSpec",
    "AddressSpec",
    "LocalitySpec",
    "LongerSpec",
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
    "ShiftedSpec",
]
