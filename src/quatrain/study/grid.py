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

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_args,
    runtime_checkable,
)

from pydantic import ConfigDict, Field, GetPydanticSchema, field_validator, model_validator

from quatrain.results import Comparison, Expectation, Manifest, ManifestCell
from quatrain.results.record import LowerIsBetter, check_labels, unknown_cell
from quatrain.specs import QuatrainError, Spec, SpecError, StudyError, identity_by_seed
from quatrain.specs.spec import CheckedModel
from quatrain.study.code import StudyCode
from quatrain.study.names import MOST_SEEDS, Line, Seeds, Text, check_seeds
from quatrain.study.protocol import Event, Kind

if TYPE_CHECKING:
    from quatrain.training import Progress, Task, TrainingResult

_AsTuple = GetPydanticSchema(lambda of, handler: handler(tuple[get_args(of)[0], ...]))
"""Accepts any iterable for a field that is declared as a sequence, and makes it a tuple."""


@runtime_checkable
class TaskSpec(Protocol):
    """A `Spec` that opens the task that it describes."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "Task":
        """Read the data, and prepare the task; files that it needs go to `folder`."""
        ...


@runtime_checkable
class SelfTraining(Protocol):
    """A task with a training loop of its own, in place of `quatrain.training.train`."""

    def fit(
        self, folder: Path, *, seed: int, device: str, notify: "Callable[[Progress], None]"
    ) -> "TrainingResult":
        """Train, and return the objective in evaluation mode; files may be kept in `folder`."""
        ...


class Cell(CheckedModel):
    """One point of the grid: a name that is unique in its group, and a task spec.

    Attributes:
        expected: bounds of the primary metric, with a reason; not part of the identity.
        seeds: the seeds of this cell, if they are not those of the study.
    """

    error_class: ClassVar[type[QuatrainError]] = StudyError

    name: Line
    group: Line
    spec: Spec
    expected: Expectation | None = None
    seeds: Seeds | None = None

    @field_validator("spec")
    @classmethod
    def _check_task_spec(cls, spec: Spec) -> Spec:
        if not isinstance(spec, TaskSpec):
            raise ValueError("give a task spec, which has open(data, folder, seed)")  # noqa: TRY004
        return spec

    @property
    def label(self) -> str:
        """The group and the name, as in the output and the options of the command line."""
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Run:
    """One cell with one seed.

    Args:
        labels: the cells that share the run: they plan its seed or were selected with it.
        code: the hashes of the study's files; None for a study that was not loaded from a file.
        spec_code: the hash of the code of the spec's own classes; None if the study defines none.
    """

    identity: str
    seed: int
    spec: Spec
    labels: tuple[str, ...]
    code: dict[str, str] | None = field(default=None, compare=False)
    spec_code: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The first of its cells, and the seed."""
        return f"{self.labels[0]} seed {self.seed}"

    @property
    def processes(self) -> int:
        """Processes of its training: those of the spec's field `recipe`, or 1 without one."""
        return getattr(getattr(self.spec, "recipe", None), "processes", 1)

    def open(self, data: Path | None, folder: Path) -> "Task":
        """Read the data, and prepare the task of its spec in `folder`.

        Raises:
            SpecError: if its training loop is its own, and the recipe has several processes.
        """
        task = cast("TaskSpec", self.spec).open(data, folder, self.seed)
        if self.processes > 1 and isinstance(task, SelfTraining):
            raise SpecError(
                f"processes={self.processes} of the recipe, but {type(task).__name__} has a "
                "training loop of its own, which is executed in one; use processes=1",
                "Recipe.processes",
            )
        return task

    def event(self, kind: Kind, **fields: Any) -> Event:
        """An event of this run."""
        return Event(kind=kind, identity=self.identity, label=self.label, **fields)


class Study(CheckedModel):
    """A question and the grid of runs that answers it.

    Attributes:
        compared_in: the metric of the differences; None for the primary metric.
        lower_is_better: whether lower values of these metrics are better; a dictionary declares it
            for further metrics too: {"loss": True, "chrf": False}.
        margin: differences of at most this size are equivalent; choose it before the first run.
        maximum_seeds: the number of seeds that will not be exceeded. With it, seeds can be added
            after a look at the results at a known rate of false positives.
        variance: "separate" if the spreads of the cells differ: a wider interval for each cell.
        code: the code of the study file, which `load_study` enters.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)
    error_class: ClassVar[type[QuatrainError]] = StudyError

    title: Line
    question: Text
    cells: Annotated[Sequence[Cell], _AsTuple, Field(min_length=1)]
    seeds: Seeds
    metric: Line
    comparisons: Annotated[Sequence[Comparison], _AsTuple] = ()
    compared_in: Line | None = None
    lower_is_better: LowerIsBetter = False
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    maximum_seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | None = None
    variance: Literal["pooled", "separate"] = "pooled"
    code: StudyCode | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        check_labels([cell.label for cell in self.cells], self.comparisons)
        return self

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
        chosen = matching_cells(self.cells, cells)
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
            run = self._run(identity, seed, {cell.label})
            if spec_code is not None and run.spec_code != spec_code:
                name = type(run.spec).__name__
                raise StudyError(
                    f"the code of {name} changed since the study was started; restore it, or raise "
                    f"the `revision` of {name}, and run the command again",
                    name,
                )
            if label in {None, run.label}:
                return run
        raise StudyError(
            "the study file defines other cells each time it is loaded; use a fixed seed for "
            "random numbers and sort sets before iterating over them; if the file was edited "
            "during the run, run the command again",
            "cells",
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
        return Manifest(
            title=self.title,
            question=self.question,
            metric=self.metric,
            cells=cells,
            comparisons=tuple(self.comparisons),
            compared_in=self.compared_in,
            lower_is_better=self.lower_is_better,
            margin=self.margin,
            maximum_seeds=self.maximum_seeds,
            variance=self.variance,
        )

    def _run(self, identity: str, seed: int, selected: set[str]) -> Run:
        """The run with this identity, shared by the selected cells and those that plan it."""
        cells = [
            cell
            for cell in self._by_identity(seed)[identity]
            if cell.label in selected or seed in self.seeds_for(cell)
        ]
        spec, labels = cells[0].spec, tuple(cell.label for cell in cells)
        if self.code is None:
            return Run(identity, seed, spec, labels)
        return Run(identity, seed, spec, labels, self.code.files, self.code.spec_code(spec))

    @functools.cached_property
    def _identities(self) -> dict[str, Callable[[int], str]]:
        """For each cell, by its label, the function from a seed to an identity."""
        return {cell.label: functools.cache(identity_by_seed(cell.spec)) for cell in self.cells}

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


AnyCell = TypeVar("AnyCell", Cell, ManifestCell)


def matching_cells(cells: Sequence[AnyCell], globs: Sequence[str] | None) -> list[AnyCell]:
    """The cells that match one of the globs, as in `Study.select`; all for None.

    Raises:
        StudyError: if a glob matches nothing.
    """
    if globs is None:
        return list(cells)
    chosen: set[str] = set()
    names = [(cell.name, cell.label) for cell in cells]
    for glob in globs:
        matches = [label for name, label in names if glob in {name, label}]
        if not matches:
            matches = [both[1] for both in names if any(fnmatchcase(x, glob) for x in both)]
        if not matches:
            raise unknown_cell(glob, [label for _, label in names], "cells")
        chosen.update(matches)
    return [cell for cell in cells if cell.label in chosen]
