import re
from datetime import date

import pytest

from quatrain.report.references import bibliography, known_entries

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "incollection": {"author", "title", "booktitle", "publisher", "year"},
    "book": {"author", "title", "publisher", "year"},
    "misc": {"author", "title", "year"},
}
"""Fields without which BibTeX's standard styles warn."""


def fields_of(entry):
    """The type of an entry and its fields; an entry is one field per line."""
    head, *lines, end = entry.splitlines()
    matches = [re.fullmatch(r"  (\w+) *= \{(.*)\},", line) for line in lines]
    assert end == "}"
    assert None not in matches
    assert len({match[1] for match in matches}) == len(lines)
    return re.match(r"@(\w+)\{", head)[1], {match[1]: match[2] for match in matches}


@pytest.mark.parametrize("key", known_entries())
def test_an_entry_has_the_fields_of_its_type_and_an_address(key):
    entry = known_entries()[key]
    kind, fields = fields_of(entry)
    assert fields.keys() >= REQUIRED[kind]
    assert kind == "book" or fields.keys() & {"doi", "url"} or key == "shapley1953value"
    assert all(value.strip() and value.count("{") == value.count("}") for value in fields.values())
    assert entry.isascii()
    assert 1900 < int(fields["year"]) <= date.today().year
    first_author = re.sub(r"\W", "", fields["author"].split(",")[0].replace("\\'c", "c")).lower()
    assert key.startswith(first_author + fields["year"])
    assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.1234/x"))
    assert re.fullmatch(r"https://\S+", fields.get("url", "https://x"))
    assert re.fullmatch(r"\d+--\d+", fields.get("pages", "1--2"))


def test_a_bibliography_has_each_entry_once_in_the_order_of_the_keys():
    text = bibliography(["post2018call", "dai2017deformable", "post2018call"])
    assert re.findall(r"^@\w+\{(\w+)", text, re.MULTILINE) == ["post2018call", "dai2017deformable"]
    assert bibliography([]) == ""


def test_every_entry_of_the_file_is_known():
    from importlib import resources

    text = (resources.files("quatrain.report") / "references.bib").read_text()
    assert len(re.findall(r"^@", text, re.MULTILINE)) == len(known_entries()) > 20


def test_an_unknown_key_is_an_error():
    with pytest.raises(KeyError):
        bibliography(["nobody1900"])
