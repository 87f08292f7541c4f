"""Notes on comparisons that may not be about what they seem: other factors, and equal cells."""

from quatrain.report.groups import Groups
from quatrain.report.notes import Note
from quatrain.report.runs import StudyRuns
from quatrain.results import ManifestCell, Record
from quatrain.specs.notation import other_differences


def guard_notes(study: StudyRuns, groups: Groups) -> list[Note]:
    """Comparisons of cells that differ in more than one factor, and cells that compute the same."""
    return [*_factor_notes(study, groups), *_equal_notes(study)]


def _factor_notes(study: StudyRuns, groups: Groups) -> list[Note]:
    comparisons: dict[tuple[str, ...], list[str]] = {}
    for comparison in study.manifest.comparisons:
        specs = groups.specs(comparison.group)
        if comparison.left in specs and comparison.right in specs:
            fields = other_differences(specs[comparison.left], specs[comparison.right])
            if fields:
                name = f"{comparison.left} − {comparison.right}"
                comparisons.setdefault(fields, []).append(name)
    return [
        Note(
            "Compared cells",
            "compared cells differ in more than one factor "
            f"({', '.join(fields)}): {', '.join(names)}",
        )
        for fields, names in comparisons.items()
    ]


def _equal_notes(study: StudyRuns) -> list[Note]:
    """Cells of a group with equal metrics to the last digit: an ablation that changed nothing.

    Cells with a single metric are left out, as accuracies on few examples may be equal by chance.
    """
    equal: dict[tuple[object, ...], list[ManifestCell]] = {}
    for cell in study.manifest.cells:
        records = study.records(cell)
        if all(len(record.metrics) > 1 for record in records.values()) and records:
            equal.setdefault((cell.group, *map(_facts, records.items())), []).append(cell)
    return [
        Note(
            "Compared cells",
            "equal metrics in all seeds, so they may compute the same: "
            f"{', '.join(cell.name for cell in cells)} ({cells[0].group})",
        )
        for cells in equal.values()
        if len({tuple(cell.identities.values()) for cell in cells}) > 1
    ]


def _facts(item: tuple[int, Record]) -> tuple[object, ...]:
    seed, record = item
    return seed, tuple(sorted(record.metrics.items()))
