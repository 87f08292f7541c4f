"""Training recipes: optimizer, learning rate schedule, precision and intervals."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from quatrain.specs import Spec, SpecError, Term
from quatrain.specs.errors import shorten
from quatrain.switching import draw_terms


class InverseSqrt(Spec):
    """Linear warm-up to the peak, then the inverse square root of the step.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 3.
    """

    kind: Literal["inverse-sqrt"] = "inverse-sqrt"

    def factor(self, step: int, warmup: int, steps: int) -> float:  # noqa: ARG002
        """The factor on the peak learning rate after the warm-up."""
        return (max(warmup, 1) / step) ** 0.5


class Steps(Spec):
    """Multiply the learning rate by `decay` at each milestone, a fraction of the training.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1 (epochs 8 and 11 of 12).
    """

    kind: Literal["steps"] = "steps"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (8 / 12, 11 / 12)
    decay: float = Field(default=0.1, gt=0)

    def factor(self, step: int, warmup: int, steps: int) -> float:  # noqa: ARG002
        """The factor on the peak learning rate after the warm-up."""
        return self.decay ** sum(step > milestone * steps for milestone in self.milestones)


class Polynomial(Spec):
    """Decay the learning rate to zero as (1 - progress) ** power; linear for a power of 1.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1 (power 0.9).
    """

    kind: Literal["polynomial"] = "polynomial"
    power: float = Field(default=0.9, gt=0)

    def factor(self, step: int, warmup: int, steps: int) -> float:
        """The factor on the peak learning rate after the warm-up."""
        progress = (step - 1 - warmup) / max(steps - warmup, 1)
        return max(1 - progress, 0.0) ** self.power


Fraction = Annotated[float, Field(ge=0, lt=1)]
Schedule = Annotated[InverseSqrt | Steps | Polynomial, Field(discriminator="kind")]


class Recipe(Spec):
    """Hyper-parameters of a training; the defaults are those of the paper's translator."""

    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {"report_every", "monitor_every", "checkpoint_every"}
    )

    steps: int = Field(default=100_000, ge=1)
    """Optimizer steps."""
    optimizer: Literal["adam", "sgd"] = "adam"
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Adam's coefficients of the running averages."""
    epsilon: float = Field(default=1e-9, gt=0)
    """Added by Adam to the root of the second moment."""
    momentum: Fraction = 0.9
    """SGD's momentum."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled for Adam, added to the gradient for SGD."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The peak learning rate, reached at the end of the warm-up."""
    warmup_steps: int = Field(default=4000, ge=0)
    warmup_from: float = Field(default=1e-7, ge=0)
    """The learning rate at the beginning of the warm-up."""
    schedule: Schedule = InverseSqrt()
    clip_norm: float | None = Field(default=None, gt=0)
    """Maximum norm of the gradient of all parameters together; None for no clipping."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are summed into one step, by all processes together."""
    processes: int = Field(default=1, ge=1)
    """Processes of this training, each with a device of its own; a divisor of `accumulate`. Sums
    over processes have another order, and each process has its own dropout: results change."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """The type of autocast; parameters and optimizer state stay in float32."""
    average: Fraction = 0.0
    """Decay of the exponential moving average (EMA) of the weights to evaluate, in a deep copy of
    the objective; 0 for none."""
    terms: Literal["fixed", "sampled", "sandwich"] = "fixed"
    """Which attention terms a step trains: those of the model; or those of `draw_terms`, one set a
    step or three with the mean of their gradients, after which each set is evaluated."""
    terms_at: str | None = None
    """A glob of the modules whose terms are drawn, as in `switch`; None for all attention."""
    report_every: int = Field(default=50, ge=1)
    """Steps between lines of metrics.jsonl."""
    monitor_every: int = Field(default=0, ge=0)
    """Steps between validations; 0 for none."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _check_warmup(self) -> "Recipe":
        if self.warmup_steps >= self.steps:
            raise SpecError(
                f"warmup_steps={self.warmup_steps} is not less than steps={self.steps}; shorten "
                "the warm-up or train longer",
                "Recipe.warmup_steps",
            )
        return self

    @model_validator(mode="after")
    def _check_processes(self) -> "Recipe":
        if self.accumulate % self.processes:
            raise SpecError(
                f"processes={self.processes} does not divide accumulate={self.accumulate}; "
                "accumulate a multiple of it, with smaller batches to keep the size of a step",
                "Recipe.processes",
            )
        return self

    @model_validator(mode="after")
    def _check_terms(self) -> "Recipe":
        if self.terms == "fixed" and self.terms_at is not None:
            raise SpecError(
                f'terms_at={shorten(self.terms_at)} has no effect if terms="fixed"; leave it out, '
                'or set terms="sampled"',
                "Recipe.terms_at",
            )
        return self

    def term_sets(self, seed: int, step: int) -> tuple[Term | None, ...]:
        """The term sets of an optimizer step, counted from 1; None for those of the model."""
        return (None,) if self.terms == "fixed" else draw_terms(seed, step, self.terms)

    def rate(self, step: int) -> float:
        """The learning rate of an optimizer step, counted from 1."""
        if step <= self.warmup_steps:
            rise = step / self.warmup_steps
            return self.warmup_from + rise * (self.learning_rate - self.warmup_from)
        return self.learning_rate * self.schedule.factor(step, self.warmup_steps, self.steps)
