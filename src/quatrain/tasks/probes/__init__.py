"""Probes: five small tasks, each of which needs one factor of attention."""

from quatrain.tasks.probes.locality import LocalitySpec
from quatrain.tasks.probes.network import ProbeNetwork
from quatrain.tasks.probes.offset import OffsetSpec
from quatrain.tasks.probes.pointer import PointerSpec
from quatrain.tasks.probes.question import IGNORE_INDEX, Question, Samples
from quatrain.tasks.probes.recall import RecallSpec
from quatrain.tasks.probes.saliency import SaliencySpec
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
