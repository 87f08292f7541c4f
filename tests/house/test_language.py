"""Words of an older dialect of this code, which docs/glossary.md replaces by those of the field."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "quatrain"
REPLACED = {
    r"\bsittings?\b(?!\.json)": "session",
    r"\bstrangers?\b": "orphaned run",
    r"\bheadlines?\b": "primary metric",
    r"\bstand_in|\bStanding\b|\bstanding\b": "wrapper, conversion of a convolution",
    r"\b(content|position)_asks\b|\basks\b": "query, biased_query, position_query",
    r"\bto_x\b|\bof_logits\b": "grad_x, grad_logits",
    r"\bEVERY_KEY\b": "full support",
    r"\bby_lines\b": "axial, separable",
    r"\bdraw_by_name\b|\bfirst weights\b": "initialization",
    r"\bundecided\b": "inconclusive",
    r"\buncorrected\b|\bp, corrected\b": "unadjusted, adjusted p",
    r"\bon the way\b": "during training",
    r"\bnobody\b|\banybody": "no personification",
    r"\bplanes of labels\b": "label maps",
    r"\bThe house\b": "architecture",
    r"\bmend\b|\bmended\b": "fix",
    r"what passes|what is asked": "name the thing",
    r"\bheard\b|\bhears\b": "no personification",
    r"\bserve[sd]?\b": "is used for, computes",
    r"\b(be|a)side\b": "next to, with, apart from",
    r"\bstood\b": "was, had the place of",
    r"\basking\b": "name the call",
    r"\bmeets?\b": "combines with, is multiplied with",
    r"\bfor each in\b": "name the element",
}
PAGES = ("[A-Z]*.md", "docs/*.md", "docs/log/*.md", "docs/decisions/*.md")
FILES = [*SOURCE.rglob("*.py"), *(path for pattern in PAGES for path in ROOT.glob(pattern))]


@pytest.mark.parametrize("word", REPLACED)
def test_words_of_the_field_are_used(word):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {REPLACED[word]}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(word, line)
    ]
    assert found == []
