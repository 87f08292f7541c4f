"""Who evaluates what, among several processes: every item once, nothing repeated.

    shard(5, process=0, processes=2)  ->  0 2 4        shard(5, process=1, processes=2)  ->  1 3

Samplers for training repeat items so that all processes have as many; a sum over a data set that
was divided like that is of another data set.
"""

from quatrain.specs import InputError


def shard(items: int, *, process: int, processes: int) -> range:
    """The indices that `process` (counted from 0) takes of `items`.

    Raises:
        InputError: if there is no such process.
    """
    if not 0 <= process < processes:
        raise InputError(
            "process", process, f"one of the {processes} processes", "count them from 0"
        )
    return range(process, items, processes)
