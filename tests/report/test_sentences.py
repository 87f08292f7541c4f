from dataclasses import replace

from quatrain.paper.findings import FINDINGS
from quatrain.report.findings import FindingResult, StatementResult
from quatrain.report.levels import Progress
from quatrain.report.page.strips import GLYPHS
from quatrain.report.sentences import (
    MARKS,
    difference_sentence,
    finding_sentences,
    not_run_sentence,
)
from quatrain.results.answers import Answer
from quatrain.results.fit import estimate


def test_a_difference_is_said_with_its_interval_and_the_published_one(report):
    table = report.differences
    first = table.rows[0]
    published = first.comparison.model_copy(update={"published": 0.5})
    sentence = difference_sentence(replace(first, comparison=published), table)
    assert (sentence.mark, sentence.word, sentence.group) == ("yes", "higher", "self")
    for part in ("1111", "0110", "BLEU", "+1.10 [", "published +0.50"):
        assert part in sentence.text


def test_an_unmet_prediction_is_marked(report):
    table = report.differences
    row = table.rows[0]
    wrong = row.comparison.model_copy(update={"expect": "lower"})
    assert difference_sentence(replace(row, comparison=wrong), table).mark == "no"
    right = row.comparison.model_copy(update={"expect": "higher"})
    assert difference_sentence(replace(row, comparison=right), table).mark == "yes"


def test_what_was_not_run_is_open(report):
    sentence = difference_sentence(report.differences.rows[2], report.differences)
    assert (sentence.mark, sentence.word) == ("open", "not run")


def test_all_that_was_not_run_is_one_sentence(report):
    table = report.differences
    expected = "1 comparison is not run in a common seed yet: self (1)."
    assert not_run_sentence(table) == expected
    absent = tuple(replace(row, answer=None) for row in table.rows)
    expected = "3 comparisons are not run in a common seed yet: self (2), cross (1)."
    assert not_run_sentence(replace(table, rows=absent)) == expected
    assert not_run_sentence(replace(table, rows=table.rows[:2])) is None


def test_an_open_difference_says_how_many_seeds_would_do(report):
    row = report.differences.rows[1]
    answered = replace(row.answer, further_seeds=7, verdict="inconclusive")
    text = difference_sentence(replace(row, answer=answered), report.differences).text
    assert "7 more seeds" in text


def test_a_finding_is_said_before_its_statements():
    finding = FINDINGS[1]
    found = estimate(1.85, 0.2, 8, 0.5)
    statement = StatementResult(
        finding.statements[0], Answer(found, 0.001, 1.0, "higher", None), "holds", Progress(3, 3)
    )
    result = FindingResult(
        finding, "encoder-decoder attention", "cross", "bleu", 0.5, (statement,), ()
    )
    first, second = finding_sentences(result)
    assert (first.mark, first.text) == ("yes", finding.sentence)
    for part in ("1111 - 0111", "+1.85 [", "the paper +0.75"):
        assert part in second.text


def test_statements_have_the_values_of_the_paper_and_of_mmdetection():
    def text_of(contrast, place):
        finding, statement = next(
            (finding, statement)
            for finding in FINDINGS
            for statement in finding.at(place)
            if statement.contrast == contrast
        )
        answer = Answer(estimate(1.0, 0.2, 8, 0.5), 0.001, 1.0, "higher", None)
        found = StatementResult(statement, answer, "holds", Progress(3, 3))
        return finding_sentences(FindingResult(finding, place, "g", "ap", 0.5, (found,), ()))[
            1
        ].text

    assert text_of("0010 - w/o", "detection").endswith("; the paper +1.70, mmdetection +1.70.")
    assert text_of("0010 - w/o", "segmentation").endswith("; the paper +3.90.")
    assert text_of("dynamic@7 - 0100@7", "detection").endswith("expected lower.")


def test_a_finding_that_holds_in_part_has_a_mark_of_its_own():
    finding = FINDINGS[1]
    found = Answer(estimate(1.85, 0.2, 8, 0.5), 0.001, 1.0, "higher", None)
    statements = tuple(
        StatementResult(finding.statements[0], found, conclusion, Progress(2, 3))
        for conclusion in ("holds", "inconclusive")
    )
    result = FindingResult(finding, "self-attention", "self", "bleu", 0.5, statements, ())
    head, *others = finding_sentences(result)
    assert (head.mark, head.word) == ("part", "holds in part")
    assert [sentence.mark for sentence in others] == ["yes", "open"]
    assert ", 2 of 3 seeds" in others[0].text
    assert len({*MARKS.values()}) == len(MARKS)
    assert MARKS.keys() <= GLYPHS.keys()


def test_small_differences_have_as_many_places_as_in_the_table(report):
    table = report.differences
    small = [
        replace(row, answer=replace(row.answer, estimate=estimate(0.0123, 0.001, 4, None)))
        for row in table.rows[:2]
    ]
    sentence = difference_sentence(small[0], replace(table, rows=tuple(small)))
    assert "+0.0123 [+0.0095, +0.0151]" in sentence.text
