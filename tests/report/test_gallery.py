import base64
import os
import struct
import zlib
from html.parser import HTMLParser

import pytest

from quatrain.report import gallery
from quatrain.report.curves import learning_curves
from quatrain.report.differences import build_differences
from quatrain.report.gallery import build_gallery
from quatrain.report.html import html_page
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table
from quatrain.results import Manifest, ManifestCell, ResultStore


def png(width=3, height=2, padding=0):
    """A grey picture, as large a file as wanted."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + b"\x80" * width) * height)
    text = chunk(b"tEXt", b"a\x00" + b"x" * padding)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), text, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def put(folder, files):
    """Write what has content."""
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@pytest.fixture
def drawn(tmp_path, make_record):
    """A study of given cells: {(group, cell, run): {seed: {name: bytes or None for no file}}}."""

    def make(cells):
        store = ResultStore(tmp_path / "study")
        listed = []
        for (group, cell, run), seeds in cells.items():
            identities = {}
            for seed, files in seeds.items():
                record = make_record(run, seed, 1.0, artifacts=("hypotheses.txt", *files))
                identities[seed] = record.identity
                store.write_record(record)
                put(store.folder(record.identity), files)
            fields = {"spec_name": "TranslationSpec", "identities": identities}
            listed.append(ManifestCell(name=cell, group=group, **fields))
        store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(listed)))
        return store

    return make


def gallery_of(store):
    return build_gallery(load_runs(store))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.words.append(data)


def page_of(store):
    study = load_runs(store)
    return Page(
        html_page(study, build_table(study), build_differences(study), learning_curves(study))
    )


def test_each_cell_shows_the_pictures_of_its_lowest_seed_that_has_some(drawn):
    two = {"a.png": png(), "b.PNG": png(5, 4)}
    store = drawn({("g", "w/o", "w/o"): {1: two, 0: {}, 2: two}, ("g", "x", "x"): {3: two}})
    found = gallery_of(store)
    assert [(each.cells, each.seed) for each in found.exhibits] == [
        (("g, w/o",), 1),
        (("g, x",), 3),
    ]
    first = found.exhibits[0].pictures
    assert [(each.name, each.width, each.height) for each in first] == [
        ("a.png", 3, 2),
        ("b.PNG", 5, 4),
    ]
    assert base64.b64decode(first[1].source.removeprefix("data:image/png;base64,")) == png(5, 4)
    assert found.left_out == ()


def test_a_run_of_two_cells_is_shown_once_under_both_names(drawn):
    files = {0: {"a.png": png()}}
    store = drawn({("one", "c", "shared"): files, ("two", "d", "shared"): files})
    (only,) = gallery_of(store).exhibits
    assert only.cells == ("one, c", "two, d")


def test_the_page_holds_its_pictures_and_names_are_escaped(drawn):
    name = '"><script>alert(1)<!--.png'
    page = page_of(drawn({("<b>g</b>", "c", "c"): {0: {name: png(7, 5)}}}))
    (image,) = page.images
    assert image["src"].startswith("data:image/png;base64,")
    assert (image["width"], image["height"], image["loading"]) == ("7", "5", "lazy")
    assert image["alt"] == f"{name} of <b>g</b>, c; seed 0"
    assert name in page.words
    assert not any("alert(1)" in word for word in page.words if word != name)


def test_what_cannot_be_shown_is_counted_and_told(drawn):
    store = drawn(
        {
            ("g", "c", "c"): {
                0: {
                    "gone.png": None,
                    "also gone.png": None,
                    "text.png": b"no picture",
                    "short.png": b"\x89PNG\r\n\x1a\n",
                    "bad\0name.png": None,
                    "a.png": png(),
                }
            }
        }
    )
    found = gallery_of(store)
    assert [each.name for each in found.exhibits[0].pictures] == ["a.png"]
    assert found.left_out == (
        "2 missing (the first: gone.png of g, c)",
        "2 no PNG (the first: text.png of g, c)",
        "1 unreadable (the first: bad\0name.png of g, c)",
    )
    assert "2 missing (the first: gone.png of g, c)" in "".join(page_of(store).words)


@pytest.mark.timeout(60)
def test_a_pipe_and_a_circle_of_links_are_no_pictures(drawn):
    store = drawn({("g", "c", "c"): {0: {"pipe.png": None, "circle.png": None, "a.png": png()}}})
    folder = store.folder(store.manifest().cells[0].identities[0])
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    found = gallery_of(store)
    assert [each.name for each in found.exhibits[0].pictures] == ["a.png"]
    assert len(found.left_out) == 2


def test_a_file_outside_the_folder_of_the_run_is_never_read(drawn, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    absolute = str(tmp_path / "secret.png")
    names = {"../../../secret.png": None, absolute: None, "link.png": None, "in/side.png": png()}
    store = drawn({("g", "c", "c"): {0: names}})
    folder = store.folder(store.manifest().cells[0].identities[0])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    found = gallery_of(store)
    assert [each.name for each in found.exhibits[0].pictures] == ["in/side.png"]
    (told,) = found.left_out
    assert told.startswith("3 outside the folder of its run")


def test_a_huge_picture_is_left_out(drawn):
    limit = gallery.LARGEST
    names = {"huge.png": png(padding=limit), "large.png": png(padding=limit - 1000)}
    found = gallery_of(drawn({("g", "c", "c"): {0: names}}))
    assert [each.name for each in found.exhibits[0].pictures] == ["large.png"]
    assert found.left_out == ("1 of more than 2 MB (the first: huge.png of g, c)",)


def test_a_full_page_still_has_the_first_picture_of_each_cell(drawn, monkeypatch):
    monkeypatch.setattr(gallery, "TOGETHER", 2 * len(png()) + 10)
    files = {0: {"a.png": png(), "b.png": png()}}
    found = gallery_of(drawn({("g", cell, cell): files for cell in ("c", "d")}))
    shown = [[each.name for each in exhibit.pictures] for exhibit in found.exhibits]
    assert shown == [["a.png"], ["a.png"]]
    assert found.left_out == ("2 beyond the 0 MB of a page (the first: b.png of g, c)",)


def test_a_study_without_pictures_has_no_gallery(store):
    found = gallery_of(store)
    assert found.exhibits == found.left_out == ()
    study = load_runs(store)
    page = html_page(study, build_table(study), build_differences(study), learning_curves(study))
    assert "<h2>Pictures" not in page
    assert "<img" not in page
