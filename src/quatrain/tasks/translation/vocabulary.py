"""The joint vocabulary: byte-pair encoding of both languages, learnt from the training pairs.

Byte-pair encoding starts from single bytes and merges the commonest neighbours, so that frequent
words become one symbol and rare ones stay in pieces:

    "einundzwanzig Karten"  ->  " ein" "und" "zwanzig" " Karten"

Since every byte is a symbol, nothing is ever unknown, and decoding gives back what was encoded,
save that runs of white space become one space. The first ids are reserved for the marks PAD, BOS
and EOS; no text encodes to them, not even text that spells out a mark.

Source: Sennrich et al. 2016, Neural machine translation of rare words with subword units,
https://arxiv.org/abs/1508.07909, section 3.2.
Differs: the first symbols are the bytes of UTF-8, not the characters of the training text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, model_validator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from quatrain.results import write_atomically
from quatrain.results.reading import read_regular
from quatrain.specs import DataError, Spec, SpecError, StoredFileError
from quatrain.tasks.text import pointer
from quatrain.tasks.translation.corpus import Pair

PAD, BOS, EOS = 0, 1, 2
"""The ids of the marks: padding, beginning of sentence, end of sentence."""

_MARKS = 3
_BYTES = 256
# Learning takes time quadratic in the length of a word, so longer ones are learnt in pieces.
_LONGEST_WORD = 1000
_LARGEST = 2**28
"""Bytes of a vocabulary of some million symbols."""
_REMEDY = "delete the run's folder and run again"


class VocabularySpec(Spec):
    """How many symbols to learn, the marks and the bytes included.

    Example:
        >>> train_vocabulary(corpus.train, VocabularySpec(size=8000)).encode("zwei Hunde")
    """

    size: int = 8000
    """The most symbols; a small training text yields fewer."""

    @model_validator(mode="after")
    def _holds_every_byte(self) -> "VocabularySpec":
        if self.size <= _MARKS + _BYTES:
            raise SpecError(
                "VocabularySpec.size",
                self.size,
                f"more than {_MARKS + _BYTES}, the marks and the bytes",
                "choose some hundred for numerals and some thousand for real text",
            )
        return self


class Vocabulary:
    """Text to ids and back.

    Example:
        >>> vocabulary.decode(vocabulary.encode("zwei  Hunde"))
        'zwei Hunde'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def size(self) -> int:
        """The number of ids, the marks included."""
        return self._tokenizer.get_vocab_size() + _MARKS

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without marks."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without marks.

        Raises:
            DataError: if a text holds a surrogate, which no file in UTF-8 does.
        """
        tidied = [" ".join(text.split()) for text in texts]
        _refuse_surrogates(tidied)
        encodings = self._tokenizer.encode_batch_fast(tidied)
        return [[symbol + _MARKS for symbol in encoding.ids] for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without marks; bytes that form no character become U+FFFD."""
        symbols = [symbol - _MARKS for symbol in ids if symbol >= _MARKS]
        return self._tokenizer.decode(symbols).removeprefix(" ")

    def save(self, path: Path) -> None:
        """Write the vocabulary as the JSON of the tokenizers library, whole or not at all."""
        write_atomically(path, self._tokenizer.to_str(pretty=True))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            StoredFileError: if the file is missing or damaged.
        """
        content = read_regular(path, _REMEDY, _LARGEST)
        if content is None:
            raise _damaged(path, "it is missing")
        found = pointer(content)
        if found:
            raise StoredFileError(
                str(path), found[0], "the vocabulary of a run", f"{found[1]} in its folder"
            )
        try:
            model = _File.model_validate_json(content).model
            settings = json.loads(content)
        except ValueError as error:
            raise _damaged(path, _first_line(error)) from None
        tokenizer = _byte_pairs(models.BPE(model.vocab, model.merges))
        _refuse_other_settings(path, settings, json.loads(tokenizer.to_str()))
        return cls(tokenizer)


class _Model(BaseModel):
    """Ids by symbol, and merges; the tokenizers library panics on some that do not fit."""

    vocab: dict[Annotated[str, Field(min_length=1)], int]
    merges: list[tuple[str, str]]

    @model_validator(mode="after")
    def _is_whole(self) -> "_Model":
        if sorted(self.vocab.values()) != list(range(len(self.vocab))):
            raise ValueError("the ids of the symbols are not 0, 1, 2, ...")
        if not set(pre_tokenizers.ByteLevel.alphabet()) <= self.vocab.keys():
            raise ValueError("some bytes have no symbol")
        for left, right in self.merges:
            if not {left, right, left + right} <= self.vocab.keys():
                raise ValueError(f"the merge of {left} and {right} is of symbols that are missing")
        return self


class _File(BaseModel):
    """What `save` wrote, as far as it differs between vocabularies."""

    model: _Model


def _refuse_other_settings(
    path: Path, stored: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Refuse a file whose text would be split or joined in another way than here.

    A setting that only one of them has belongs to another version of the tokenizers library.
    """
    for name in stored.keys() & expected.keys() - {"version", "vocab", "merges"}:
        ours, theirs = expected[name], stored[name]
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            _refuse_other_settings(path, theirs, ours)
        elif ours != theirs:
            raise _damaged(path, f"{name} is {json.dumps(theirs)[:80]}, not {json.dumps(ours)}")


def _first_line(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _refuse_surrogates(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"text {number}",
                ascii(text[error.start]),
                "text without surrogates",
                "decode its file strictly, as UTF-8",
            ) from None


def _byte_pairs(model: models.BPE) -> Tokenizer:
    """A tokenizer of bytes for this model."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_vocabulary(pairs: Iterable[Pair], spec: VocabularySpec) -> Vocabulary:
    """Learn one vocabulary from both sides of `pairs`; the same pairs give the same vocabulary.

    Words of more than 1000 characters are learnt from in pieces of 1000.

    Raises:
        DataError: if there is no text to learn from, or a text holds a surrogate, which no file
            in UTF-8 does.
    """
    texts = [_tidied(side) for pair in pairs for side in pair]
    if not any(texts):
        raise DataError("vocabulary", "empty", "pairs with text", "give it the training pairs")
    _refuse_surrogates(texts)
    tokenizer = _byte_pairs(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size - _MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return Vocabulary(tokenizer)


def _tidied(text: str) -> str:
    """The words of `text`, the longest in pieces, with one space between."""
    words = text.split()
    if len(text) <= _LONGEST_WORD:
        return " ".join(words)
    return " ".join(
        word[start : start + _LONGEST_WORD]
        for word in words
        for start in range(0, len(word), _LONGEST_WORD)
    )


def _damaged(path: Path, reason: str) -> StoredFileError:
    return StoredFileError(
        "vocabulary file",
        str(path),
        "one that quatrain wrote",
        f"{reason}; {_REMEDY}",
    )
