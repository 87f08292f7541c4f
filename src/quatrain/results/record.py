"""The stored results of a study, as frozen models that are written as JSON.

A `Record` is one finished run: the resolved spec, the seed, the metrics, and the facts that decide
which runs may be averaged. A number that is NaN or beyond 1e100 is refused: it makes a run fail,
since no report could be computed from it.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import (
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticSerializationError

from quatrain.results.changes import join_names
from quatrain.specs import QuatrainError, StudyError
from quatrain.specs.errors import cut_middle
from quatrain.specs.spec import CheckedModel, first_problem, unknown_field

FORMAT = 1
"""The newest format of stored files that this version reads, and the one it writes."""

_NEWER = "use the newer quatrain that wrote it"

LARGEST = 1e100
Number = Annotated[FiniteFloat, Field(ge=-LARGEST, le=LARGEST)]
"""A number whose square and whose sums are finite."""

Seconds = Annotated[FiniteFloat, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=0, lt=2**63)]

Reason = Literal["error", "non-finite loss", "out of memory", "killed"]

Identity = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
"""Hexadecimal digits of `quatrain.specs.identity`; nothing else, since it names a folder."""


_WITHOUT_MODELS = frozenset({str, int, float, bool, dict, type(None)})
"""Types of values that are passed over when nested models are looked for."""


class StoredModel(CheckedModel):
    """The base of all models that are stored as JSON.

    The constructor refuses unknown fields; reading keeps them, since a newer version wrote them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")
    error_class: ClassVar[type[QuatrainError]] = StudyError
    format: Literal[1] = FORMAT

    if not TYPE_CHECKING:  # type checkers derive a precise signature for each subclass

        def __init__(self, **fields: Any) -> None:
            for name in fields.keys() - type(self).model_fields.keys():
                raise StudyError(*unknown_field(type(self), name))
            super().__init__(**fields)

        # Without this mark, reading would call `__init__`, which refuses newer fields.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def from_json(cls, text: str | bytes, remedy: str) -> Self:
        """Read the output of `to_json` of this or a newer version.

        Raises:
            StudyError: if it has a newer format, or is damaged; the message ends in `remedy` then.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            message, field = first_problem(cls, error)
            problems = error.errors(include_url=False)
            formats = [
                problem["input"] for problem in problems if problem["loc"][-1:] == ("format",)
            ]
            if any(isinstance(number, int) and number > FORMAT for number in formats):
                remedy = _NEWER
            elif problems[0]["type"] != "json_invalid":
                remedy = f"{_NEWER}, or, if none did, {remedy}"
            raise StudyError(f"{message}; {remedy}", field) from None
        except StudyError as error:
            raise StudyError(f"{error}; {remedy}", error.field) from None

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of fields, also of nested models, that only a newer version knows."""
        values: list[object] = [x for x in self.__dict__.values() if type(x) not in _WITHOUT_MODELS]
        nested = [
            name
            for value in values
            for part in (
                cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
            )
            if type(part) not in _WITHOUT_MODELS and isinstance(part, StoredModel)
            for name in part.unknown
        ]
        return tuple(dict.fromkeys([*(self.model_extra or {}), *nested]))

    def to_json(self) -> str:
        """All fields as indented JSON with a newline at the end.

        Lone surrogates, as in file names that are not UTF-8, are written as escapes.
        """
        try:
            text = self.model_dump_json(indent=2)
        except PydanticSerializationError:
            model = type(self).model_validate(_storable(self.model_dump()))
            text = model.model_dump_json(indent=2)
        return text + "\n"


class Session(StoredModel):
    """One session of a run: the machine, versions and code that trained a part of it."""

    versions: dict[str, str]
    device: str
    threads: Count
    commit: str | None
    """The commit of the study file's repository, or None outside one."""
    code: dict[str, str] | None = None
    """SHA-256 of the study file and of the modules in its folder that it imports, without comments;
    None in older records. The text before a colon names the rule of the hash."""
    spec_code: str | None = None
    """SHA-256 of the code of the spec's own classes; None if the study defines none."""


