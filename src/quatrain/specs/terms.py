"""The four terms of Transformer attention, as a flag.

                          with key content      with relative position
    query content         QUERY_KEY (E1)        QUERY_POSITION (E2)
    learned vector        KEY (E3)              POSITION (E4)

A term set is written as four digits in the order E1 E2 E3 E4: "0110" is E2 + E3.
"""

import enum
import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from quatrain.specs.errors import SpecError, shorten


class Term(enum.Flag):
    """A set of attention terms; combine members with `|`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 3.1 and equation 8.

    Example:
        >>> str(Term.QUERY_POSITION | Term.KEY), Term.parse("0110").name
        ('0110', 'QUERY_POSITION|KEY')
    """

    QUERY_KEY = enum.auto()
    QUERY_POSITION = enum.auto()
    KEY = enum.auto()
    POSITION = enum.auto()

    @classmethod
    def parse(cls, text: str) -> "Term":
        """Read four binary digits, in the order E1 E2 E3 E4.

        Raises:
            SpecError: if `text` is not four digits of 0 and 1.
        """
        if not re.fullmatch("[01]{4}", text):
            raise SpecError(
                f"terms={shorten(text)} is not four digits of 0 and 1, for E1 E2 E3 E4; "
                'for example, "0110" is query-position (E2) and key (E3)',
                "terms",
            )
        terms = cls(0)
        for digit, term in zip(text, cls, strict=True):
            if digit == "1":
                terms |= term
        return terms

    def has(self, term: "Term") -> bool:
        """Whether a term is on; torch 2.11 cannot compile the equivalent `term in self`."""
        return bool(self._value_ & term._value_)  # `self & term` creates a flag: 20 times slower

    def __str__(self) -> str:
        return "".join("1" if term in self else "0" for term in Term)

    @property
    def use_content(self) -> bool:
        """Whether the weights depend on the content of keys (E1 or E3)."""
        return self.has(Term.QUERY_KEY) or self.has(Term.KEY)

    @property
    def use_position(self) -> bool:
        """Whether the weights depend on the relative position of keys (E2 or E4)."""
        return self.has(Term.QUERY_POSITION) or self.has(Term.POSITION)

    @property
    def use_query(self) -> bool:
        """Whether the weights depend on the content of the query (E1 or E2)."""
        return self.has(Term.QUERY_KEY) or self.has(Term.QUERY_POSITION)


def _parse_text(value: object) -> object:
    return Term.parse(value) if isinstance(value, str) else value


Terms = Annotated[Term, BeforeValidator(_parse_text), PlainSerializer(str, return_type=str)]
"""Type of spec fields that are a term set; also accepts a text, and is "0110" in JSON."""

ALL_TERM_SETS: tuple[Term, ...] = tuple(Term.parse(f"{bits:04b}") for bits in range(16))
"""The 16 term sets, from 0000 (uniform weights) to 1111."""
