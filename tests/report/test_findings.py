import hashlib

import numpy as np
import pytest

from fake.results import put_record
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper.findings import Statement
from quatrain.report.findings import cells_by_mixer, conclusion_of, find_findings
from quatrain.report.groups import Groups
from quatrain.report.runs import load_runs
from quatrain.results import Manifest, ManifestCell, ResultStore
from quatrain.results.answers import Answer
from quatrain.results.fit import estimate


def spec(self_attention="1111", cross="1111", kind="translation"):
    mixers = {name: parse_mixer(text) for name, text in (("own", self_attention), ("cross", cross))}
    model = TranslatorSpec(
        encoder_self=mixers["own"], decoder_self=mixers["own"], cross=mixers["cross"]
    )
    return {"kind": kind, "model": model.model_dump(mode="json"), "data": {"pairs": 100}}


@pytest.fixture
def study(tmp_path, make_record):
    """Self-attention in which E1 is negligible, and encoder-decoder attention that needs it."""
    means = {
        "self": {"1111": 30.0, "0111": 30.0, "0011": 29.8, "w/o": 20.0},
        "cross": {"1111": 30.0, "0111": 25.0, "1000": 10.0},
    }
    generator = np.random.default_rng(0)
    store, cells = ResultStore(tmp_path), []
    for group, by_mixer in means.items():
        for mixer, mean in by_mixer.items():
            own = spec(self_attention=mixer) if group == "self" else spec(cross=mixer)
            identities = {}
            for seed in range(4):
                identity = hashlib.sha256(f"{group}{mixer}{seed}".encode()).hexdigest()
                score = mean + float(generator.normal(scale=0.05))
                record = make_record(mixer, seed, score, spec=own, identity=identity)
                put_record(store, record)
                identities[seed] = identity
            cell = ManifestCell(
                name=f"cell {mixer}",
                group=group,
                spec_name="TranslationSpec",
                identities=identities,
            )
            cells.append(cell)
    store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(cells)))
    return load_runs(store)


def test_findings_are_read_from_records_whatever_the_cells_are_called(study):
    found = {(f.finding.number, f.group): f for f in find_findings(study, Groups(study))}
    assert found[1, "self"].conclusion == "holds"
    assert {s.statement.contrast: s.conclusion for s in found[1, "self"].statements} == {
        "0011 - w/o": "holds",
        "1111 - 0111": "holds",
        "1111 - 0011 - 0011 + w/o": "holds",
    }
    across = found[2, "cross"]
    assert across.conclusion == "holds in part"
    assert [s.conclusion for s in across.statements] == ["holds", "does not hold"]
    assert across.statements[0].answer.estimate.value == pytest.approx(5, abs=0.2)


def test_statements_whose_cells_share_no_seeds_are_missing(study, tmp_path):
    store = ResultStore(tmp_path)
    for cell in study.manifest.cells:
        removed = (0, 1) if cell.name == "cell 1111" else (2, 3)
        for seed in removed:
            (store.folder(cell.identities[seed]) / "record.json").unlink()
    partial = load_runs(store)
    found = {(f.finding.number, f.group): f for f in find_findings(partial, Groups(partial))}
    assert [s.statement.contrast for s in found[1, "self"].statements] == ["0011 - w/o"]
    assert len(found[1, "self"].missing) == 2
    assert (2, "cross") not in found


def test_statements_whose_cells_are_missing_are_named(study):
    found = {(f.finding.number, f.group): f for f in find_findings(study, Groups(study))}
    assert (3, "self") not in found
    assert found[1, "self"].missing == ()


def test_cells_that_differ_elsewhere_speak_of_no_finding():
    both = {"a": spec("1111", "0011"), "b": spec("0111", "1111")}
    assert cells_by_mixer(both) == (None, {})
    assert cells_by_mixer({"a": spec(kind="other"), "b": spec("0111", kind="other")})[0] is None


@pytest.mark.parametrize(
    ("path", "kind", "place"),
    [
        (("backbone", "mixer"), "detection", "detection"),
        (("pyramid_mixer",), "detection", "detection"),
        (("mixer",), "segmentation", "segmentation"),
        (("pyramid_mixer",), "segmentation", None),
    ],
)
def test_the_place_of_a_mixer_in_a_vision_network_is_recognized(path, kind, place):
    cells = {}
    for text in ("w/o", "0010", "1111"):
        mixer = parse_mixer(text)
        model = None if mixer is None else mixer.model_dump(mode="json")
        for name in reversed(path):
            model = {name: model}
        cells[f"cell {text}"] = {"kind": kind, "model": model}
    found, by_mixer = cells_by_mixer(cells)
    assert found == place
    expected = {} if place is None else {text: f"cell {text}" for text in ("w/o", "0010", "1111")}
    assert by_mixer == expected


def answer_of(value, error, margin=0.5):
    found = estimate(value, error, 30, margin)
    verdict = "inconclusive"
    if found.p_equivalent <= 0.05:
        verdict = "equivalent"
    elif found.p <= 0.05:
        verdict = "higher" if value > 0 else "lower"
    return Answer(found, found.p, found.p_equivalent, verdict, None)


@pytest.mark.parametrize(
    ("value", "error", "expected", "conclusion"),
    [
        (2.0, 0.2, "higher", "holds"),
        (-2.0, 0.2, "higher", "does not hold"),
        (0.0, 0.1, "higher", "does not hold"),
        (0.5, 1.0, "higher", "inconclusive"),
        (0.0, 0.1, "equivalent", "holds"),
        (2.0, 0.2, "equivalent", "does not hold"),
        (0.6, 0.2, "equivalent", "inconclusive"),
        (0.6, 1.0, "equivalent", "inconclusive"),
    ],
)
def test_a_conclusion_is_that_of_the_verdict(value, error, expected, conclusion):
    statement = Statement("detection", "x", "1111 - 0111", expected)
    assert conclusion_of(statement, answer_of(value, error), 0.5) == conclusion
