import pytest

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


def test_an_empty_translation_scores_without_failing():
    assert score(["", ""], REFERENCES).bleu == 0


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="hypotheses"):
        score([], [])


def test_a_missing_translation_is_an_error():
    with pytest.raises(DataError, match="hypotheses is 1, expected 2"):
        score(REFERENCES[:1], REFERENCES)


def test_hypotheses_are_written_one_a_line(tmp_path):
    path = tmp_path / "hypotheses.txt"
    write_hypotheses(path, ["zwölf", "", "zwei\nZeilen\u2028hier"])
    assert path.read_bytes().decode() == "zwölf\n\nzwei Zeilen hier\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hypotheses.txt"]