class Record(StoredModel):
    """One finished run; versions, device, threads, commit and code are of its last session."""

    cell: str
    identity: Identity
    seed: int
    spec: dict[str, Any]
    """The resolved spec, defaults written out."""
    spec_name: str
    metrics: dict[str, Number]
    signatures: dict[str, str]
    """How each metric was computed, for example sacreBLEU's signature."""
    cost: dict[str, Number]
    """`parameters` and executed `multiply_adds` of the model, `multiply_adds_closed_form`, which
    equals the latter, and `paper_multiply_adds`, the count by the paper's convention. Older records
    and models with a mixer that the paper lacks have no `paper_multiply_adds`."""
    versions: dict[str, str]
    device: str
    threads: Count
    commit: str | None
    code: dict[str, str] | None = None
    spec_code: str | None = None
    earlier: tuple[Session, ...] | None = None
    """Earlier sessions on another device or commit, or with other threads, versions or code; None
    in older records."""
    data: dict[str, str]
    """SHA-256 of each data file, by its name; for a folder of images, of their fingerprints."""
    test_data: dict[str, str] | None = None
    """SHA-256 of the test data, by name; None in older records."""
    data_notes: dict[str, Count] | None = None
    """Warnings about omitted or changed data, and operators missing in `multiply_adds`, with their
    number; None in older records."""
    notes: tuple[str, ...] = ()
    """Sentences about the run, such as a training that changed no weight; none in older records."""
    artifacts: tuple[str, ...]
    """Names of files of the result in the run folder."""
    term_sets: dict[str, dict[str, Number]] | None = None
    """The metrics of each term set with the shared weights, by its digits, after a training with
    sampled terms; None after any other, whose terms are those of the spec."""
    fingerprint: tuple[Number, ...] | None = None
    """Losses for random parameters, as `quatrain.training.fingerprint` computes them: equal for
    cells that compute the same function. None in older records, and if the objective failed."""
    weights: str | None = None
    """SHA-256 of the trained parameters; None in older records."""
    attempt: Count | None = None
    """The attempt at the run that finished, from 1; None in older records."""
    steps: Count
    seconds: Seconds
    """Wall-clock seconds of training, in all sessions together."""
    other_seconds: Seconds | None = None
    """Wall-clock seconds of the last session before and after training: reading data, evaluation,
    cost; None in older records."""


class Measurement(StoredModel):
    """Quantities of a run's model that were added afterwards; None for those that were not.

    Latency and peak memory are measured on an idle machine.
    """

    median_seconds: Seconds | None = None
    spread_seconds: Seconds | None = None
    rounds: Count | None = None
    peak_bytes: Count | None = None
    cost: dict[str, Number] | None = None
    """Counted costs that the record lacks, by the names of `Record.cost`."""
    device: str
    threads: Count
    versions: dict[str, str]


class Failure(StoredModel):
    """The error that ended a run."""

    reason: Reason
    message: str
    traceback: str
    step: Count
    """The last finished step; 0 before the first."""


class Expectation(StoredModel):
    """Bounds of a cell's primary metric, expected before the study is run, and the reason."""

    low: Number | None = None
    """The lower bound, or None."""
    high: Number | None = None
    """The upper bound, or None."""
    because: str

    @model_validator(mode="after")
    def _has_bounds_and_a_reason(self) -> Self:
        if self.low is None and self.high is None:
            raise StudyError("an Expectation has no bounds; give low, high or both", "Expectation")
        if self.low is not None and self.high is not None and self.low > self.high:
            message = f"low={self.low} of an Expectation is above high={self.high}; exchange them"
            raise StudyError(message, "Expectation.low")
        if not self.because.strip():
            message = "because of an Expectation is empty; write the reason of the bounds"
            raise StudyError(message, "Expectation.because")
        return self

    @property
    def bounds(self) -> str:
        """The bounds as text: '≥ 95', '≤ 5' or '5 to 95'."""
        if self.low is None or self.high is None:
            return f"≤ {self.high:g}" if self.low is None else f"≥ {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def met_by(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)


class ManifestCell(StoredModel):
    """A cell of a manifest: its name, its group, and the identity of each seed's run."""

    name: str
    group: str
    spec_name: str
    identities: dict[int, Identity]
    expected: Expectation | None = None

    @property
    def label(self) -> str:
        """The group and the name."""
        return f"{self.group}/{self.name}"


