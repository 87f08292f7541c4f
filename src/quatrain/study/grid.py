"""A study: one question, a grid of cells, seeds, and the differences to test.

    study = Study(
        title="Does the encoder need queries?",
        question="What does 0110 lose against 1111?",
        cells=[Cell(name=t, group="encoder", spec=translator(t)) for t in ("0110", "1111")],
        seeds=(0, 1, 2),
        metric="bleu",
        comparisons=[Comparison(left="1111", right="0110", group="encoder")],
    )

A cell and a seed make a run, which has an identity. Cells of different groups may have equal
specs: they share their runs, which are shown in both groups.
"""

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from quatrain.results import Expectation, Manifest, ManifestCell, ManifestComparison
from quatrain.specs import Spec, StudyError, identity_by_seed
from quatrain.study.code import RunCode, StudyCode
from quatrain.study.names import (
    check_iterable,
    check_line,
    check_number,
    check_seeds,
    check_text,
    shorten,
)

if TYPE_CHECKING:
    from quatrain.training import Task

Item = TypeVar("Item")


@runtime_checkable
class TaskSpec(Protocol):
    """A `Spec` that opens the task that it describes."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "Task":
        """Read the data, and prepare the task; files that it needs go to `folder`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid: a name that is unique in its group, and a task spec.

    Args:
        expected: bounds of the primary metric, with a reason; not part of the identity.
        seeds: the seeds of this cell, if they are not those of the study.
    """

    name: str
    group: str
    spec: Spec
    expected: Expectation | None = None
    seeds: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_line("name of a cell", self.name)
        check_line(f"group of cell {self.name}", self.group)
        if not isinstance(self.spec, Spec) or not isinstance(self.spec, TaskSpec):
            raise StudyError(
                f"spec of cell {self.label}",
                type(self.spec).__name__,
                "a task spec",
                "give a spec that has open(data, folder, seed)",
            )
        if not isinstance(self.expected, Expectation | None):
            raise StudyError(
                f"expected of cell {self.label}",
                shorten(self.expected),
                "an Expectation",
                "write Expectation(low=..., because=...)",
            )
        if self.seeds is not None:
            object.__setattr__(self, "seeds", check_seeds(self.seeds))

    @property
    def label(self) -> str:
        """The group and the name, as in the output and the options of the command line."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A difference to test: `left` minus `right`, two cells of one group.

    Args:
        published: the difference in a publication, in its own setting.
    """

    left: str
    right: str
    group: str
    published: float | None = None

    def __post_init__(self) -> None:
        for name in ("left", "right", "group"):
            check_line(f"{name} of a comparison", getattr(self, name))
        if self.published is not None:
            check_number("published of a comparison", self.published)


@dataclass(frozen=True)
class Run:
    """One cell with one seed.

    Args:
        labels: the cells that share the run: they plan its seed or were selected with it.
        code: the hashes of its code; None for a study that was not loaded from a file.
    """

    identity: str
    seed: int
    spec: Spec
    labels: tuple[str, ...]
    code: RunCode | None = field(default=None, compare=False)

    @property
    def spec_code(self) -> str | None:
        """The hash of the code of its own specs; None without own specs or a study file."""
        return None if self.code is None else self.code.spec_code

    @property
    def label(self) -> str:
        """The first of its cells, and the seed."""
        return f"{self.labels[0]} seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the grid of runs that answers it.

    Args:
        compared_in: the metric of the differences; None for the primary metric.
        code: the code of the study file, which `load_study` enters.
    """

    title: str
    question: str
    cells: Sequence[Cell]
    seeds: Sequence[int]
    metric: str
    comparisons: Sequence[Comparison] = ()
    compared_in: str | None = None
    code: StudyCode | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_texts()
        object.__setattr__(self, "cells", _instances("cells", self.cells, Cell))
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        comparisons = _instances("comparisons", self.comparisons, Comparison)
        object.__setattr__(self, "comparisons", comparisons)
        if not self.cells:
            raise StudyError("cells", (), "at least one cell", "add a Cell to the study")
        self._check_names()
        for comparison in self.comparisons:
            self._check_comparison(comparison)

    def select(
        self, cells: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> tuple[Run, ...]:
        """The runs whose cells match one of the globs, seed by seed, each identity once.

        A glob matches the name or "group/name" of a cell; the exact name of a cell matches that
        cell only. Seeds that the study does not have extend the study.

        Raises:
            StudyError: if a glob matches nothing, or the seeds are not distinct whole numbers from
                0 to 2^64 - 1.
        """
        chosen = self._matching(cells)
        if seeds is None:
            planned = [(seed, cell) for cell in chosen for seed in self.seeds_for(cell)]
            planned.sort(key=lambda pair: pair[0])
        else:
            planned = [(seed, cell) for seed in check_seeds(seeds) for cell in chosen]
        return self.runs(planned)

    def seeds_for(self, cell: Cell) -> Sequence[int]:
        """The seeds of a cell: its own, or those of the study."""
        return self.seeds if cell.seeds is None else cell.seeds

    def runs(self, pairs: Iterable[tuple[int, Cell]]) -> tuple[Run, ...]:
        """The runs of these seeds and cells, each identity once."""
        selected: dict[str, tuple[int, set[str]]] = {}
        for seed, cell in pairs:
            selected.setdefault(self.identity(cell, seed), (seed, set()))[1].add(cell.label)
        return tuple(self._run(run, seed, labels) for run, (seed, labels) in selected.items())

    def run(self, cell: Cell, seed: int) -> Run:
        """The run of `cell` with `seed`."""
        return self._run(self.identity(cell, seed), seed, {cell.label})

    def identity(self, cell: Cell, seed: int) -> str:
        """The identity of the run of `cell` with `seed`."""
        return self._identities[cell.label](seed)

    def has(self, identity: str, seed: int) -> bool:
        """Whether a cell has the run with this identity."""
        return identity in self._by_identity(seed)

    def find(
        self, identity: str, seed: int, label: str | None = None, spec_code: str | None = None
    ) -> Run:
        """The run with this identity, and with this label and hash of code unless they are None.

        Raises:
            StudyError: if no cell has it: the study file was edited in the meantime, or defines
                different cells each time it is loaded.
        """
        cells = self._by_identity(seed).get(identity, [])
        planned = [cell for cell in cells if seed in self.seeds_for(cell)]
        for cell in [*planned, *cells]:
            run = self.run(cell, seed)
            if spec_code is not None and run.spec_code != spec_code:
                raise StudyError(
                    f"code of {type(run.spec).__name__}",
                    "changed since the study was started",
                    "the code at the start of the study",
                    "restore the code, or raise the `revision` of the spec, and run the command "
                    "again",
                )
            if label in {None, run.label}:
                return run
        raise StudyError(
            "cells of the study file",
            "different each time it is loaded",
            "the same cells with the same names",
            "use a fixed seed for random numbers and sort sets before iterating over them; if the "
            "file was edited during the run, run the command again",
        )

    def manifest(self, extra_runs: Iterable[Run] = ()) -> Manifest:
        """The description of the study that its folder of results keeps.

        Args:
            extra_runs: runs to add to the cells of their labels, with any seeds.
        """
        seeds: dict[str, set[int]] = {}
        for run in extra_runs:
            for label in run.labels:
                seeds.setdefault(label, set()).add(run.seed)
        cells = tuple(
            ManifestCell(
                name=cell.name,
                group=cell.group,
                spec_name=type(cell.spec).__name__,
                identities={
                    seed: self.identity(cell, seed)
                    for seed in sorted({*self.seeds_for(cell), *seeds.get(cell.label, ())})
                },
                expected=cell.expected,
            )
            for cell in self.cells
        )
        comparisons = tuple(
            ManifestComparison(
                left=each.left, right=each.right, group=each.group, published=each.published
            )
            for each in self.comparisons
        )
        return Manifest(
            title=self.title,
            question=self.question,
            metric=self.metric,
            cells=cells,
            comparisons=comparisons,
            compared_in=self.compared_in,
        )

    def _run(self, identity: str, seed: int, selected: set[str]) -> Run:
        """The run with this identity, shared by the selected cells and those that plan it."""
        cells = [
            cell
            for cell in self._by_identity(seed)[identity]
            if cell.label in selected or seed in self.seeds_for(cell)
        ]
        spec = cells[0].spec
        code = None if self.code is None else self.code.of(spec)
        return Run(identity, seed, spec, tuple(cell.label for cell in cells), code)

    @functools.cached_property
    def _identities(self) -> dict[str, Callable[[int], str]]:
        """For each cell, by its label, the function from a seed to an identity."""
        return {cell.label: identity_by_seed(cell.spec) for cell in self.cells}

    @functools.cached_property
    def _cells_by_identity(self) -> dict[int, dict[str, list[Cell]]]:
        return {}

    def _by_identity(self, seed: int) -> dict[str, list[Cell]]:
        """The cells by the identities of their runs with `seed`, computed once."""
        cells = self._cells_by_identity
        if seed not in cells:
            cells[seed] = {}
            for cell in self.cells:
                cells[seed].setdefault(self.identity(cell, seed), []).append(cell)
        return cells[seed]

    def _matching(self, globs: Sequence[str] | None) -> list[Cell]:
        if globs is None:
            return list(self.cells)
        chosen: set[str] = set()
        names = [(cell.name, cell.label) for cell in self.cells]
        for glob in globs:
            matches = [label for name, label in names if glob in {name, label}]
            if not matches:
                matches = [both[1] for both in names if any(fnmatchcase(x, glob) for x in both)]
            if not matches:
                raise _unknown("cells", glob, [cell.label for cell in self.cells])
            chosen.update(matches)
        return [cell for cell in self.cells if cell.label in chosen]

    def _check_texts(self) -> None:
        check_line("title", self.title)
        check_text("question", self.question)
        check_line("metric", self.metric)
        if self.compared_in is not None:
            check_line("compared_in", self.compared_in)

    def _check_names(self) -> None:
        labels: set[str] = set()
        for cell in self.cells:
            if cell.label in labels:
                raise StudyError(
                    "cell name", cell.label, "names that are unique in their group", "rename one"
                )
            labels.add(cell.label)

    def _check_comparison(self, comparison: Comparison) -> None:
        groups = {cell.group for cell in self.cells}
        if comparison.group not in groups:
            raise _unknown("comparison group", comparison.group, sorted(groups))
        names = [cell.name for cell in self.cells if cell.group == comparison.group]
        for side in (comparison.left, comparison.right):
            if side not in names:
                raise _unknown(f"comparison in {comparison.group}", side, names)
        if comparison.left == comparison.right:
            raise StudyError(
                "comparison", comparison.left, "two different cells", "change left or right"
            )


def _instances(field: str, values: object, kind: type[Item]) -> tuple[Item, ...]:
    instances: list[Item] = []
    for value in check_iterable(field, values, f"{kind.__name__}s"):
        if not isinstance(value, kind):
            name = kind.__name__
            remedy = f"write {name}(...)"
            raise StudyError(f"one of {field}", shorten(value), f"a {name}", remedy)
        instances.append(value)
    return tuple(instances)


def _unknown(field: str, value: str, known: list[str]) -> StudyError:
    """The error for an unknown name, with the nearest known one."""
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)
    return StudyError(field, value, f"one of {', '.join(known)}", f"did you mean {near[0]}")
