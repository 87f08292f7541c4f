"""What a module costs: multiply-adds, parameters, latency and peak memory, of any module."""

from quatrain.cost.count import count_multiply_adds, count_parameters
from quatrain.cost.latency import Latency, latency
from quatrain.cost.memory import peak_memory

__all__ = ["Latency", "count_multiply_adds", "count_parameters", "latency", "peak_memory"]
