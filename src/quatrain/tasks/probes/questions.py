"""The questions of the five probes of terms: sequences of tokens with features, and their answers.

A token is a tuple of small integers, one for each feature; the network adds the embeddings of the
features. Positions are not encoded in the data: values are drawn independently from one
distribution for all positions, and the distance to the answer does not depend on the position.

Shapes: n sequences, t tokens, f features.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from pydantic import Field, model_validator
from torch import Tensor

from quatrain.specs import InputError, Spec, SpecError

IGNORE_INDEX = -1
"""The answer at tokens without a question, which loss and accuracy ignore."""

_GROUP = 3
"""Tokens of a group of the locality probe."""


class Samples(NamedTuple):
    """Sequences, and the answer at each token or IGNORE_INDEX."""

    tokens: Int64[Tensor, "n t f"]
    answers: Int64[Tensor, "n t"]


class Question(Spec):
    """Base class of the probes."""

    values: int = Field(default=32, ge=2)
    """Number of different values: a random guess is correct with probability 1 / values."""
    length: int = Field(default=32, ge=2)
    """Tokens of a sequence."""

    @property
    def features(self) -> tuple[int, ...]:
        """Number of different integers of each feature of a token; the value is the first."""
        raise NotImplementedError

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        raise NotImplementedError

    def draw_test(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` test sequences; by default they are like those of training."""
        return self.draw(random, number)


