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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from quatrain.results import Expectation, Manifest, ManifestCell, ManifestComparison
from quatrain.specs import Spec, StudyError, identity

if TYPE_CHECKING:
    from quatrain.training import Task


@runtime_checkable
class TaskSpec(Protocol):
    """What a cell holds besides being a `Spec`: it can open the task that it describes."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "Task":
        """Read the data, prepare what training needs, and keep it in `folder`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid: a name that is unique in its group, and everything that decides it.

    `expected` is what the headline metric should be, and why: it decides no result.
    """

    name: str
    group: str
    spec: Spec
    expected: Expectation | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.spec, Spec) or not isinstance(self.spec, TaskSpec):
            raise StudyError(
                f"spec of cell {self.label}",
                type(self.spec).__name__,
                "a task spec",
                "give a spec that has open(data, folder, seed)",
            )

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


@dataclass(frozen=True)
class Run:
    """One cell with one seed; `labels` names every cell that shares it."""

    identity: str
    seed: int
    spec: Spec
    labels: tuple[str, ...]

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
    """The metric of the differences; None for the headline metric."""

    def __post_init__(self) -> None:
        for field in ("cells", "seeds", "comparisons"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not self.cells:
            raise StudyError("cells", (), "at least one cell", "add a Cell to the study")
        _check_seeds(self.seeds)
        self._check_names()
        for comparison in self.comparisons:
            self._check_comparison(comparison)

    def select(
        self, cells: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> tuple[Run, ...]:
        """The runs whose cells match one of the globs, seed by seed, each identity once.

        A glob is held against the name and against "group/name". Seeds beyond the study's own
        are welcome: they extend the study.

        Raises:
            StudyError: if a glob matches nothing or the seeds are not distinct whole numbers.
        """
        seeds = self.seeds if seeds is None else seeds
        _check_seeds(seeds)
        wanted = self._matching(cells)
        runs: dict[str, Run] = {}
        for seed in seeds:
            for cell in wanted:
                run = self.run(cell, seed)
                runs[run.identity] = run
        return tuple(runs.values())

    def run(self, cell: Cell, seed: int) -> Run:
        """The run of `cell` with `seed`."""
        labels = tuple(self._labels[identity(cell.spec, 0)])
        return Run(identity(cell.spec, seed), seed, cell.spec, labels)

    def find(self, wanted: str, seed: int) -> Run:
        """The run with this identity.

        Raises:
            StudyError: if no cell has it, as when the study file was edited in the meantime.
        """
        for cell in self.cells:
            if identity(cell.spec, seed) == wanted:
                return self.run(cell, seed)
        raise StudyError(
            "identity", wanted[:16], f"a run of the study {self.title}", "start the study again"
        )

    def manifest(self, seeds: Iterable[int] = ()) -> Manifest:
        """What the study wants, for readers who do not have the study file.

        Args:
            seeds: further seeds that were asked for on the command line, now or earlier.
        """
        every = sorted({*self.seeds, *seeds})
        cells = tuple(
            ManifestCell(
                name=cell.name,
                group=cell.group,
                spec_name=type(cell.spec).__name__,
                identities={seed: identity(cell.spec, seed) for seed in every},
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

    @functools.cached_property
    def _labels(self) -> dict[str, list[str]]:
        """The cells that share their runs, by what seed 0 is called."""
        labels: dict[str, list[str]] = {}
        for cell in self.cells:
            labels.setdefault(identity(cell.spec, 0), []).append(cell.label)
        return labels

    def _matching(self, globs: Sequence[str] | None) -> list[Cell]:
        if globs is None:
            return list(self.cells)
        chosen: list[Cell] = []
        for glob in globs:
            hits = [
                c for c in self.cells if fnmatchcase(c.name, glob) or fnmatchcase(c.label, glob)
            ]
            if not hits:
                raise _unknown("cells", glob, [cell.label for cell in self.cells])
            chosen.extend(hits)
        return [cell for cell in self.cells if cell in chosen]

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


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise StudyError("seeds", (), "at least one seed", "give seeds=(0,)")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise StudyError("seed", seed, "a whole number from 0 up", "change it")
    if len(set(seeds)) != len(seeds):
        raise StudyError("seeds", tuple(seeds), "each seed once", "remove the repeated one")


def _unknown(field: str, value: str, known: list[str]) -> StudyError:
    """The error for a name that is not there, with the nearest one that is."""
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)
    return StudyError(field, value, f"one of {', '.join(known)}", f"did you mean {near[0]}")
