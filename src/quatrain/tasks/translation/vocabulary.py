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

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import model_validator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from quatrain.results import write_atomically
from quatrain.specs import DataError, Spec, SpecError, StoredFileError
from quatrain.tasks.translation.corpus import Pair

PAD, BOS, EOS = 0, 1, 2
"""The ids of the marks: padding, beginning of sentence, end of sentence."""

_MARKS = 3
_BYTES = 256


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
        """The ids of each text, without marks."""
        encodings = self._tokenizer.encode_batch_fast([" ".join(text.split()) for text in texts])
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
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises nothing narrower
            raise _damaged(path, str(error)) from error
        if not set(pre_tokenizers.ByteLevel.alphabet()) <= tokenizer.get_vocab().keys():
            raise _damaged(path, "some bytes have no symbol")
        return cls(tokenizer)


def train_vocabulary(pairs: Iterable[Pair], spec: VocabularySpec) -> Vocabulary:
    """Learn one vocabulary from both sides of `pairs`; the same pairs give the same vocabulary.

    Raises:
        DataError: if there is no text to learn from.
    """
    texts = [" ".join(side.split()) for pair in pairs for side in pair]
    if not any(texts):
        raise DataError("vocabulary", "empty", "pairs with text", "give it the training pairs")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size - _MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return Vocabulary(tokenizer)


def _damaged(path: Path, reason: str) -> StoredFileError:
    return StoredFileError(
        "vocabulary file",
        str(path),
        "one that quatrain wrote",
        f"{reason}; delete the run's folder and run again",
    )