class LocalitySpec(Question):
    """The answer at every third token is the value of both its neighbors.

        value    7  2  7  4  0  4  5  5  5
        answer   -  7  -  -  4  -  -  5  -

    It suffices to weight near tokens above far ones: any convolution, E2 and E4, even uniform
    weights in a small window. Without positions a network sees a bag, in which the answer is one of
    many values; the token's own value is independent of the answer.

    Example:
        >>> LocalitySpec(length=9).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["locality"] = "locality"
    length: int = Field(default=48, ge=_GROUP, multiple_of=_GROUP)
    """Tokens of a sequence."""

    @property
    def features(self) -> tuple[int, ...]:
        """Value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        shape = (number, self.length // _GROUP)
        neighbors, middle = random.integers(self.values, size=(2, *shape))
        values = np.stack([neighbors, middle, neighbors], axis=-1)
        answers = np.full_like(values, IGNORE_INDEX)
        answers[..., 1] = neighbors
        return make_samples([values.reshape(number, -1)], answers.reshape(number, -1))


class OffsetSpec(Question):
    """The answer at each token is the value at a fixed distance.

        value    7  2  9  4  2  0  5  8
        answer   -  -  -  7  2  9  4  2        (distance = -3)

    The distance is the same for all tokens, so E4 can answer, and E2 by a constant component of the
    query; a convolution whose window reaches so far can, and a deformable one. Without positions a
    network sees a bag: the best answer is the most common value.

    Example:
        >>> OffsetSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["offset"] = "offset"
    distance: int = -3
    """Position of the answer relative to the query, in tokens."""

    @model_validator(mode="after")
    def _check_distance(self) -> "OffsetSpec":
        check_distance(self, "distance", self.length - 1)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value."""
        return (self.values,)

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        positions = np.arange(self.length) + self.distance
        return make_samples([values], _values_at(positions[None], values))


class PointerSpec(Question):
    """The answer at each token is the value at the distance of its pointer.

        value    7  2  9  4  2  0  5  8
        pointer +2 +1 -2 +4 -1 -3 +1 -4
        answer   9  9  7  8  4  9  8  4        (reach = 4; no question if the pointer leads outside)

    The weights must depend on the query and select a position: E2, a dynamic convolution within its
    window, a deformable one that displaces its taps. If the weights do not depend on the query (E3,
    E4, regular and lightweight convolution), the score of every class is a sum over tokens of
    functions of each token alone, and pointer and value are in different tokens. Such a mechanism
    can only use one distance for all tokens, which is correct once in 2 * reach times. E1 sees the
    pointer, but no distance.

    Example:
        >>> PointerSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["pointer"] = "pointer"
    reach: int = Field(default=4, ge=1)
    """Largest distance of a pointer, before and after its token; never 0."""

    @model_validator(mode="after")
    def _check_reach(self) -> "PointerSpec":
        check_distance(self, "reach", self.length - 1)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value; pointer: -reach .. -1 and 1 .. reach, numbered from 0."""
        return self.values, 2 * self.reach

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        pointers = random.integers(2 * self.reach, size=values.shape)
        distances = pointers - self.reach + (pointers >= self.reach)
        positions = np.arange(self.length) + distances
        return make_samples([values, pointers], _values_at(positions, values))


class RecallSpec(Question):
    """The answer at each token is the value of the token with a given name.

        name     c  a  e  f  b  d
        value    7  2  9  4  2  0
        query    b  d  d  c  a  a              (far = 3: the named token is at least 3 away)
        answer   2  0  0  7  2  2

    The content of the query must be compared with that of each key, which only E1 does. Names are
    at random positions, so positions do not help, and E3 gives the same weights to all queries. A
    gate and a window could bind name and value of near tokens, so the named token is outside of the
    window.

    Example:
        >>> RecallSpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["recall"] = "recall"
    far: int = Field(default=5, ge=1)
    """Smallest distance between a token and the one with its answer."""

    @model_validator(mode="after")
    def _check_far(self) -> "RecallSpec":
        check_distance(self, "far", self.length // 2)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, own name, name of the query."""
        return self.values, self.length, self.length

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        shape = (number, self.length)
        values = random.integers(self.values, size=shape)
        names = random.permuted(np.tile(np.arange(self.length), (number, 1)), axis=1)
        positions = np.arange(self.length)
        allowed = np.abs(positions[:, None] - positions) >= self.far
        targets = np.where(allowed, random.random((*shape, self.length)), -1.0).argmax(-1)
        queries = np.take_along_axis(names, targets, axis=1)
        answers = np.take_along_axis(values, targets, axis=1)
        return make_samples([values, names, queries], answers)


class SaliencySpec(Question):
    """The answer at each token is the value of the marked token.

        value    7  2  9  4  2  0  5  8
        mark     .  .  .  .  .  *  .  .
        answer   0  0  0  -  -  -  -  -        (far = 3: nearer tokens have no question)

    The weights depend on the content of the keys alone: E3. E1 can answer too, because a constant
    component of the query makes its logits those of E3; so can every term set with either. The
    embeddings of value and mark are added, so nothing that is linear in the content can bind them:
    a mean, or weights by position (E2, E4), gives the sum of all values and the sum of all marks.
    Only tokens outside of a convolution's window have a question, so a gate before it does not
    help. The mark is never near the ends: attention over a convolution could learn the position
    from which one tap sees the mark, and that position must exist for every mark.

    Example:
        >>> SaliencySpec(length=8, far=3).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["saliency"] = "saliency"
    far: int = Field(default=5, ge=1)
    """Smallest distance between the marked token and one with a question."""

    @model_validator(mode="after")
    def _check_far(self) -> "SaliencySpec":
        check_distance(self, "far", self.length // 2)
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, mark (0 or 1)."""
        return self.values, 2

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        margin = self.far - 1
        marks = random.integers(margin, self.length - margin, size=(number, 1))
        positions = np.arange(self.length)
        answers = np.take_along_axis(values, marks, axis=1)
        far = np.abs(positions - marks) >= self.far
        return make_samples([values, positions == marks], np.where(far, answers, IGNORE_INDEX))


def _values_at(positions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values at these positions of their rows, or IGNORE_INDEX outside of the sequence."""
    length = values.shape[1]
    inside = (positions >= 0) & (positions < length)
    nearest = np.broadcast_to(positions.clip(0, length - 1), values.shape)
    return np.where(inside, np.take_along_axis(values, nearest, axis=1), IGNORE_INDEX)


def make_samples(features: Sequence[np.ndarray], answers: np.ndarray) -> Samples:
    """Samples from the features of each token and the answers."""
    tokens = np.stack(features, axis=-1).astype(np.int64)
    return Samples(torch.from_numpy(tokens), torch.from_numpy(answers.astype(np.int64)))


def check_distance(question: Question, name: str, largest: int) -> None:
    """Check that a sequence is long enough for the distance of this name."""
    distance = getattr(question, name)
    if abs(distance) > largest:
        raise SpecError(
            f"{name}={distance} is beyond {largest} in sequences of length={question.length}; use "
            "less, or lengthen the sequences",
            f"{type(question).__name__}.{name}",
        )


def validate(samples: Samples, values: int) -> Samples:
    """Samples as int64, from any signed integer type."""
    for name, tensor in samples._asdict().items():
        if tensor.is_floating_point() or tensor.is_complex() or not tensor.dtype.is_signed:
            raise InputError(
                f"{name} are of {tensor.dtype}; use a signed integer type, such as torch.int64, as "
                f"{IGNORE_INDEX} marks tokens without a question",
                name,
            )
    tokens, answers = samples.tokens.long(), samples.answers.long()
    if answers.shape != tokens.shape[:-1]:
        raise InputError(
            f"answers have shape {tuple(answers.shape)}, tokens {tuple(tokens.shape)}; give each "
            f"token an answer or {IGNORE_INDEX}",
            "answers",
        )
    if ((answers < IGNORE_INDEX) | (answers >= values)).any():
        raise InputError(
            f"answers are {int(answers.min())} to {int(answers.max())}; use 0 to {values - 1}, or "
            f"{IGNORE_INDEX} at tokens without a question",
            "answers",
        )
    return Samples(tokens, answers)


def most_common(values: Int64[Tensor, "n t"], number: int) -> Int64[Tensor, " n"]:
    """The most common of `number` values in each sequence."""
    return torch.nn.functional.one_hot(values, number).sum(1).argmax(-1)
