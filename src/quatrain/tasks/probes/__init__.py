"""Probes: five small questions with a known answer, each of which needs one factor."""

from quatrain.tasks.probes.locality import LocalitySpec
from quatrain.tasks.probes.network import ProbeNetwork
from quatrain.tasks.probes.offset import OffsetSpec
from quatrain.tasks.probes.pointer import PointerSpec
from quatrain.tasks.probes.recall import RecallSpec
from quatrain.tasks.probes.saliency import SaliencySpec
from quatrain.tasks.probes.sample import UNASKED, Question, Samples
from quatrain.tasks.probes.task import Probe, ProbeSpec, ProbeTask

__all__ = [
    "UNASKED",
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
