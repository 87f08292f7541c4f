"""Does the study tool distinguish the factors of attention? Five tasks with known answers.

    quatrain study run studies/probes.py --out OUT

Fourteen mechanisms, five probes (`quatrain.tasks.probes`), two seeds: 140 runs of 2 to 30 seconds
of one core, 23 minutes in total. The data are generated.

The expected accuracy of each cell is below, with its reason: at least 95 % if the mechanism can
answer, at most 25 % if it cannot. A random guess is correct in 3 %; the most common value of the
sequence in 10 to 14 %; the most common of the eight values that a pointer may refer to in 21 %.
Which mechanisms can answer follows from their formulas; the two bounds were set after trials
(docs/decisions/0006-probes.md).

Each network is an embedding, the mechanism with one head, and a linear readout, without residual
connection, hidden layer or absolute position. All cells have the same recipe.
"""

from quatrain.nn import parse_mixer
from quatrain.study import Cell, Comparison, Study, expected_cells
from quatrain.tasks.probes import (
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    Probe,
    ProbeSpec,
    RecallSpec,
    SaliencySpec,
)

CAN, CANNOT = {"low": 95.0}, {"high": 25.0}

PROBES: tuple[Probe, ...] = (
    SaliencySpec(),
    OffsetSpec(),
    PointerSpec(),
    RecallSpec(),
    LocalitySpec(),
)

MECHANISMS = (
    "0000",
    "0001",
    "0010",
    "0011",
    "0100",
    "0110",
    "1000",
    "1111",
    "regular@3",
    "regular@9",
    "lightweight@9",
    "dynamic@9",
    "deformable@9",
    "0010+deformable@9",
)

EXPECTED = {
    "saliency": [
        ("0010|0011|0110|1111", CAN, "E3 weighs each key by its mark"),
        ("1000", CAN, "a constant component of the query makes the logits of E1 those of E3"),
        ("0010+deformable@9", CAN, "the convolution hands value and mark on, and E3 weighs them"),
        ("0000|0001|0100", CANNOT, "weights that ignore the key's content give the sum of all "
         "values beside that of all marks, and do not say which belong together"),
        ("regular@3|regular@9|lightweight@9|dynamic@9", CANNOT, "who is asked stands farther from "
         "the mark than the window reaches"),
        ("deformable@9", CANNOT, "the taps may go far, but what sends them is the neighbourhood, "
         "which does not know where the mark is"),
    ],
    "offset": [
        ("0001|0011|1111", CAN, "E4 weighs each key by its distance"),
        ("0100|0110", CAN, "a constant component of the query makes the logits of E2 those of E4"),
        ("regular@9|lightweight@9|dynamic@9|deformable@9|0010+deformable@9", CAN, "the window "
         "holds the token that is asked for"),
        ("regular@3", CANNOT, "the window reaches one token far, the question three"),
        ("0000|0010|1000", CANNOT, "without position the sequence is a bag: it can be counted"),
    ],
    "pointer": [
        ("0100|0110|1111", CAN, "E2 weighs each distance by what the query holds"),
        ("dynamic@9", CAN, "the query predicts the weights of the window, which holds all targets"),
        ("deformable@9|0010+deformable@9", CAN, "the query displaces the taps"),
        ("0001|0011", CANNOT, "the query does not change the weights of the others: all eight "
         "distances stay equally likely"),
        ("regular@3|regular@9|lightweight@9", CANNOT, "each tap adds what its token says on its "
         "own, and pointer and value stand in different tokens"),
        ("0000|0010|1000", CANNOT, "without position the sequence is a bag: it can be counted"),
    ],
    "recall": [
        ("1000|1111", CAN, "E1 compares the name that is asked with each key's"),
        ("0000|0001|0010|0011", CANNOT, "the weights do not know what is asked"),
        ("0100|0110", CANNOT, "the query chooses places, and the name may stand in any"),
        ("regular@3|regular@9|lightweight@9|dynamic@9", CANNOT, "whom a token asks stands farther "
         "away than the window reaches"),
        ("deformable@9", CANNOT, "the taps may go far, but what sends them is the neighbourhood, "
         "which does not know where the name is"),
        ("0010+deformable@9", CANNOT, "E3 gives the same to all that ask, and the convolution "
         "does not know where the name is"),
    ],
    "locality": [
        ("0001|0011|1111", CAN, "E4 weighs near keys above far ones"),
        ("0100|0110", CAN, "a constant component of the query makes the logits of E2 those of E4"),
        ("regular@3|regular@9|lightweight@9|dynamic@9|deformable@9|0010+deformable@9", CAN,
         "the window holds both neighbours"),
        ("0000|0010|1000", CANNOT, "without position the sequence is a bag: it can be counted"),
    ],
}  # fmt: skip


def cells(probe: Probe) -> list[Cell]:
    """The cells of one probe."""
    specs = {name: ProbeSpec(probe=probe, mixer=parse_mixer(name, heads=1)) for name in MECHANISMS}
    return expected_cells(probe.kind, specs, EXPECTED[probe.kind])


study = Study(
    title="Probes: which mechanism answers which question",
    question="Does each mechanism answer the questions that its factors can answer, and no others?",
    cells=[cell for probe in PROBES for cell in cells(probe)],
    seeds=(0, 1),
    metric="accuracy",
    comparisons=[
        Comparison(left="0010", right="0001", group="saliency"),
        Comparison(left="0001", right="0010", group="offset"),
        Comparison(left="regular@9", right="regular@3", group="offset"),
        Comparison(left="0100", right="0001", group="pointer"),
        Comparison(left="dynamic@9", right="lightweight@9", group="pointer"),
        Comparison(left="deformable@9", right="regular@9", group="pointer"),
        Comparison(left="1000", right="0110", group="recall"),
        Comparison(left="0001", right="0000", group="locality"),
    ],
)