class Comparison(StoredModel):
    """A difference to test: `left` minus `right`, two cells of one group."""

    left: str
    right: str
    group: str
    published: Annotated[Number, Strict()] | None = None
    """The difference in a publication, in its own setting."""
    expect: Literal["higher", "lower", "equivalent"] | None = None
    """The verdict on `left` that the study predicts before it is run."""


def _check_directions(value: object) -> bool | dict[str, bool]:
    if isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        directions = dict(cast("Mapping[object, object]", value))
        if all(isinstance(x, str) and isinstance(y, bool) for x, y in directions.items()):
            return cast("dict[str, bool]", directions)
    raise ValueError('give True or False, or a dictionary of these by metric: {"loss": True}')


LowerIsBetter = Annotated[bool | dict[str, bool], PlainValidator(_check_directions)]
"""Whether lower values are better: of the primary and the compared metric, or by metric."""


class Manifest(StoredModel):
    """The description of a study when it was last run."""

    title: str
    question: str
    metric: str
    """The primary metric."""
    cells: tuple[ManifestCell, ...]
    comparisons: tuple[Comparison, ...] = ()
    compared_in: str | None = None
    """The metric of the differences; None for the primary metric."""
    lower_is_better: LowerIsBetter = False
    """Whether lower values of the primary and the compared metric are better; by metric in a
    dictionary, in which these two may be left out if higher values are better."""
    margin: Annotated[Number, Field(gt=0)] | None = None
    """Differences of at most this size are equivalent, declared before the study was run."""
    maximum_seeds: Annotated[Count, Field(ge=1)] | None = None
    """The number of seeds after which no more will be added, declared before the study was run."""
    variance: Literal["pooled", "separate"] = "pooled"
    """Whether the cells of a group share a residual variance, as in `quatrain.results.fit`."""
    looks: tuple[Count, ...] = ()
    """The numbers of seeds that had finished each time seeds were added."""
    code: dict[str, str] | None = None
    """As in `Session`."""

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        check_labels([cell.label for cell in self.cells], self.comparisons)
        return self

    def better(self, metric: str) -> Literal[1, 0, -1]:
        """1 if higher values of a metric are better, -1 if lower, 0 if the study declares none."""
        is_lower = None
        if metric in {self.metric, self.compared_in}:
            is_lower = self.lower_is_better is True
        if isinstance(self.lower_is_better, dict):
            is_lower = self.lower_is_better.get(metric, is_lower)
        return 0 if is_lower is None else -1 if is_lower else 1


def check_labels(labels: Sequence[str], comparisons: Iterable[Comparison]) -> None:
    """Check that cells have distinct labels, and that each comparison is of two of them.

    Raises:
        StudyError: if a label is repeated, or a comparison names another cell or one cell twice.
    """
    for label, times in Counter(labels).items():
        if times > 1:
            raise StudyError(f"{times} cells are named {label!r}; rename all but one", "cells")
    for comparison in comparisons:
        for name in (comparison.left, comparison.right):
            label = f"{comparison.group}/{name}"
            if label not in labels:
                raise unknown_cell(label, labels, "comparisons")
        if comparison.left == comparison.right:
            message = f"left and right of a comparison are {comparison.left!r}; change one"
            raise StudyError(message, "comparisons")


def unknown_cell(name: str, labels: Sequence[str], field: str) -> StudyError:
    """The error for a name or glob that is no cell, with the nearest one."""
    if not labels:
        return StudyError(f"no cell is {name!r}, as there is none; add cells", field)
    (nearest,) = difflib.get_close_matches(name, labels, n=1, cutoff=0.0)
    cells = join_names(labels)
    return StudyError(
        f"no cell is {name!r}; did you mean {nearest!r}? the cells are {cells}", field
    )


def storable(text: str, limit: int | None = None) -> str:
    """Escape lone surrogates, which no encoding has, and cut the middle out of a long text.

    A file name that is not UTF-8 has lone surrogates, and so has an exception that names the file.
    The limit is 100 characters or more; None for no limit.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if limit is None else cut_middle(text, limit)


def _storable(value: object) -> object:
    """A copy with `storable` applied to each string, at any depth."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_storable(key): _storable(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in cast("list[object]", value)]
    return value
