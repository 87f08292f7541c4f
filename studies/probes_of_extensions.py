"""Do extensions of attention answer what theory says? Four tasks with known answers.

    quatrain study run studies/probes_of_extensions.py --out OUT

Eleven mechanisms, four probes (`quatrain.tasks.probes`), two seeds: 88 runs. The data are
generated. Two probes are tested on sequences that training did not have.

The expected accuracy of each cell is below, with its reason, and was written down before the first
run. Bounds differ between probes: where values of a sequence are equal (*absence*), half of the
answers need no comparison, and a name that is rarely in a sequence can be attended to in its
absence, which reaches 74 %; and one address in four is a token's own.

Each network is that of `studies/probes.py`. All cells have the same recipe.
"""

from quatrain.nn import AttentionSpec, parse_mixer
from quatrain.study import Cell, Comparison, Study, expected_cells
from quatrain.tasks.probes import (
    AbsenceSpec,
    AddressSpec,
    LongerSpec,
    Probe,
    ProbeSpec,
    ShiftedSpec,
)
from quatrain.training import Polynomial, Recipe

CAN = {"low": 95.0}

PROBES: tuple[Probe, ...] = (LongerSpec(), AbsenceSpec(), ShiftedSpec(), AddressSpec())

MECHANISMS = {
    name: parse_mixer(name, heads=1)
    for name in (
        *("0001", "0100", "1000", "1111", "1000 qknorm", "1000 gate", "1000 null", "1111 null"),
        *("1000 rope", "1111 rope"),
    )
}
MECHANISMS["1000 rope, short"] = AttentionSpec(
    terms="1000", heads=1, rotary="axial", rotary_wavelength=100.0
)

RECIPE = Recipe(
    steps=1000,
    learning_rate=1.5e-2,
    warmup_steps=20,
    schedule=Polynomial(power=1.0),
    clip_norm=1.0,
)

EXPECTED = {
    "longer": [
        ("1000|1111|1000 qknorm|1000 gate|1000 null|1111 null", CAN,
         "E1 compares names at any distance"),
        ("1000 rope|1111 rope", CAN, "most planes turn slowly enough to compare names at any "
         "distance of the test"),
        ("1000 rope, short", {"high": 80.0}, "planes that compare names within 16 tokens turn "
         "around within 128"),
        ("0001|0100", {"high": 25.0}, "the query chooses positions, and the name is at any"),
    ],
    "absence": [
        ("1000 null|1111 null", CAN, "E1 compares names, and leaves all weights near 0 if none "
         "is equal"),
        ("1000|1111|1000 qknorm|1000 rope|1000 rope, short|1111 rope", {"high": 80.0},
         "weights that sum to 1 give the same value whether or not the name is present"),
        ("1000 gate", {"high": 80.0}, "a gate reads the query, which does not say what the keys "
         "are"),
        ("0001|0100", {"high": 80.0}, "the weights do not compare names"),
    ],
    "shifted": [
        ("0001|1111|1111 null", CAN, "E4 weighs each key by its distance"),
        ("0100", CAN, "a constant component of the query makes the logits of E2 those of E4"),
        ("1000 rope|1000 rope, short|1111 rope", CAN, "with constant components of query and key, "
         "rotated E1 weighs each key by its distance"),
        ("1000|1000 qknorm|1000 gate|1000 null", {"high": 25.0}, "E1 compares numbers, but not "
         "those that training did not have"),
    ],
    "address": [
        ("1000 rope|1000 rope, short|1111 rope", CAN, "with a constant component of the query, "
         "rotated E1 is a function of the key's content and its distance"),
        ("0001|0100|1111|1111 null", {"high": 50.0}, "a sum of functions of the key and of its "
         "distance does not select keys by both"),
        ("1000|1000 qknorm|1000 gate|1000 null", {"high": 25.0}, "without position the sequence "
         "is a bag: it can be counted"),
    ],
}  # fmt: skip


def cells(probe: Probe) -> list[Cell]:
    """The cells of one probe."""
    specs = {
        name: ProbeSpec(probe=probe, mixer=mixer, recipe=RECIPE, batch=64)
        for name, mixer in MECHANISMS.items()
    }
    return expected_cells(probe.kind, specs, EXPECTED[probe.kind])


study = Study(
    title="Probes of extensions: which mechanism answers which question",
    question="Does each extension answer the questions that its formula can answer, and no others?",
    cells=[cell for probe in PROBES for cell in cells(probe)],
    seeds=(0, 1),
    metric="accuracy",
    comparisons=[
        Comparison(left="1000 rope", right="1000 rope, short", group="longer"),
        Comparison(left="1000 null", right="1000", group="absence"),
        Comparison(left="1000 null", right="1000 gate", group="absence"),
        Comparison(left="1000 rope", right="1000", group="shifted"),
        Comparison(left="1000 rope", right="1111", group="address"),
    ],
)
