import re
import shutil
import subprocess

import pytest

from quatrain.report.latex import FURTHER_METRICS, latex_document
from quatrain.report.write import write_report

SPECIAL = r"\\[&%$#_{}]|\\\\"


def body_of(document):
    return re.split(r"\\begin\{document\}", document)[1]


def check(document):
    """Braces and environments are balanced, rows have the columns of their table, all else is text.

    Comments are in the preamble only.
    """
    body = body_of(document)
    plain = re.sub(SPECIAL, "", body)
    assert not set(plain) & set("%$#_^")
    depths = [0]
    for character in plain:
        depths.append(depths[-1] + (character == "{") - (character == "}"))
    assert min(depths) == depths[-1] == 0
    opened = re.findall(r"\\begin\{(\w+)\}", document)
    assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", document))
    assert {each for each in plain if not each.isascii()} <= set("éßäöüÄÖÜ")
    for columns, table in re.findall(
        r"\{longtable\}\{([lr]+)\}(.*?)\\end\{longtable\}", body, re.DOTALL
    ):
        head, *rows = [line for line in table.split("\n") if line.endswith(r"\\")][1:]
        for line in (head, *rows):
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
            assert not re.match(r"\s*[\[*]", line)
    return body


def test_cells_have_mean_seeds_and_cost_and_the_best_is_bold(report):
    body = check(latex_document(report))
    assert body.count(r"\begin{longtable}") == 4  # cells and differences of two groups
    assert r"1111 & \textbf{31.17 \textpm{} 0.47}" in body
    assert "M multiply-adds" in body


def test_both_counts_of_multiply_adds_are_columns(make_report):
    cost = {"multiply_adds": 5e6, "paper_multiply_adds": 7e6}
    body = check(
        latex_document(make_report({("g", "a"): {0: {"bleu": 1.0}}}, changes={"cost": cost}))
    )
    assert r"M multiply-adds & M multiply-adds, paper\textquotesingle{}s convention" in body
    assert "5.00 & 7.00" in body


def test_cells_and_comparisons_that_are_not_run_are_counted_and_have_no_row(report):
    body = check(latex_document(report))
    assert "w/o" not in body
    assert "1 cell without a finished run: not shown." in body
    assert "1 comparison is not run in a common seed yet: self (1)." in body


def test_cells_that_are_tied_with_the_best_are_underlined(grid_report):
    body = check(latex_document(grid_report))
    assert body.count(r"\textbf{") == 1
    assert body.count(r"\underline{") == 7


def test_differences_have_verdicts_and_minus_signs(grid_report):
    body = check(latex_document(grid_report))
    assert re.search(r"1111 \\textminus\{\} 0111 & \S+ \{\[\}.* & equivalent & \\textend", body)
    assert r"\textminus{}3.0" in body


def test_the_note_says_what_intervals_cover_and_cites_its_methods(grid_report):
    body = latex_document(grid_report)
    for part in ("do not cover the choice of test examples", "Assumptions:", "underlined",
                 r"\cite{montgomery2017design}", r"\cite{shaffer1986modified}",
                 r"\bibliography{references}"):  # fmt: skip
        assert part in body


def test_a_report_without_methods_has_no_bibliography(make_report):
    body = check(latex_document(make_report({("g", "a"): {}})))
    assert r"\bibliography" not in body


def test_more_metrics_than_fit_are_counted(make_report):
    metrics = {"bleu": 1.0, **{f"m{n}": float(n) for n in range(FURTHER_METRICS + 3)}}
    body = check(latex_document(make_report({("g", "a"): {0: metrics}})))
    assert "report.csv has 3 more metrics." in body
    assert "m3" in body
    assert "m4" not in body


def test_any_name_is_text(hostile_report):
    body = check(latex_document(hostile_report))
    for part in (r"\textless{}script", r"\$x\_1\textasciicircum{}2\$", r"\uchar{1F600}",
                 r"\uchar{05D0}", r"a\textbar{}b", r"\textbackslash{}input\{x\}"):  # fmt: skip
        assert part in body


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("name", ["report", "grid_report", "hostile_report", "matrix_report"])
def test_the_document_compiles(request, name, tmp_path):
    write_report(request.getfixturevalue(name), tmp_path / "out")
    typeset = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "report"]
    cites = (tmp_path / "out" / "references.bib").exists()
    for step in (typeset, *([["bibtex", "report"]] if cites else []), typeset, typeset):
        done = subprocess.run(step, cwd=tmp_path / "out", capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")
    log = (tmp_path / "out" / "report.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "multiply defined" not in log
    assert not cites or "Warning--" not in (tmp_path / "out" / "report.blg").read_text()
