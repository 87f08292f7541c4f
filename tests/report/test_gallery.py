import base64
import os
import struct
import zlib
from html.parser import HTMLParser

import pytest

from fake.results import put_record
from quatrain.report import gallery
from quatrain.report.build import load_report
from quatrain.report.gallery import build_gallery
from quatrain.report.html import html_page
from quatrain.report.runs import load_runs
from quatrain.results import Manifest, ManifestCell, ResultStore


def png(width=3, height=2, padding=0):
    """A grey PNG with so many bytes of padding."""

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
    """Write the files that have content."""
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


@pytest.fixture
def drawn(tmp_path, make_record):
    """A study of given cells: {(group, cell, run): {seed: {name: bytes or None for no file}}}."""

    def write(cells):
        store = ResultStore(tmp_path / "study")
        listed = []
        for (group, cell, run), seeds in cells.items():
            identities = {}
            for seed, files in seeds.items():
                record = make_record(run, seed, 1.0, artifacts=("hypotheses.txt", *files))
                identities[seed] = record.identity
                put_record(store, record)
                put(store.folder(record.identity), files)
            fields = {"spec_name": "TranslationSpec", "identities": identities}
            listed.append(ManifestCell(name=cell, group=group, **fields))
        store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(listed)))
        return store

    return write


def gallery_of(store):
    return build_gallery(load_runs(store))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.texts.append(data)


def page_of(store):
    return Page(html_page(load_report(store)))


def test_each_cell_shows_the_pictures_of_its_lowest_seed(drawn):
    two = {"a.png": png(), "b.PNG": png(5, 4)}
    store = drawn({("g", "w/o", "w/o"): {1: two, 0: {}, 2: two}, ("g", "x", "x"): {3: two}})
    result = gallery_of(store)
    assert [(exhibit.cells, exhibit.seed) for exhibit in result.exhibits] == [
        (["g, w/o"], 1),
        (["g, x"], 3),
    ]
    first = result.exhibits[0].pictures
    assert [(picture.name, picture.width, picture.height) for picture in first] == [
        ("a.png", 3, 2),
        ("b.PNG", 5, 4),
    ]
    assert base64.b64decode(first[1].source.removeprefix("data:image/png;base64,")) == png(5, 4)
    assert result.left_out == ()


def test_run_of_two_cells_is_shown_once(drawn):
    files = {0: {"a.png": png()}}
    store = drawn({("one", "c", "shared"): files, ("two", "d", "shared"): files})
    (only,) = gallery_of(store).exhibits
    assert only.cells == ["one, c", "two, d"]


def test_page_embeds_pictures_and_escapes_names(drawn):
    name = '"><script>alert(1)<!--.png'
    page = page_of(drawn({("<b>g</b>", "c", "c"): {0: {name: png(7, 5)}}}))
    (image,) = page.images
    assert image["src"].startswith("data:image/png;base64,")
    assert (image["width"], image["height"], image["loading"]) == ("7", "5", "lazy")
    assert image["alt"] == f"{name} of <b>g</b>, c; seed 0"
    assert name in page.texts
    assert not any("alert(1)" in word for word in page.texts if word != name)


def test_omitted_pictures_are_counted_by_reason(drawn):
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
    result = gallery_of(store)
    assert [picture.name for picture in result.exhibits[0].pictures] == ["a.png"]
    assert result.left_out == (
        "2 missing (the first: gone.png of g, c)",
        "2 not a PNG (the first: text.png of g, c)",
        "1 unreadable (the first: bad\0name.png of g, c)",
    )
    assert "2 missing (the first: gone.png of g, c)" in "".join(page_of(store).texts)


@pytest.mark.timeout(60)
def test_pipe_and_circular_link_are_not_shown(drawn):
    store = drawn({("g", "c", "c"): {0: {"pipe.png": None, "circle.png": None, "a.png": png()}}})
    folder = store.folder(store.manifest().cells[0].identities[0])
    os.mkfifo(folder / "pipe.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    result = gallery_of(store)
    assert [picture.name for picture in result.exhibits[0].pictures] == ["a.png"]
    assert sum(int(reason.split()[0]) for reason in result.left_out) == 2


def test_file_outside_the_folder_of_the_run_is_not_read(drawn, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    absolute = str(tmp_path / "secret.png")
    names = {"../../../secret.png": None, absolute: None, "link.png": None, "in/side.png": png()}
    store = drawn({("g", "c", "c"): {0: names}})
    folder = store.folder(store.manifest().cells[0].identities[0])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    result = gallery_of(store)
    assert [picture.name for picture in result.exhibits[0].pictures] == ["in/side.png"]
    (sentence,) = result.left_out
    assert sentence.startswith("3 outside the folder of its run")


def test_huge_picture_is_omitted(drawn):
    limit = gallery.MAX_BYTES
    names = {"huge.png": png(padding=limit), "large.png": png(padding=limit - 1000)}
    result = gallery_of(drawn({("g", "c", "c"): {0: names}}))
    assert [picture.name for picture in result.exhibits[0].pictures] == ["large.png"]
    assert result.left_out == ("1 of more than 2 MB (the first: huge.png of g, c)",)


def test_full_page_has_the_first_picture_of_each_cell(drawn, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_PAGE_BYTES", 2 * len(png()) + 10)
    files = {0: {"a.png": png(), "b.png": png()}}
    result = gallery_of(drawn({("g", cell, cell): files for cell in ("c", "d")}))
    shown = [[picture.name for picture in exhibit.pictures] for exhibit in result.exhibits]
    assert shown == [["a.png"], ["a.png"]]
    assert result.left_out == ("2 beyond the 0 MB of a page (the first: b.png of g, c)",)


def test_study_without_pictures_has_no_gallery(shared_store, files):
    result = gallery_of(shared_store)
    assert result.exhibits == result.left_out == ()
    assert "<h2>Pictures" not in (files / "report.html").read_text()
    assert "<img" not in (files / "report.html").read_text()
