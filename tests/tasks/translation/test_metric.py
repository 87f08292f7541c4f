import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.translation.metric import score, write_hypotheses

REFERENCES = ["Ein Mann kocht in der Küche.", "Zwei Hunde rennen über die Wiese."]


def test_the_references_themselves_score_all_points():
    scores = score(REFERENCES, REFERENCES)
    assert scores.bleu == pytest.approx(100)
    assert scores.chrf == pytest.approx(100)


def test_a_worse_translation_scores_less():
    near = score(["Ein Mann kocht in der Küche.", "Zwei Hunde laufen über die Wiese."], REFERENCES)
    far = score(["Ein Mann kocht.", "Hunde."], REFERENCES)
    assert 100 > near.bleu > far.bleu
    assert 100 > near.chrf > far.chrf


def test_bleu_is_that_of_the_whole_part_worked_out_by_hand():
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples agree.
    assert score(["a b c d x"], ["a b c d e"]).bleu == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )


def test_case_counts():
    assert score([text.lower() for text in REFERENCES], REFERENCES).bleu < 100


def test_signatures_name_what_made_the_scores():
    signatures = score(REFERENCES, REFERENCES).signatures
    assert "tok:13a" in signatures["bleu"]
    assert "case:mixed" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
    assert all("version:" in signature for signature in signatures.values())
    version = signatures["bleu"].rpartition("version:")[2]
    expected = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert signatures["bleu"] == expected


def test_the_signature_and_the_score_follow_the_tokenizer():
    scores = {name: score(["ab cd."], ["ab ce."], name) for name in ("13a", "intl", "char")}
    assert scores["char"].bleu > scores["13a"].bleu == 0
    assert [each.signatures["bleu"].split("|")[3] for each in scores.values()] == [
        "tok:13a",
        "tok:intl",
        "tok:char",
    ]
    assert len({each.chrf for each in scores.values()}) == 1


def test_an_empty_translation_scores_without_failing():
    assert score(["", ""], REFERENCES).bleu == 0


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="hypotheses"):
        score([], [])


def test_a_missing_translation_is_an_error():
    with pytest.raises(DataError, match="hypotheses is 1, expected 2"):
        score(REFERENCES[:1], REFERENCES)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_no_character_of_a_hypothesis_moves_the_lines(tmp_path_factory, hypotheses):
    path = tmp_path_factory.mktemp("written") / "hypotheses.txt"
    write_hypotheses(path, hypotheses)
    text = path.read_bytes().decode()
    assert len(text.split("\n")) - 1 == len(text.splitlines()) == len(hypotheses)


def test_hypotheses_are_written_one_a_line(tmp_path):
    path = tmp_path / "hypotheses.txt"
    write_hypotheses(path, ["zwölf", "", "zwei\nZeilen\u2028hier"])
    assert path.read_bytes().decode() == "zwölf\n\nzwei Zeilen hier\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hypotheses.txt"]
