"""BLEU and chrF of a test part, by sacreBLEU.

The signature of a score records its tokenization, smoothing and version. Scores are comparable only
if their signatures are equal, so the signature is stored with each score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sacrebleu.metrics.chrf import CHRF

from quatrain.results import write_atomically
from quatrain.specs import DataError
from quatrain.tasks.translation.bleu_tokenizer import bleu


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
        raise DataError(
            "hypotheses", "empty", "at least one translation", "translate the test part"
        )
    if len(hypotheses) != len(references):
        expected = f"{len(references)}, one for each reference"
        raise DataError("hypotheses", len(hypotheses), expected, "score all of them")
    bleu_metric, chrf = bleu(tokenizer), CHRF()
    streams = [list(references)]
    bleu_score = bleu_metric.corpus_score(list(hypotheses), streams).score
    chrf_score = chrf.corpus_score(list(hypotheses), streams).score
    signatures = {"bleu": str(bleu_metric.get_signature()), "chrf": str(chrf.get_signature())}
    return Scores(bleu_score, chrf_score, signatures)


def write_hypotheses(path: Path, hypotheses: Sequence[str]) -> None:
    """Write one translation per line, atomically; white space within one becomes a space."""
    write_atomically(path, "".join(" ".join(text.split()) + "\n" for text in hypotheses))
