"""Questions that extensions of attention answer differently from the four terms.

Two of them are tested on sequences that training did not have: longer ones, and ones whose tokens
have other numbers.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from quatrain.specs import SpecError
from quatrain.tasks.probes.questions import (
    OffsetSpec,
    Question,
    Samples,
    check_distance,
    make_samples,
)

_NONE = 0
"""The value that means that no token has the answer."""
_BLOCK = 4
"""Tokens of a block, within which each token has an address."""


class LongerSpec(Question):
    """The answer at each token is the value of the token with a given name; tests are longer.

        name     c  a  e  f  b  d
        value    7  2  9  4  2  0
        query    b  d  e  c  a  a
        answer   2  0  9  7  2  2

    The content of the query must be compared with that of each key, as in *recall*, also over
    distances that training did not have. E1 compares without regard to them. With rotary positions
    the comparison changes with the distance: planes that turn slowly, as most do with the default
    wavelength, keep its sign. With a short wavelength those that training could use turn around.

    Example:
        >>> LongerSpec(length=8, test_length=64).draw_test(np.random.default_rng(0), 1).answers
    """

    kind: Literal["longer"] = "longer"
    length: int = Field(default=16, ge=2)
    """Tokens of a training sequence."""
    test_length: int = Field(default=128, ge=2)
    """Tokens of a test sequence, and number of different names."""

    @model_validator(mode="after")
    def _check_lengths(self) -> "LongerSpec":
        if self.test_length < self.length:
            text = f"test_length={self.test_length} is below length={self.length}"
            raise SpecError(f"{text}; use the same or more", "LongerSpec.test_length")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, own name, name of the query."""
        return self.values, self.test_length, self.test_length

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` training sequences with their answers."""
        return self._draw(random, number, self.length)

    def draw_test(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` test sequences with their answers."""
        return self._draw(random, number, self.test_length)

    def _draw(self, random: np.random.Generator, number: int, length: int) -> Samples:
        values = random.integers(self.values, size=(number, length))
        order = np.tile(np.arange(self.test_length), (number, 1))
        names = random.permuted(order, axis=1)[:, :length]
        targets = random.integers(length, size=values.shape)
        queries, answers = (np.take_along_axis(x, targets, axis=1) for x in (names, values))
        return make_samples([values, names, queries], answers)


class AbsenceSpec(Question):
    """The answer is the value of the token with a given name, or 0 if there is no such token.

        name     c  a  e  f
        value    7  7  7  7             (all tokens of a sequence have the same value, never 0)
        query    b  a  c  d
        answer   0  7  7  0

    Weights that sum to 1 give the value of the sequence in either case, and the name of some token;
    scores are linear in these, so only a token that is attended to when the name is absent could
    tell. Names are few of many, so that none can be relied on for that. With a null key, E1 can
    leave the weights of all keys near 0, and the readout answers 0. A gate depends on the query
    alone, which does not say what the keys are.

    Example:
        >>> AbsenceSpec(length=3, names=6).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["absence"] = "absence"
    length: int = Field(default=4, ge=2)
    """Tokens of a sequence."""
    names: int = Field(default=32, ge=3)
    """Number of different names."""

    @model_validator(mode="after")
    def _check_names(self) -> "AbsenceSpec":
        if self.names <= self.length:
            text = f"names={self.names} leaves no absent name in sequences of length={self.length}"
            raise SpecError(f"{text}; use more names", "AbsenceSpec.names")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, own name, name of the query."""
        return self.values, self.names, self.names

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        shape = (number, self.length)
        values = np.broadcast_to(random.integers(1, self.values, size=(number, 1)), shape)
        order = random.permuted(np.tile(np.arange(self.names), (number, 1)), axis=1)
        present = random.random(shape) < 0.5
        inside = random.integers(self.length, size=shape)
        outside = random.integers(self.length, self.names, size=shape)
        queries = np.take_along_axis(order, np.where(present, inside, outside), axis=1)
        answers = np.where(present, values, _NONE)
        return make_samples([values, order[:, : self.length], queries], answers)


class ShiftedSpec(Question):
    """The answer at each token is the value at a fixed distance; tokens also carry a number.

        value    7  2  9  4  2  0  5  8
        number   5  6  7  8  9 10 11 12        (consecutive from a random start)
        answer   -  -  -  7  2  9  4  2        (distance = -3)

    Training sequences start in the first half of the numbers, those of the test in the second. E1
    can compare numbers, but only those that it has learned. Relative positions (E2, E4, and E1 with
    rotary positions) are the same in both halves.

    Example:
        >>> ShiftedSpec(length=8).draw_test(np.random.default_rng(0), 1).tokens
    """

    kind: Literal["shifted"] = "shifted"
    distance: int = -3
    """Position of the answer relative to the query, in tokens."""
    numbers: int = Field(default=128, ge=4, multiple_of=2)
    """Number of different numbers."""

    @model_validator(mode="after")
    def _check_sizes(self) -> "ShiftedSpec":
        check_distance(self, "distance", self.length - 1)
        if self.numbers < 2 * self.length:
            text = f"numbers={self.numbers} are too few for two sequences of length={self.length}"
            raise SpecError(f"{text}; use at least {2 * self.length}", "ShiftedSpec.numbers")
        return self

    @property
    def features(self) -> tuple[int, ...]:
        """Value, number."""
        return self.values, self.numbers

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` training sequences with their answers."""
        return self._draw(random, number, 0)

    def draw_test(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` test sequences with their answers."""
        return self._draw(random, number, self.numbers // 2)

    def _draw(self, random: np.random.Generator, number: int, lowest: int) -> Samples:
        question = OffsetSpec(values=self.values, length=self.length, distance=self.distance)
        tokens, answers = question.draw(random, number)
        starts = random.integers(self.numbers // 2 - self.length + 1, size=(number, 1))
        numbers = lowest + starts + np.arange(self.length)
        return make_samples([tokens[..., 0].numpy(), numbers], answers.numpy())


class AddressSpec(Question):
    """The answer at each token is the value of the token whose address it is.

        value    7  2  9  4  2  0  5  8
        address +1 -1 +1 -1 +3  0 -2 -1        (relative to the token that has it)
        answer   2  7  4  9  5  0  8  2

    The weights must select a position by the content of the key. Of the four terms E3 reads the key
    alone and E2 and E4 its position alone; a sum of them prefers some addresses and some positions,
    but not those that fit each other. E1 with rotary positions is a product of query, key and
    relative position: a constant query leaves a function of key and position.

    Example:
        >>> AddressSpec(length=8).draw(np.random.default_rng(0), 1).answers
    """

    kind: Literal["address"] = "address"
    length: int = Field(default=32, ge=_BLOCK, multiple_of=_BLOCK)
    """Tokens of a sequence."""

    @property
    def features(self) -> tuple[int, ...]:
        """Value; address: -3 to 3, numbered from 0."""
        return self.values, 2 * _BLOCK - 1

    def draw(self, random: np.random.Generator, number: int) -> Samples:
        """Draw `number` sequences with their answers, as a function of the state of `random`."""
        values = random.integers(self.values, size=(number, self.length))
        within = np.tile(np.arange(_BLOCK), (number, self.length // _BLOCK, 1))
        places = random.permuted(within, axis=-1).reshape(number, -1)
        addresses = places - np.arange(self.length) % _BLOCK
        answers = np.empty_like(values)
        np.put_along_axis(answers, np.arange(self.length) + addresses, values, axis=1)
        return make_samples([values, addresses + _BLOCK - 1], answers)
