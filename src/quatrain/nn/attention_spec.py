"""The hyper-parameters of attention: terms, window, and extensions by later papers.

    AttentionSpec(terms="1011", rotary="axial", gate=True).notation      # "1011 rope gate"

An extension changes what the term E1 reads, how the term E4 is given, or the attended values, or
adds a key; each fits every set of terms that it has an effect on.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from quatrain.nn.checks import Count, WindowWidth
from quatrain.nn.mixer_module import MixerSpec
from quatrain.specs import Spec, SpecError, Term, Terms
from quatrain.specs.notation import extensions_of, mixer_text

if TYPE_CHECKING:
    from quatrain.nn.generalized_attention import GeneralizedAttention  # noqa: F401 - in a string


T5_BUCKETS = 32
"""Half of them in each direction; half of these have one distance."""


class AttentionSpec(Spec, MixerSpec["GeneralizedAttention"]):
    """Transformer attention over chosen terms.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """

    kind: Literal["attention"] = "attention"
    terms: Terms = Term.parse("1111")
    """Which of the four terms are on; "0000" is uniform weights, not a missing module."""
    heads: Count = 8
    """Heads M; they must divide the channels."""
    window: WindowWidth | None = None
    """Odd width of the window of keys around a query, per axis, in queries; None for all keys."""
    key_stride: Count = 1
    """Stride of the keys, per axis (plain subsampling); 1 keeps all."""
    scaled: bool | None = None
    """Divide logits by the root of the head width; None for yes on sequences, no on maps."""
    wavelength: float | None = Field(default=None, gt=1)
    """Base of the encoding's wavelengths; None for 10000 on sequences, 1000 on maps."""
    rotary: Literal["axial", "mixed"] | None = None
    """Rotate the queries and keys of E1 by their positions: by fixed frequencies of each axis, or
    by learned ones of each head; None for no rotation."""
    rotary_wavelength: float | None = Field(default=None, gt=1)
    """Base of the wavelengths of rotation; None for 10000 on sequences, 100 on maps."""
    qk_norm: bool = False
    """Normalize the queries and keys of E1 in each head."""
    gate: bool = False
    """Multiply the attended values by a sigmoid of the query's content, channel by channel."""
    null_key: bool = False
    """Let each query attend to nothing: a further key of logit 0 and value zero."""

    position: Literal["table", "t5", "alibi", "swin", "cpb"] | None = None
    """Numbers for each head and relative position that give E4: a learned table per axis, T5's
    buckets per axis, ALiBi's fixed slopes, Swin's table of rows and columns jointly, or the network
    of Swin V2; None for v and encodings. E2 reads encodings in any case."""
    max_distance: Count | None = None
    """The distance, per axis, from which on a table ("table", "swin") has one number, at which
    T5's last bucket begins, or which "cpb" scales to 8. None for the largest distance in the window
    (on a sequence in that of a causal call); without a window, and with "t5", for 128, or for 31
    with "swin" and "cpb" on maps."""

    divisors: ClassVar[tuple[str, ...]] = ("heads",)

    @property
    def reads_query(self) -> bool:
        """Whether the output depends on the content of the query."""
        return self.terms.use_query or self.gate

    @property
    def reads_encodings(self) -> bool:
        """Whether a term is a product with encodings of relative positions."""
        terms = self.terms if self.position is None else self.terms & ~Term.POSITION
        return terms.use_position

    @property
    def shares_keys(self) -> bool:
        """Whether E1 and E3 are products with the same keys."""
        return self.rotary is None and not self.qk_norm

    def table_on(self, ndim: int) -> Literal["axial", "joint"] | None:
        """Whether E4 is a table for each axis, or one for both axes; None for encodings."""
        if self.position is None:
            return None
        return "joint" if ndim == 2 and self.position in ("swin", "cpb") else "axial"

    @property
    def extensions(self) -> tuple[str, ...]:
        """The words of the notation for what is on besides the terms, such as ("rope", "gate")."""
        return extensions_of(self.model_dump(mode="json"))

    @property
    def notation(self) -> str:
        """The terms, the window and the extensions, which `parse_mixer` reads.

        Example:
            >>> AttentionSpec(terms="1011", window=31, rotary="axial", gate=True).notation
            '1011@31 rope gate'
        """
        return mixer_text(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _check_extensions(self) -> "AttentionSpec":
        for field, word in (("rotary", "rope"), ("qk_norm", "qknorm")):
            if getattr(self, field) and not self.terms.has(Term.QUERY_KEY):
                raise SpecError(
                    f'"{word}" ({field}={getattr(self, field)!r}) changes E1, which the terms '
                    f'"{self.terms}" lack; turn E1 on or leave it out',
                    field,
                )
        if self.rotary_wavelength is not None and self.rotary is None:
            text = f"rotary_wavelength={self.rotary_wavelength} has no effect without rotary"
            raise SpecError(f'{text}; set rotary="axial" or leave it out', "rotary_wavelength")
        return self

    @model_validator(mode="after")
    def _check_position(self) -> "AttentionSpec":
        if self.position is not None and not self.terms.has(Term.POSITION):
            raise SpecError(
                f'position="{self.position}" gives E4, which the terms "{self.terms}" lack; '
                "turn E4 on or leave it out",
                "position",
            )
        if self.max_distance is None:
            return self
        if self.position in (None, "alibi"):
            text = f"max_distance={self.max_distance} has no effect with position={self.position!r}"
            raise SpecError(f'{text}; set position="table" or leave it out', "max_distance")
        exact = T5_BUCKETS // 4
        if self.position == "t5" and self.max_distance <= exact:
            text = f"max_distance={self.max_distance} is among the {exact} distances"
            remedy = f"use {exact + 1} or more"
            raise SpecError(f"{text} that T5 does not share; {remedy}", "max_distance")
        return self

    def check_channels(self, channels: int, ndim: int) -> None:
        """Check the channels and the number of axes that a module of this spec would have.

        Raises:
            SpecError: if heads do not divide the channels, or position encodings do not fit them.
        """
        super().check_channels(channels, ndim)
        if self.reads_encodings and channels % (2 * ndim):
            text = f"channels={channels} is no multiple of {2 * ndim}"
            remedy = "change the channels or turn the position terms (E2, E4) off"
            raise SpecError(f"{text}, for sines and cosines on {ndim} axes; {remedy}", "channels")
        if self.rotary and channels // self.heads % (2 * ndim):
            text = f"channels={channels} in heads={self.heads} are {channels // self.heads} each"
            remedy = f"use a multiple of {2 * ndim} in each head, or leave out rotary"
            raise SpecError(f"{text}, which cannot be rotated on {ndim} axes; {remedy}", "channels")
