import os
import re
from html.parser import HTMLParser

import pytest

from quatrain.report.curves import learning_curves
from quatrain.report.differences import build_differences
from quatrain.report.html import html_page
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.words.append(data)


def page_of(store):
    study = load_runs(store)
    return html_page(study, build_table(study), build_differences(study), learning_curves(study))


@pytest.fixture
def page(store):
    return page_of(store)


def test_the_page_needs_nothing_from_elsewhere(page):
    assert all(link.startswith("#") for link in Page(page).links)
    assert not re.search(r"url\((?!#)|@import|fetch\(", page)


def test_text_of_others_is_escaped(page):
    parsed = Page(page)
    assert "translation" not in parsed.tags
    assert "b" not in parsed.tags
    words = "".join(parsed.words)
    assert "Terms & <translation>" in words
    assert "1111 sagt <b>0</b>" in words
    assert "loss is <nan>" in words


def test_the_page_shows_five_lines_of_each_cell(page):
    words = "".join(Page(page).words)
    assert "0010 sagt <b>4</b>" in words
    assert "<b>5</b>" not in words


def test_the_page_tells_failures_provenance_and_what_is_missing(page):
    words = "".join(Page(page).words)
    assert "non-finite loss" in words
    assert "of 3 runs, 1 failed, 2 absent" in words
    assert "a" * 64 in words
    assert {"hash of train.de", "version of torch", "0123abc"} <= set(Page(page).words)


def test_no_id_is_used_twice_and_each_reference_has_its_own(page):
    marks = re.findall(r' id="([^"]+)"', page)
    assert len(marks) == len(set(marks))
    used = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert used
    assert set(used) <= set(marks)


def test_a_study_without_comparisons_or_logs_has_no_empty_sections(store):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"comparisons": ()}))
    for path in [*store.root.glob("runs/*/metrics.jsonl"), *store.root.glob("runs/*/*.txt")]:
        path.unlink()
    page = page_of(store)
    assert not re.search("<h2>(Differences|Learning|Samples)", page)
    assert "<h2>Results" in page


@pytest.fixture
def hypotheses(store, make_record):
    return store.folder(make_record("0010", 0, 1.0).identity) / "hypotheses.txt"


def test_a_file_from_outside_the_run_is_not_put_into_the_page(store, hypotheses, tmp_path):
    (tmp_path / "secret").write_text("a password")
    hypotheses.unlink()
    hypotheses.symlink_to(tmp_path / "secret")
    words = "".join(Page(page_of(store)).words)
    assert "a password" not in words
    assert "(not shown: hypotheses.txt is no file of the run's folder)" in words


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_hypotheses_is_not_waited_for(store, hypotheses):
    hypotheses.unlink()
    os.mkfifo(hypotheses)
    assert "not shown: hypotheses.txt" in "".join(Page(page_of(store)).words)


def test_lines_of_hypotheses_may_be_empty_or_as_long_as_their_file(store, hypotheses):
    hypotheses.write_text("first\n\n" + "x" * 3_000_000 + "\nafter\n")
    words = "".join(Page(page_of(store)).words)
    assert "first" in words
    assert "x" * 400 in words
    assert "x" * 401 not in words
    hypotheses.write_text("")
    assert "0110 sagt <b>0</b>" in "".join(Page(page_of(store)).words)
