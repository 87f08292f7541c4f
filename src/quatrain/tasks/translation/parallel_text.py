"""Sentence pairs from parallel text: line N of one file translates line N of the other.

    train.en    A man is cooking.         train.de    Ein Mann kocht.
                Two dogs run.                         Zwei Hunde rennen.

A part of the data is named by the stem of its files ("train"). The training part may have several
stems, which are read in order, as that of WMT14. Only line feeds end lines: text from the web has
other line separators of Unicode within sentences, and splitting there would misalign the files.
"""

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from quatrain.specs import DataError, Spec, SpecError
from quatrain.tasks.text import data_folder, decode_text, read_bytes, split_lines

Pair = tuple[str, str]
"""A source sentence and its translation."""


@dataclass(frozen=True)
class LineNumbers:
    """Files and lines of the training pairs, for error messages.

    `files` are the (source, target) files in the order of reading, `ends` the running totals of
    their numbers of lines. `numbers` are the lines of the pairs in that order, counted from 0 over
    all files; lines that were left out have no pair.
    """

    files: tuple[tuple[str, str], ...]
    ends: tuple[int, ...]
    numbers: Sequence[int]

    def location(self, pair: int, side: int) -> str:
        """File and line of one side of a pair, such as "train.de:12"."""
        number = self.numbers[pair]
        part = bisect_right(self.ends, number)
        start = self.ends[part - 1] if part else 0
        return f"{self.files[part][side]}:{number - start + 1}"


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs with the hashes of their sources.

    `hashes` maps the name of a file to the SHA-256 of its bytes; generated data have one entry, the
    SHA-256 of their text. `dropped` is the number of training pairs left out as the spec says.
    `lines` locates the others in their files; None for generated data.
    """

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]
    languages: tuple[str, str]
    hashes: dict[str, str]
    dropped: int = 0
    lines: LineNumbers | None = None

    def location(self, pair: int, side: int) -> str:
        """File and line of one side (0 source, 1 target) of a training pair, or its number."""
        return self.lines.location(pair, side) if self.lines else f"training pair {pair + 1}"


class ParallelTextSpec(Spec):
    """Names of the files of the training, validation and test pairs in a folder.

    Example:
        >>> ParallelTextSpec(source="de", target="en", limit=1000).read(Path("multi30k"))
    """

    kind: Literal["parallel text"] = "parallel text"
    source: str = "en"
    """Source language: the suffix of its files."""
    target: str = "de"
    """Target language: the suffix of its files; it determines BLEU's tokenizer."""
    train: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Stems of the training files, read in this order."""
    valid: str = "valid"
    test: str = "test"
    limit: int | None = Field(default=None, ge=1)
    """Use only this many training pairs, the first ones; None for all."""
    longest: int = Field(default=256, ge=1)
    """Leave out training pairs with more words than this on either side. Validation and test pairs
    are never left out. Words are separated by spaces, so a line of Chinese or Thai counts as few;
    `TranslationSpec.batch_tokens` limits these."""
    drop_empty: bool = False
    """Leave out training pairs with an empty side; otherwise they are an error."""

    @model_validator(mode="after")
    def _check_languages(self) -> "ParallelTextSpec":
        if self.source == self.target:
            raise SpecError(
                f"source and target are both {self.target!r}; use the suffixes of the two files, "
                "such as en and de",
                "ParallelTextSpec.target",
            )
        return self

    def read(self, folder: Path | None) -> Corpus:
        """Read the files from `folder`.

        Raises:
            DataError: if there is no folder, a file is missing, empty, not UTF-8 or a Git LFS
                pointer, two files differ in their number of lines, or a line is empty.
        """
        folder = data_folder(folder, "parallel text")
        hashes: dict[str, str] = {}
        train: list[Pair] = []
        ends: list[int] = []
        for stem in self.train:
            train += self._read_part(folder, stem, hashes, drop_empty=self.drop_empty)
            ends.append(len(train))
        fitting = array("q", (number for number, pair in enumerate(train) if self._fits(pair)))
        numbers = fitting[: self.limit]
        corpus = Corpus(
            train=[train[number] for number in numbers],
            valid=self._read_part(folder, self.valid, hashes, drop_empty=False),
            test=self._read_part(folder, self.test, hashes, drop_empty=False),
            languages=(self.source, self.target),
            hashes=hashes,
            dropped=len(train) - len(fitting),
            lines=LineNumbers(tuple(map(self._names, self.train)), tuple(ends), numbers),
        )
        if not corpus.train:
            raise DataError(
                f"none of the {len(train)} training pairs has at most longest={self.longest} words "
                "on both sides; raise longest or use other files",
                "training pairs",
            )
        return corpus

    def _fits(self, pair: Pair) -> bool:
        # Texts shorter than this cannot have too many words, and counting words is slow.
        short = 2 * self.longest
        return all(
            side.strip() and (len(side) < short or len(side.split()) <= self.longest)
            for side in pair
        )

    def _names(self, stem: str) -> tuple[str, str]:
        return f"{stem}.{self.source}", f"{stem}.{self.target}"

    def _read_part(
        self, folder: Path, stem: str, hashes: dict[str, str], *, drop_empty: bool
    ) -> list[Pair]:
        sides: list[list[str]] = []
        names = self._names(stem)
        for name in names:
            content = read_bytes(folder / name)
            hashes[name] = hashlib.sha256(content).hexdigest()
            text = decode_text(content, name)
            if not text.strip():
                raise DataError(f"{name} is empty; use a file with text", name)
            sides.append(split_lines(text))
        if len(sides[0]) != len(sides[1]):
            raise DataError(
                f"{names[0]} has {len(sides[0])} lines and {names[1]} has {len(sides[1])}; make "
                "line N of one the translation of line N of the other",
                f"{names[0]} and {names[1]}",
            )
        if not drop_empty:
            for name, lines in zip(names, sides, strict=True):
                _check_no_empty_lines(name, lines)
        return list(zip(*sides, strict=True))


WMT14 = ParallelTextSpec(
    train=("europarl-v7.de-en", "commoncrawl.de-en", "news-commentary-v9.de-en"),
    valid="newstest2013",
    test="newstest2014",
    drop_empty=True,
)
"""WMT14 English-German, in one folder, by the file names of its publishers."""

WMT14_JOINED = ParallelTextSpec(valid="newstest2013", test="newstest2014", drop_empty=True)
"""WMT14 English-German with its training parts concatenated in train.en and train.de."""


def _check_no_empty_lines(name: str, lines: list[str]) -> None:
    for number, line in enumerate(lines, start=1):
        if not line or line.isspace():
            raise DataError(
                f"{name}:{number} is empty; remove this line from both files, or set drop_empty if "
                "they are for training",
                f"{name}:{number}",
            )
