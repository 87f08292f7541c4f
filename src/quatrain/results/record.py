"""What a study leaves behind, as frozen models that are stored as JSON.

A `Record` is one finished run: the resolved spec, the seed, what was measured, and all that is
needed to say which runs may be averaged. Numbers are finite: a NaN is a failure, not a result.
"""

import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from quatrain.specs import StudyError

Identity = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
"""Hexadecimal digits of `quatrain.specs.identity`; it names a folder, so nothing else may pass."""


class StoredModel(BaseModel):
    """The base of everything stored as JSON: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    format: Literal[1] = 1

    if not TYPE_CHECKING:  # the checker synthesises a precise signature for each subclass

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _first_problem(type(self), error) from None

    def to_json(self) -> str:
        """All fields as indented JSON with a newline at the end."""
        return self.model_dump_json(indent=2) + "\n"


class Sitting(StoredModel):
    """Where a part of a run took place."""

    versions: dict[str, str]
    device: str
    threads: int
    commit: str | None
    """The revision of the repository that holds the study file, or None outside one."""


class Record(StoredModel):
    """One finished run; versions, device, threads and commit are those of its last sitting."""

    cell: str
    identity: Identity
    seed: int
    spec: dict[str, Any]
    """The resolved spec, defaults written out."""
    spec_name: str
    metrics: dict[str, FiniteFloat]
    signatures: dict[str, str]
    """How each metric was computed, for example sacreBLEU's signature."""
    cost: dict[str, FiniteFloat]
    """`parameters`, `multiply_adds` and `multiply_adds_closed_form` of the model."""
    versions: dict[str, str]
    device: str
    threads: int
    commit: str | None
    earlier: tuple[Sitting, ...] | None = None
    """Earlier sittings elsewhere: on another device or commit, with other threads or versions; None
    where nobody took note."""
    data: dict[str, str]
    """SHA-256 of each data file, by its name; of a folder of images, of their fingerprints."""
    data_notes: dict[str, int] | None = None
    """What of the data was left out or changed, and how often; None where nobody took note."""
    artifacts: tuple[str, ...]
    """Names of files in the run folder that belong to the result."""
    steps: int
    seconds: FiniteFloat
    """Wall seconds of training, all sittings together."""


class Measurement(StoredModel):
    """Latency and peak memory of a run's model, taken afterwards on an idle machine."""

    median_seconds: FiniteFloat
    spread_seconds: FiniteFloat
    rounds: int
    peak_bytes: int
    device: str
    threads: int
    versions: dict[str, str]


class Failure(StoredModel):
    """Why a run stopped before its end."""

    reason: Literal["error", "non-finite loss", "out of memory", "killed"]
    message: str
    traceback: str
    step: int
    """The last step that was finished; 0 before the first."""


class Expectation(StoredModel):
    """Where a cell's headline metric must lie, as the study file says, and why."""

    low: FiniteFloat | None = None
    """The least, or None for no bound."""
    high: FiniteFloat | None = None
    """The most, or None for no bound."""
    because: str

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.low is None and self.high is None:
            raise StudyError("Expectation", "without bounds", "low, high or both", "give one")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise StudyError(
                "Expectation.low", self.low, f"at most high, {self.high}", "exchange them"
            )
        if not self.because.strip():
            raise StudyError(
                "Expectation.because", self.because, "a reason", "say why the cell must come so"
            )
        return self

    @property
    def bounds(self) -> str:
        """The bounds as people write them.

        Example:
            >>> Expectation(low=95, because="it has the term").bounds
            '≥ 95'
        """
        if self.low is None or self.high is None:
            return f"≤ {self.high:g}" if self.low is None else f"≥ {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def met_by(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)


class ManifestCell(StoredModel):
    """A cell as the study wanted it: its name, its group, and the identity of each seed's run."""

    name: str
    group: str
    spec_name: str
    identities: dict[int, Identity]
    expected: Expectation | None = None


class ManifestComparison(StoredModel):
    """A difference the study asked for: `left` minus `right`, two cells of one group."""

    left: str
    right: str
    group: str
    published: FiniteFloat | None = None
    """What others found for it, in their own setting."""


class Manifest(StoredModel):
    """What a study wanted when it was last run."""

    title: str
    question: str
    metric: str
    """The headline metric; higher is better."""
    cells: tuple[ManifestCell, ...]
    comparisons: tuple[ManifestComparison, ...] = ()
    compared_in: str | None = None
    """The metric of the differences, where it is not the headline metric."""

    @model_validator(mode="after")
    def _name_each_cell_once(self) -> Self:
        names = Counter((cell.group, cell.name) for cell in self.cells)
        for (group, name), times in names.items():
            if times > 1:
                raise StudyError(
                    "cell", name, f'a name used once in group "{group}"', "rename one of the cells"
                )
        for comparison in self.comparisons:
            for side in (comparison.left, comparison.right):
                if (comparison.group, side) not in names:
                    known = ", ".join(name for group, name in names if group == comparison.group)
                    expected = f'a cell of group "{comparison.group}" ({known or "it has none"})'
                    raise StudyError("comparison", side, expected, "mend the comparison")
        return self


def _first_problem(owner: type[StoredModel], error: ValidationError) -> StudyError:
    problem = error.errors()[0]
    field = ".".join([owner.__name__, *(str(part) for part in problem["loc"])])
    value = problem["input"]
    if isinstance(value, float) and not math.isfinite(value):
        return StudyError(field, value, "a finite number", "see why the run produced it")
    shown = "missing" if problem["type"] == "missing" else value
    message = problem["msg"]
    return StudyError(field, shown, message[:1].lower() + message[1:], "mend this field")
