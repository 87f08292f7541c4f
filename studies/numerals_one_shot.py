"""Can one training order the term sets as sixteen do? On numerals: data that quatrain generates.

    quatrain study run studies/numerals_one_shot.py --out OUT
    quatrain one-shot OUT

The groups "encoder-decoder" and "self" are the complete grid of numerals_terms with three seeds:
one training of 250 steps for each term set. The groups that begin with "one-shot" have one training
each for all sets of that place: the model has all four terms, and each step draws the terms. After
it, every set is evaluated with the shared weights; records keep these metrics in `term_sets`.

Three variants, none of which costs more than a fifth of the grid with as many seeds (4000 passes
forward and backward a seed): "sampled 250" and "sampled 800" draw one set for each of as many
steps, "sandwich 250" takes the mean gradient of 0000, 1111 and a drawn set. 111 runs, about 40
minutes on one core.

Expectation: of the pairs of sets whose difference is significant in the grid, a one-shot training
orders at least 90 % alike (Kendall's tau of 0.8).
"""

from numerals_terms import TERM_SETS, translation

from quatrain.study import Cell, Study
from quatrain.tasks.translation import TranslationSpec
from quatrain.training import Recipe

PLACES = {
    "encoder-decoder": "translator.decoder.*.cross_attention",
    "self": "translator.*.*.self_attention",
}
VARIANTS = {
    "sampled 250": {"terms": "sampled", "steps": 250},
    "sampled 800": {"terms": "sampled", "steps": 800},
    "sandwich 250": {"terms": "sandwich", "steps": 250},
}


def retrained(place: str, terms: str) -> TranslationSpec:
    """A translator that is trained with one term set at a place."""
    return translation(terms, "1111") if place == "self" else translation("1111", terms)


def one_shot(place: str, variant: str) -> TranslationSpec:
    """A translator whose term set at a place is drawn for each step."""
    spec = translation("1111", "1111")
    recipe = Recipe(**{**dict(spec.recipe), **VARIANTS[variant], "terms_at": PLACES[place]})
    return spec.model_copy(update={"recipe": recipe})


study = Study(
    title="One training for all term sets, on numerals",
    question="Does one training with drawn term sets order the sets as one training for each does?",
    cells=[
        *[
            Cell(name=terms, group=place, spec=retrained(place, terms))
            for place in PLACES
            for terms in TERM_SETS
        ],
        *[
            Cell(name=variant, group=f"one-shot {place}", spec=one_shot(place, variant))
            for place in PLACES
            for variant in VARIANTS
        ],
    ],
    seeds=(0, 1, 2),
    metric="bleu",
    margin=0.5,
)
