"""Comparison of two sets of file hashes, and notes on their differences."""

from collections.abc import Iterable, Mapping, Sequence

Hashes = Mapping[str, str]
_SHOWN = 5


def comparable(first: Hashes | None, second: Hashes | None) -> bool:
    """Whether both hashes of code exist and follow one rule: the text before a colon, as "2:1f"."""
    if first is None or second is None:
        return False
    rules = [{text.rpartition(":")[0] for text in hashes.values()} for hashes in (first, second)]
    return rules[0] == rules[1]


def changed_files(now: Hashes, then: Hashes) -> list[str]:
    """The names whose hashes differ, or that only one side has."""
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))


def notes_on_files(runs: Iterable[tuple[str, Hashes | None, Hashes | None]]) -> list[str]:
    """A sentence for each set of files that changed after runs finished.

    Args:
        runs: cell, current hashes of the code and hashes of the record, of finished runs. Runs
            whose hashes are not `comparable`, as in old records, are left out.
    """
    changed: dict[str, list[str]] = {}
    for cell, now, then in runs:
        files = changed_files(now or {}, then or {}) if comparable(now, then) else []
        if files:
            changed.setdefault(", ".join(files), []).append(cell)
    return [
        f"{files} changed after {pluralize(len(cells), 'run')} finished ({join_names(cells)})"
        for files, cells in changed.items()
    ]


def pluralize(number: int, noun: str) -> str:
    """A number with its noun: "1 run", "1,200 runs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join_names(labels: Sequence[str]) -> str:
    """The first five labels, each once, and how many more there are: "a, b and 2 more"."""
    names = list(dict.fromkeys(labels))
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
