"""BLEU and chrF of a test part, by sacreBLEU, and the tokenizer of BLEU.

The signature of a score records its tokenization, smoothing and version. Scores are comparable only
if their signatures are equal, so the signature is stored with each score.

The target language selects BLEU's tokenizer, as in sacreBLEU:

    de, en, ...  13a         words and punctuation, as WMT does
    zh           zh          each Chinese character is a token
    ja, ko       ja-mecab, ko-mecab     words by the morphological analyser MeCab
    th, lo, km, my, bo, dz   char       each character is a token

With 13a, text without spaces has one token per clause, and even a perfect translation scores 0 if
no sentence has four tokens. sacreBLEU has no tokenizer for the languages of the last row; "char" is
its language-agnostic one.

Source: https://github.com/mjpost/sacrebleu, `BLEU(trg_lang=...)`.
Differs: accepts codes of three letters, regions and scripts ("jpn", "zh-CN", "zho_Hans"); uses
"char" instead of "13a" for the languages of the last row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from quatrain.results import write_atomically
from quatrain.specs import DataError, InputError
from quatrain.specs.errors import shorten

BleuTokenizer = Literal[
    "auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "none"
]
"""sacreBLEU's tokenizers, or "auto" for that of the target language."""

_FIELD = "TranslationSpec.bleu_tokenizer"

# ISO 639 codes, and country codes used in their place in file names.
_LANGUAGES = {
    "zh": "zh zho chi cmn yue wuu gan hak lzh cn",
    "ja-mecab": "ja jpn jp",
    "ko-mecab": "ko kor",
    "char": "th tha lo lao km khm my mya bur bo bod tib dz dzo",
}
_BY_LANGUAGE = {code: name for name, codes in _LANGUAGES.items() for code in codes.split()}

# Letters of scripts without spaces between words, by tokenizer.
_SCRIPTS = {
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "ja-mecab": re.compile("[\u3040-\u30ff\uff66-\uff9f]"),
    "char": re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f]"),
}

_PACKAGES = {
    "ja-mecab": "sacrebleu[ja]",
    "ko-mecab": "sacrebleu[ko]",
    "flores101": "sentencepiece",
    "flores200": "sentencepiece",
}


def choose_tokenizer(choice: BleuTokenizer, language: str, references: Sequence[str]) -> str:
    """The name of the tokenizer for a target language; checks that it works.

    Raises:
        DataError: if its package is not installed, its model cannot be loaded, or the choice is
            "auto" and the references have no spaces but the language is unknown.
    """
    name = tokenizer_of(language) if choice == "auto" else choice
    if choice == "auto" and name == "13a":
        _check_spaces(language, references)
    try:
        bleu(name)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # tokenizers raise errors of different types
        raise _unusable(name, language, error) from error
    return name


def tokenizer_of(language: str) -> str:
    """The tokenizer for a language code such as "de", "zh-CN", "jpn" or "zho_Hans"."""
    code = re.split(r"[-_.@]", language.lower())[0]
    return _BY_LANGUAGE.get(code, "13a")


@lru_cache
def bleu(tokenizer: str) -> BLEU:
    """The BLEU metric, one per tokenizer, because sacreBLEU keeps every instance."""
    if tokenizer not in BLEU.TOKENIZERS:
        raise InputError(
            f"tokenizer={shorten(tokenizer)} is not one of sacreBLEU's, "
            f"{', '.join(sorted(BLEU.TOKENIZERS))}; use choose_tokenizer for that of a language",
            "tokenizer",
        )
    return BLEU(tokenize=tokenizer)


def can_score(references: Sequence[str], tokenizer: str) -> bool:
    """Whether any reference has four tokens; otherwise BLEU is always 0."""
    metric = bleu(tokenizer)
    return any(
        len(metric.tokenizer(text.rstrip()).split()) >= metric.max_ngram_order
        for text in references
    )


def _check_spaces(language: str, references: Sequence[str]) -> None:
    text = "".join("".join(references).split())
    letters = {name: len(script.findall(text)) for name, script in _SCRIPTS.items()}
    if 2 * sum(letters.values()) <= len(text):
        return
    # Japanese uses Chinese characters too; Chinese does not use kana.
    likely = "ja-mecab" if 10 * letters["ja-mecab"] > letters["zh"] else "zh"
    likely = "char" if letters["char"] > letters["zh"] + letters["ja-mecab"] else likely
    raise DataError(
        f'the references in "{language}" have no spaces between words, so bleu_tokenizer="auto" is '
        f'impossible; set it, for example to "{likely}", or use the language code as the suffix of '
        "the files",
        _FIELD,
    )


def _unusable(name: str, language: str, error: Exception) -> DataError:
    package = _PACKAGES.get(name)
    if package and isinstance(error, ImportError | RuntimeError):
        reason, remedy = "it is not installed", f'run pip install "{package}"'
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "fix the cause"
    return DataError(
        f'the tokenizer "{name}" for the target language "{language}" cannot be loaded ({reason}); '
        f'{remedy}, or set bleu_tokenizer to another, such as "char" or "13a"',
        _FIELD,
    )


@dataclass(frozen=True)
class Scores:
    """BLEU and chrF, both from 0 to 100, and the signature of each."""

    bleu: float
    chrf: float
    signatures: dict[str, str]


def score(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = "13a") -> Scores:
    """Score translations against one reference each, case-sensitively.

    BLEU counts the tokens of sacreBLEU's `tokenizer`; see `choose_tokenizer`. chrF counts
    characters.

    Source: Papineni et al. 2002, BLEU, https://aclanthology.org/P02-1040; Popović 2015, chrF,
    https://aclanthology.org/W15-3049; Post 2018, A call for clarity in reporting BLEU scores,
    https://arxiv.org/abs/1804.08771, for the tokenization and the signatures.

    Raises:
        DataError: if there are no hypotheses, or not as many references.
        InputError: if sacreBLEU has no such tokenizer.
    """
    if not hypotheses:
        raise DataError("there are no hypotheses; translate the test part", "hypotheses")
    if len(hypotheses) != len(references):
        raise DataError(
            f"there are {len(hypotheses)} hypotheses for {len(references)} references; score all "
            "of them",
            "hypotheses",
        )
    bleu_metric, chrf = bleu(tokenizer), CHRF()
    streams = [list(references)]
    bleu_score = bleu_metric.corpus_score(list(hypotheses), streams).score
    chrf_score = chrf.corpus_score(list(hypotheses), streams).score
    signatures = {"bleu": str(bleu_metric.get_signature()), "chrf": str(chrf.get_signature())}
    return Scores(bleu_score, chrf_score, signatures)


def write_hypotheses(path: Path, hypotheses: Sequence[str]) -> None:
    """Write one translation per line, atomically; white space within one becomes a space."""
    write_atomically(path, "".join(" ".join(text.split()) + "\n" for text in hypotheses))
