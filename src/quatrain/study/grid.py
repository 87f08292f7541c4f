"""A study: one question, a grid of cells, seeds, and the differences to look at.

    study = Study(
        title="Does the encoder need queries?",
        question="What does 0110 lose against 1111?",
        cells=[Cell(name=t, group="encoder", spec=translator(t)) for t in ("0110", "1111")],
        seeds=(0, 1, 2),
        metric="bleu",
        comparisons=[Comparison(left="1111", right="0110", group="encoder")],
    )

A cell and a seed make a run, known by its identity. Two cells of different groups may hold equal
specs: that is one run, shown in both groups.
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
from quatrain.study.names import check_line, check_number, check_text, items_of, seeds_of, shown

if TYPE_CHECKING:
    from quatrain.training import Task

Item = TypeVar("Item")


@runtime_checkable
class TaskSpec(Protocol):
    """What a cell holds besides being a `Spec`: it can open the task that it describes."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "Task":
        """Read the data, prepare what training needs, and keep it in `folder`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid: a name that is unique in its group, and everything that decides it.

    `expected` is what the primary metric should be, and why: it decides no result. `seeds` are
    those of this cell, where it needs others than the study has.
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
                shown(self.expected),
                "an Expectation",
                "write Expectation(low=..., because=...)",
            )
        if self.seeds is not None:
            object.__setattr__(self, "seeds", seeds_of(self.seeds))

    @property
    def label(self) -> str:
        """The group and the name, as the command line shows and selects them."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A difference worth showing: `left` minus `right`, two cells of one group.

    `published` is what others found for it, in their own setting: shown beside ours.
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

    `labels` names the cells that share it: those that plan its seed or were selected with it.
    """

    identity: str
    seed: int
    spec: Spec
    labels: tuple[str, ...]
    code: RunCode | None = field(default=None, compare=False)
    """The hashes of the code behind it; None for a study that was read from no file."""

    @property
    def spec_code(self) -> str | None:
        """The hash of the code of its own specs; None if there is none, or no file."""
        return None if self.code is None else self.code.spec_code

    @property
    def label(self) -> str:
        """The first of its cells, and the seed."""
        return f"{self.labels[0]} seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and the grid of runs that answers it."""

    title: str
    question: str
    cells: Sequence[Cell]
    seeds: Sequence[int]
    metric: str
    comparisons: Sequence[Comparison] = ()
    compared_in: str | None = None
    """The metric of the differences; None for the primary metric."""
    code: StudyCode | None = field(default=None, init=False, repr=False, compare=False)
    """The code of the study file, which `load_study` enters."""

    def __post_init__(self) -> None:
        self._check_texts()
        object.__setattr__(self, "cells", _instances("cells", self.cells, Cell))
        object.__setattr__(self, "seeds", seeds_of(self.seeds))
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

        A glob is held against the name and against "group/name", and stands for itself where
        there is a cell of just that name. Seeds beyond the study's own extend the study.

        Raises:
            StudyError: if a glob matches nothing, or the seeds are not distinct whole numbers from
                0 to 2^64 - 1.
        """
        chosen = self._matching(cells)
        if seeds is None:
            planned = [(seed, cell) for cell in chosen for seed in self.seeds_for(cell)]
            planned.sort(key=lambda pair: pair[0])
        else:
            planned = [(seed, cell) for seed in seeds_of(seeds) for cell in chosen]
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

    def has(self, wanted: str, seed: int) -> bool:
        """Whether a cell has the run with this identity."""
        return wanted in self._by_identity(seed)

    def find(
        self, wanted: str, seed: int, label: str | None = None, spec_code: str | None = None
    ) -> Run:
        """The run with this identity, under this label and hash of code if they are given.

        Raises:
            StudyError: if no cell has it: the study file was edited in the meantime, or gives
                different cells at each reading.
        """
        cells = self._by_identity(seed).get(wanted, [])
        planned = [cell for cell in cells if seed in self.seeds_for(cell)]
        for cell in [*planned, *cells]:
            run = self.run(cell, seed)
            if spec_code is not None and run.spec_code != spec_code:
                raise StudyError(
                    f"code of {type(run.spec).__name__}",
                    "changed since the command was given",
                    "the code that the study began with",
                    "restore the code, or raise the `revision` of the spec, and give the command "
                    "again",
                )
            if label in {None, run.label}:
                return run
        raise StudyError(
            "cells of the study file",
            "different at each reading",
            "the same cells under the same names",
            "give a fixed seed to what it draws at random and sort the sets that it goes through; "
            "if it was edited during the run, give the command again",
        )

    def manifest(self, further: Iterable[Run] = ()) -> Manifest:
        """What the study wants, for readers who do not have the study file.

        Args:
            further: runs that the cells of their labels show too, of whatever seeds.
        """
        seeds: dict[str, set[int]] = {}
        for run in further:
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

    def _run(self, wanted: str, seed: int, selected: set[str]) -> Run:
        """The run with this identity, shared by the selected cells and those that plan it."""
        cells = [
            cell
            for cell in self._by_identity(seed)[wanted]
            if cell.label in selected or seed in self.seeds_for(cell)
        ]
        spec = cells[0].spec
        code = None if self.code is None else self.code.of(spec)
        return Run(wanted, seed, spec, tuple(cell.label for cell in cells), code)

    @functools.cached_property
    def _identities(self) -> dict[str, Callable[[int], str]]:
        """For each cell, by its label, the function from a seed to an identity."""
        return {cell.label: identity_by_seed(cell.spec) for cell in self.cells}

    @functools.cached_property
    def _cells_by_identity(self) -> dict[int, dict[str, list[Cell]]]:
        return {}

    def _by_identity(self, seed: int) -> dict[str, list[Cell]]:
        """The cells by the identities of their runs with `seed`, which are computed once."""
        found = self._cells_by_identity
        if seed not in found:
            found[seed] = {}
            for cell in self.cells:
                found[seed].setdefault(self.identity(cell, seed), []).append(cell)
        return found[seed]

    def _matching(self, globs: Sequence[str] | None) -> list[Cell]:
        if globs is None:
            return list(self.cells)
        chosen: set[str] = set()
        for glob in globs:
            names = [(cell.name, cell.label) for cell in self.cells]
            hits = [both[1] for both in names if glob in both]
            if not hits:
                hits = [both[1] for both in names if any(fnmatchcase(x, glob) for x in both)]
            if not hits:
                raise _unknown("cells", glob, [cell.label for cell in self.cells])
            chosen.update(hits)
        return [cell for cell in self.cells if cell.label in chosen]

    def _check_texts(self) -> None:
        check_line("title", self.title)
        check_text("question", self.question)
        check_line("metric", self.metric)
        if self.compared_in is not None:
            check_line("compared_in", self.compared_in)

    def _check_names(self) -> None:
        seen: set[str] = set()
        for cell in self.cells:
            if cell.label in seen:
                raise StudyError(
                    "cell name", cell.label, "names that are unique in their group", "rename one"
                )
            seen.add(cell.label)

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
    found: list[Item] = []
    for value in items_of(field, values, f"{kind.__name__}s"):
        if not isinstance(value, kind):
            raise StudyError(
                f"one of {field}", shown(value), f"a {kind.__name__}", f"write {kind.__name__}(...)"
            )
        found.append(value)
    return tuple(found)


def _unknown(field: str, value: str, known: list[str]) -> StudyError:
    """The error for a name that is not there, with the nearest one that is."""
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)
    return StudyError(field, value, f"one of {', '.join(known)}", f"did you mean {near[0]}")
