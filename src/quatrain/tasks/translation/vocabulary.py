"""Joint vocabulary of both languages: byte-pair encoding trained on the training pairs.

Byte-pair encoding starts from single bytes and merges the most frequent neighbours, so that
frequent words become one token and rare ones remain in pieces:

    "einundzwanzig Karten"  ->  " ein" "und" "zwanzig" " Karten"

Every byte is a token, so no text is unknown, and decoding restores the text, except that runs of
white space become one space. The first ids are the special tokens PAD, BOS and EOS; no text encodes
to them, not even text that spells out a special token.

Source: Sennrich et al. 2016, Neural machine translation of rare words with subword units,
https://arxiv.org/abs/1508.07909, section 3.2.
Differs: the initial tokens are the bytes of UTF-8, not the characters of the training text.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from quatrain.results import write_atomically
from quatrain.results.files import read_regular
from quatrain.specs import DataError, Spec, StoredFileError
from quatrain.specs.errors import shorten
from quatrain.tasks.text import pointer_kind
from quatrain.tasks.translation.parallel_text import Pair

PAD, BOS, EOS = 0, 1, 2
"""Ids of the special tokens: padding, beginning of sentence, end of sentence."""

_SPECIAL = 3
_BYTES = 256
# Training takes time quadratic in the length of a word, so longer ones are split.
_LONGEST_WORD = 1000
_LARGEST = 2**28
"""Most bytes of a vocabulary file: some million tokens."""
_REMEDY = "delete the run's folder and run again"


class VocabularySpec(Spec):
    """Size of the vocabulary.

    Example:
        >>> train_vocabulary(corpus.train, VocabularySpec(size=8000)).encode("zwei Hunde")
    """

    size: int = Field(default=8000, gt=_SPECIAL + _BYTES)
    """Maximum number of tokens, including 3 special tokens and 256 bytes; small texts yield
    fewer. Some hundred are enough for numerals, real text needs some thousand."""


class Vocabulary:
    """Encodes text to token ids and decodes them.

    Example:
        >>> vocabulary.decode(vocabulary.encode("zwei  Hunde"))
        'zwei Hunde'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def size(self) -> int:
        """The number of ids, including special tokens."""
        return self._tokenizer.get_vocab_size() + _SPECIAL

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens.

        Raises:
            DataError: if a text has a surrogate, which files in UTF-8 cannot have.
        """
        normalized = [" ".join(text.split()) for text in texts]
        _check_no_surrogates(normalized)
        encodings = self._tokenizer.encode_batch_fast(normalized)
        return [[token + _SPECIAL for token in encoding.ids] for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens; invalid UTF-8 becomes U+FFFD."""
        tokens = [token - _SPECIAL for token in ids if token >= _SPECIAL]
        return self._tokenizer.decode(tokens).removeprefix(" ")

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON of the tokenizers library, atomically."""
        write_atomically(path, self._tokenizer.to_str(pretty=True))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read the tokens and merges that `save` wrote; the other settings are always the same.

        Raises:
            StoredFileError: if the file is missing or damaged.
        """
        content = read_regular(path, _REMEDY, _LARGEST)
        if content is None:
            raise StoredFileError(f"{path} is missing; {_REMEDY}", str(path))
        pointer = pointer_kind(content)
        if pointer:
            raise StoredFileError(f"{path} is {pointer[0]}; {pointer[1]} in its folder", str(path))
        try:
            return cls(_read_tokenizer(content))
        except Exception as error:  # the tokenizers library has no class of its own
            reason = shorten(str(error))
            raise StoredFileError(f"{path} is damaged ({reason}); {_REMEDY}", str(path)) from error


def _read_tokenizer(content: bytes) -> Tokenizer:
    model = json.loads(content)["model"]
    vocabulary, merges = model["vocab"], [(left, right) for left, right in model["merges"]]
    if not all(vocabulary.keys() >= {left, right, left + right} for left, right in merges):
        raise ValueError("a merge has or gives no token")
    tokenizer = _byte_pair_tokenizer(models.BPE(vocabulary, merges))
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError("the ids of the tokens are not 0, 1, 2, ...")
    if not set(pre_tokenizers.ByteLevel.alphabet()) <= vocabulary.keys():
        raise ValueError("some bytes have no token")
    return tokenizer


def _check_no_surrogates(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"text {number} has the surrogate {text[error.start]!a}; decode its file "
                "strictly, as UTF-8",
                f"text {number}",
            ) from None


def _byte_pair_tokenizer(model: models.BPE) -> Tokenizer:
    """A byte-level tokenizer with this model."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_vocabulary(pairs: Iterable[Pair], spec: VocabularySpec) -> Vocabulary:
    """Train a vocabulary on both sides of `pairs`; deterministic.

    Words of more than 1000 characters are split into pieces of 1000.

    Raises:
        DataError: if there is no text, or a text has a surrogate, which files in UTF-8 cannot have.
    """
    texts = [_normalize(side) for pair in pairs for side in pair]
    if not any(texts):
        raise DataError("a vocabulary needs text; pass the training pairs", "vocabulary")
    _check_no_surrogates(texts)
    tokenizer = _byte_pair_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size - _SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return Vocabulary(tokenizer)


def _normalize(text: str) -> str:
    """The words of `text`, long ones in pieces, with one space between."""
    words = text.split()
    if len(text) <= _LONGEST_WORD:
        return " ".join(words)
    return " ".join(
        word[start : start + _LONGEST_WORD]
        for word in words
        for start in range(0, len(word), _LONGEST_WORD)
    )
