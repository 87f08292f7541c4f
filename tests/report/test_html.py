import importlib
import os
import re
import sys
from html.parser import HTMLParser
from importlib import resources

import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.html import html_page
from quatrain.results import Comparison
from quatrain.specs import MissingPackageError

SECTIONS = ["What it found", "Accuracy against cost", "Effects", "Table", "Provenance"]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.links, self.headings = [], [], [], []
        self.feed(text)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.texts.append(data)
        if self.tags and self.tags[-1] == "h2" and data.strip():
            self.headings.append(data.strip())


@pytest.fixture(scope="module")
def page(files):
    return (files / "report.html").read_text()


@pytest.fixture(scope="module")
def parsed(page):
    return Page(page)


def test_missing_jinja_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "quatrain.report.html")
    with pytest.raises(MissingPackageError) as info:
        importlib.import_module("quatrain.report.html")
    assert info.value.field == "jinja2"


def test_page_fetches_nothing(page, parsed):
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", page)
    assert "default-src 'none'" in page


def test_sections_stand_in_order(parsed):
    assert [heading for heading in parsed.headings if heading in SECTIONS] == SECTIONS


def test_the_script_is_small():
    script = resources.files("quatrain.report") / "templates" / "report.js"
    assert len(script.read_bytes()) <= 20_000


def test_text_is_escaped(parsed):
    assert not {"translation", "b>", "nan"} & set(parsed.tags)
    for text in ("Terms & <translation>", "1111 sagt <b>0</b>", "loss is <nan>"):
        assert text in parsed.text


def test_page_has_five_lines_of_each_cell(parsed):
    assert "0010 sagt <b>4</b>" in parsed.text
    assert "<b>5</b>" not in parsed.text


def test_page_has_failures_runs_and_provenance(parsed):
    assert "non-finite loss" in parsed.text
    assert "a" * 64 in parsed.text
    assert {"hash of train.de", "version of torch", "0123abc"} <= set(parsed.texts)


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="#|aria-labelledby=")([^"]+)', page))
    assert references
    assert references <= set(ids)


def parse(store):
    return Page(html_page(load_report(store)))


def test_page_has_no_empty_parts(store):
    manifest = store.manifest()
    store.write_manifest(manifest.model_copy(update={"comparisons": ()}))
    for path in [*store.root.glob("runs/*/metrics.jsonl"), *store.root.glob("runs/*/*.txt")]:
        path.unlink()
    text = parse(store).text
    assert not re.search("Differences in|Learning curves|Predictions|Pictures", text)
    assert "The study declares no comparison." in text


ODD = ["a|b", "<script>alert(1)</script>", "$x_1$", "emoji 😀", "עברית", "\u202eevil", "x" * 300]


def runs(*values, metric="accuracy"):
    return {seed: {metric: value} for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({("g", "a"): {}, ("g", "b"): {}}, "No run is finished yet."),
        ({("g", "a"): runs(1.0), ("g", "b"): runs(2.0)}, "1 with one seed"),
        ({("g", "a"): runs(1, 1), ("g", "b"): runs(2, 2)}, "no noise to estimate"),
        ({("g", "a"): {0: {"accuracy": 1, "x": 2}}, ("g", "b"): runs(1)}, "1 with one seed"),
        ({("g", "a"): runs(1e100, 0), ("g", "b"): runs(-1e100, 1)}, "1 inconclusive"),
    ],
    ids=["nothing finished", "one seed", "zero variance", "missing metric", "extreme"],
)
def test_bad_input_gives_a_page(values, shown, tmp_path):
    comparisons = (Comparison(group="g", left="a", right="b"),)
    page = parse(write_results(tmp_path, values, comparisons=comparisons))
    assert shown in page.text
    assert [heading for heading in page.headings if heading in SECTIONS] == SECTIONS


def test_names_of_any_kind_are_text(tmp_path):
    values = {(f"g {name}", name): runs(n, n + 1) for n, name in enumerate(ODD)}
    comparisons = ()
    store = write_results(tmp_path, values, comparisons=comparisons, title=ODD[1], question=ODD[5])
    page = parse(store)
    assert page.tags.count("script") == 2
    assert all(name in page.text for name in (*ODD[:5], "x" * 300))
    assert "\u202e" not in page.text


def test_two_hundred_cells_fit_a_page(tmp_path):
    values = {("g", f"cell {n}"): runs(n % 7, n % 5) for n in range(200)}
    comparisons = tuple(
        Comparison(group="g", left=f"cell {n}", right="cell 0") for n in range(1, 200)
    )
    page = parse(write_results(tmp_path, values, comparisons=comparisons))
    assert re.search(r"\d+ more in g", page.text)


@pytest.fixture
def hypotheses(store, make_record):
    for path in store.root.glob("runs/*/metrics.jsonl"):
        path.unlink()  # fewer figures
    return store.folder(make_record("0010", 0, 1.0).identity) / "hypotheses.txt"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_outputs_that_are_not_a_file_of_the_run_are_not_shown(kind, store, hypotheses, tmp_path):
    hypotheses.unlink()
    if kind == "link":
        (tmp_path / "secret").write_text("a password")
        hypotheses.symlink_to(tmp_path / "secret")
    else:
        os.mkfifo(hypotheses)
    text = parse(store).text
    assert "a password" not in text
    assert "(not shown: hypotheses.txt" in text


def test_lines_of_outputs_may_be_empty_or_very_long(store, hypotheses):
    hypotheses.write_text("first\n\n" + "x" * 3_000_000 + "\nafter\n")
    text = parse(store).text
    assert "first" in text
    assert "x" * 400 in text
    assert "x" * 401 not in text


def test_empty_outputs_are_not_shown(store, hypotheses):
    hypotheses.write_text("")
    text = parse(store).text
    assert "0010 sagt" not in text
    assert "0110 sagt <b>0</b>" in text
