"""Multiply-adds, parameters, latency and peak memory of any module."""

from quatrain.cost.count import (
    MultiplyAdds,
    count_multiply_adds,
    count_parameters,
    model_cost,
    training_hours,
)
from quatrain.cost.measure import Latency, allocator_peak, latency, peak_memory
from quatrain.cost.planned import PlannedCost, planned_cost

__all__ = [
    "Latency",
    "MultiplyAdds",
    "PlannedCost",
    "allocator_peak",
    "count_multiply_adds",
    "count_parameters",
    "latency",
    "model_cost",
    "peak_memory",
    "planned_cost",
    "training_hours",
]
