"""Notes on comparisons that are not what they seem: other factors, equal cells, equal seeds."""

from collections.abc import Sequence

from quatrain.report.groups import Groups
from quatrain.report.notes import Note
from quatrain.report.runs import StudyRuns
from quatrain.results import ManifestCell, Record
from quatrain.specs.notation import differences, other_differences

Digits = tuple[str, ...]


def guard_notes(study: StudyRuns, groups: Groups) -> list[Note]:
    """Cells that differ in more than one factor or compute the same, equal seeds, notes of runs."""
    return [
        *_factor_notes(study, groups),
        *_equal_notes(study),
        *_equal_seeds(study),
        *_run_notes(study),
    ]


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
    """Cells that compute the same function, and others with equal metrics."""
    groups: dict[str, list[ManifestCell]] = {}
    for cell in study.manifest.cells:
        groups.setdefault(cell.group, []).append(cell)
    notes: list[Note] = []
    for cells in groups.values():
        same = _same_functions(study, cells)
        notes += [_same_function_note(study, found) for found in same]
        known = [{cell.name for cell in found} for found in same]
        for found in _equal_metrics(study, cells):
            names = [cell.name for cell in found]
            if not any(noted.issuperset(names) for noted in known):
                text = "equal metrics in all seeds, so they may compute the same"
                notes.append(Note("Compared cells", f"{text}: {_listed(found)}"))
    return notes


def _same_functions(
    study: StudyRuns, cells: Sequence[ManifestCell]
) -> list[tuple[ManifestCell, ...]]:
    """Cells whose fingerprints are equal in each common seed, at least one.

    Cells that differ in nothing but their recipe are meant to compute the same function.
    """
    alike: dict[tuple[int, Digits], list[ManifestCell]] = {}
    for cell in cells:
        for seed, digits in _fingerprints(study, cell).items():
            alike.setdefault((seed, digits), []).append(cell)
    found: dict[tuple[str, ...], tuple[ManifestCell, ...]] = {}
    for first, *others in alike.values():
        same = [first, *(cell for cell in others if _is_same(study, first, cell))]
        if len(same) > 1:
            found[tuple(cell.name for cell in same)] = tuple(same)
    return list(found.values())


def _is_same(study: StudyRuns, one: ManifestCell, other: ManifestCell) -> bool:
    left, right = _fingerprints(study, one), _fingerprints(study, other)
    common = left.keys() & right.keys()
    fields = [name for name in _fields(study, one, other) if "recipe" not in name.split(".")]
    return bool(fields) and all(left[seed] == right[seed] for seed in common)


def _fields(study: StudyRuns, one: ManifestCell, other: ManifestCell) -> list[str]:
    """The fields in which the specs of two finished cells differ."""
    left, right = (next(iter(study.records(cell).values())).spec for cell in (one, other))
    return [name for names in differences(left, right) for name in names]


def _fingerprints(study: StudyRuns, cell: ManifestCell) -> dict[int, Digits]:
    """The fingerprints of a cell by seed, to six digits; rounding changes later ones."""
    return {
        seed: tuple(f"{loss:.5e}" for loss in record.fingerprint)
        for seed, record in study.records(cell).items()
        if record.fingerprint
    }


def _same_function_note(study: StudyRuns, cells: Sequence[ManifestCell]) -> Note:
    first, *others = cells
    fields = dict.fromkeys(name for other in others for name in _fields(study, first, other))
    return Note(
        "Compared cells",
        f"equal losses for equal random parameters, so these cells compute the same: "
        f"{_listed(cells)}, without an effect of {', '.join(fields)}",
    )


def _equal_metrics(
    study: StudyRuns, cells: Sequence[ManifestCell]
) -> list[tuple[ManifestCell, ...]]:
    """Cells with equal metrics to the last digit.

    Older records have no fingerprints, and a training may make no use of another function. Cells
    with a single metric are left out, as accuracies on few examples may be equal by chance.
    """
    equal: dict[tuple[object, ...], list[ManifestCell]] = {}
    for cell in cells:
        records = study.records(cell)
        if records and all(len(record.metrics) > 1 for record in records.values()):
            equal.setdefault(tuple(map(_facts, records.items())), []).append(cell)
    return [
        tuple(found)
        for found in equal.values()
        if len({tuple(cell.identities.values()) for cell in found}) > 1
    ]


def _facts(item: tuple[int, Record]) -> tuple[object, ...]:
    seed, record = item
    return seed, tuple(sorted(record.metrics.items()))


def _equal_seeds(study: StudyRuns) -> list[Note]:
    """Cells whose seeds ended with weights that are equal to the bit."""
    equal: list[str] = []
    for cell in study.manifest.cells:
        hashes = [record.weights for record in study.records(cell).values() if record.weights]
        if len(set(hashes)) < len(hashes):
            equal.append(cell.label)
    text = "seeds ended with equal weights, so the training may make no use of the seed"
    return [Note("Compared cells", f"{text}: {', '.join(equal)}")] if equal else []


def _run_notes(study: StudyRuns) -> list[Note]:
    """The notes of runs, each with its cells and seeds."""
    places: dict[str, list[str]] = {}
    for cell in study.manifest.cells:
        seeds: dict[str, list[int]] = {}
        for seed, record in study.records(cell).items():
            for text in record.notes:
                seeds.setdefault(text, []).append(seed)
        for text, found in seeds.items():
            number = "seed" if len(found) == 1 else "seeds"
            place = f"{cell.label} {number} {', '.join(map(str, found))}"
            places.setdefault(text, []).append(place)
    return [Note("Compared cells", f"{text}: {'; '.join(at)}") for text, at in places.items()]


def _listed(cells: Sequence[ManifestCell]) -> str:
    return f"{', '.join(cell.name for cell in cells)} ({cells[0].group})"
