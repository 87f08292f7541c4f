import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.translation.metric import score, write_hypotheses

REFERENCES = ["Ein Mann kocht in der Küche.", "Zwei Hunde rennen über die Wiese."]


def test_the_references_score_100():
    scores = score(REFERENCES, REFERENCES)
    assert scores.bleu == pytest.approx(100)
    assert scores.chrf == pytest.approx(100)


def test_a_worse_translation_has_a_lower_score():
    good = score(["Ein Mann kocht in der Küche.", "Zwei Hunde laufen über die Wiese."], REFERENCES)
    bad = score(["Ein Mann kocht.", "Hunde."], REFERENCES)
    assert 100 > good.bleu > bad.bleu
    assert 100 > good.chrf > bad.chrf


def test_bleu_equals_a_calculation_by_hand():
    # 4 of 5 unigrams, 3 of 4 bigrams, 2 of 3 trigrams and 1 of 2 4-grams match.
    assert score(["a b c d x"], ["a b c d e"]).bleu == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )


def test_scores_are_case_sensitive():
    assert score([text.lower() for text in REFERENCES], REFERENCES).bleu < 100


def test_signatures_record_how_scores_were_computed():
    signatures = score(REFERENCES, REFERENCES).signatures
    assert "tok:13a" in signatures["bleu"]
    assert "case:mixed" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
    assert all("version:" in signature for signature in signatures.values())
    version = signatures["bleu"].rpartition("version:")[2]
    expected = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert signatures["bleu"] == expected


def test_score_and_signature_depend_on_the_tokenizer():
    scores = {name: score(["ab cd."], ["ab ce."], name) for name in ("13a", "intl", "char")}
    assert scores["char"].bleu > scores["13a"].bleu == 0
    assert [each.signatures["bleu"].split("|")[3] for each in scores.values()] == [
        "tok:13a",
        "tok:intl",
        "tok:char",
    ]
    assert len({each.chrf for each in scores.values()}) == 1


def test_empty_translations_score_0():
    assert score(["", ""], REFERENCES).bleu == 0


@pytest.mark.parametrize("references", [[], REFERENCES])
def test_missing_translations_are_an_error(references):
    with pytest.raises(DataError) as raised:
        score(references[:1], references)
    assert raised.value.field == "hypotheses"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_every_hypothesis_is_one_line(tmp_path_factory, hypotheses):
    path = tmp_path_factory.mktemp("written") / "hypotheses.txt"
    write_hypotheses(path, hypotheses)
    text = path.read_bytes().decode()
    assert len(text.split("\n")) - 1 == len(text.splitlines()) == len(hypotheses)


def test_white_space_in_a_hypothesis_becomes_a_space(tmp_path):
    path = tmp_path / "hypotheses.txt"
    write_hypotheses(path, ["zwölf", "", "zwei\nZeilen\u2028hier"])
    assert path.read_bytes().decode() == "zwölf\n\nzwei Zeilen hier\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hypotheses.txt"]
