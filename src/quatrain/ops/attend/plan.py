"""Which method computes an attention, as a pure function of what is asked.

    method      terms                    why it is exact
    fused       1000, 1010               E3 is a bias on the query of E1
    reference   all                      it is the formula

Every method agrees with the reference in value and gradient; the tests hold them to it.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the terms; which method
serves them is our own.
"""

from dataclasses import dataclass
from typing import Literal

from quatrain.specs import SpecError, Term

Method = Literal["auto", "reference", "fused"]


@dataclass(frozen=True)
class Plan:
    """The chosen method and, in a sentence, why."""

    method: Literal["reference", "fused"]
    why: str


def plan(terms: Term, method: Method = "auto") -> Plan:
    """Choose the method for `terms`, or check the one that the caller forces.

    Raises:
        SpecError: if the forced method does not serve these terms.
    """
    fits_fused = Term.QUERY_KEY in terms and not terms.use_position
    if method == "reference":
        return Plan("reference", "it was asked for")
    if method == "fused" and not fits_fused:
        raise SpecError(
            "method",
            method,
            f'a method that serves the terms "{terms}"',
            'fused serves "1000" and "1010"; use "auto" or "reference"',
        )
    if fits_fused:
        return Plan("fused", "content terms alone are one dot product of biased queries and keys")
    return Plan("reference", "the terms need relative positions, or no content of the query")
