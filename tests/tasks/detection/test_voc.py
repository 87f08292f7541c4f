import codecs
import re

import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.detection.voc import VOC0712, VocSpec
from quatrain.tasks.vision import DataWarning

# The cat of the fixture is "difficult", so its category has no box.
pytestmark = pytest.mark.filterwarnings("ignore:.*without a box")
XML = """<annotation><filename>{name}.png</filename>
<size><width>30</width><height>20</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>30</xmax><ymax>12</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
</object>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>8</ymax></bndbox></object>
</annotation>"""


def fill(home, lists):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (home / folder).mkdir(parents=True)
    for part, names in lists.items():
        (home / f"ImageSets/Main/{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            pixels = np.zeros((20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(home / f"JPEGImages/{name}.png")
            (home / f"Annotations/{name}.xml").write_text(XML.format(name=name))


@pytest.fixture
def folder(tmp_path):
    fill(tmp_path, {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    return tmp_path


SPEC = VocSpec(classes=("cat", "dog"))


def refusal(folder, spec=SPEC):
    with pytest.raises(DataError) as error:
        spec.read(folder)
    assert "\n" not in str(error.value)
    return error.value


def rewrite(folder, old, new, name="a"):
    path = folder / f"Annotations/{name}.xml"
    path.write_text(path.read_text().replace(old, new))


def test_pixels_are_counted_from_one_and_boxes_include_the_last(folder):
    corpus = SPEC.read(folder)
    sample = corpus.train[0]
    assert sample.boxes.tolist() == [[0, 2, 30, 12], [4.5, 5, 7, 8]]
    assert sample.labels.tolist() == [2, 1]
    assert corpus.categories == ("cat", "dog")
    assert corpus.train.ground_truths[0].areas.tolist() == [300, 7.5]


def test_difficult_objects_become_crowd(folder):
    assert SPEC.read(folder).test[0].crowd.tolist() == [False, True]


def test_files_that_count_from_zero_are_read_with_first_pixel_0(folder):
    corpus = VocSpec(classes=("cat", "dog"), first_pixel=0).read(folder)
    assert corpus.train[0].boxes.tolist() == [[1, 3, 30, 12], [5.5, 6, 7, 8]]


def test_unexpected_zero_coordinates_give_a_warning(folder):
    rewrite(folder, "<xmin>1</xmin><ymin>3", "<xmin>0</xmin><ymin>3")
    with pytest.warns(DataWarning, match="1 box beyond the edge"):
        assert SPEC.read(folder).train[0].boxes[0, 0] == 0


def test_several_years_are_read_together(tmp_path):
    fill(tmp_path / "VOC2007", {"trainval": ["a"], "test": ["c"]})
    fill(tmp_path / "VOC2012", {"trainval": ["a", "b"]})
    corpus = VOC0712.read(tmp_path)
    assert [sample.image_id for sample in corpus.train] == [0, 1, 2]
    assert corpus.test is corpus.valid
    assert len(corpus.categories) == 20
    assert "annotations of VOC2007/trainval and VOC2012/trainval" in corpus.hashes


def test_hashes_depend_on_the_annotations(folder):
    before = SPEC.read(folder).hashes
    rewrite(folder, "<xmax>30", "<xmax>29")
    after = SPEC.read(folder).hashes
    assert {key for key in before if before[key] != after[key]} == {"annotations of train"}


def test_test_hashes_depend_on_the_test_part_and_the_classes(folder):
    before = SPEC.read(folder).test_hashes
    rewrite(folder, "<xmax>30", "<xmax>29")
    assert SPEC.read(folder).test_hashes == before
    more = SPEC.model_copy(update={"classes": (*SPEC.classes, "zebra")})
    assert more.read(folder).test_hashes != before


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("<name>cat</name>", "<name>cow</name>", "has the unknown class 'cow'"),
        ("<xmin>5.5</xmin>", "", "bndbox/xmin in"),
        ("<xmin>5.5</xmin>", "<xmin>five</xmin>", "five"),
        ("<xmin>5.5</xmin>", "<xmin>inf</xmin>", "inf"),
        ("<width>30</width>", "<width>31</width>", "30 x 20"),
        ("<difficult>1</difficult>", "<difficult>yes</difficult>", "yes"),
        ("</annotation>", "", "a.xml"),
        ("a.png", "z.png", "1 of 2 files"),
    ],
)
def test_inconsistent_annotations_are_refused(folder, old, new, place):
    rewrite(folder, old, new)
    error = refusal(folder)
    assert place in str(error)


def test_a_box_without_area_is_refused_in_a_held_out_part(folder):
    rewrite(folder, "<xmax>7</xmax>", "<xmax>4.5</xmax>", name="d")
    assert refusal(folder).field.startswith("object 2 of")


def test_missing_files_are_refused(folder):
    spec = VocSpec(classes=("cat", "dog"), test="nowhere")
    assert "nowhere.txt" in refusal(folder, spec).field
    (folder / "Annotations/b.xml").unlink()
    assert "b.xml" in refusal(folder).field


def test_lists_contain_each_image_once_and_at_least_one(folder):
    (folder / "ImageSets/Main/train.txt").write_text("a 1\nb -1\n\n")
    assert len(SPEC.read(folder).train) == 2
    (folder / "ImageSets/Main/train.txt").write_text("a\na\n")
    assert "among the images of train" in str(refusal(folder))
    (folder / "ImageSets/Main/train.txt").write_text("\n")
    assert "train names no images" in str(refusal(folder))


def test_repeated_class_names_are_refused(folder):
    spec = VocSpec(classes=("cat", "cat", "dog"))
    assert refusal(folder, spec).field == "VocSpec"


def write_encoded(folder, name, encoding, declared=None, mark=b""):
    """Write the xml of the validation image, with the single class `name`, in this encoding."""
    text = XML.format(name="c").replace("dog", name).replace("cat", name)
    declaration = f'<?xml version="1.0" encoding="{declared or encoding}"?>\n'
    (folder / "Annotations/c.xml").write_bytes(mark + (declaration + text).encode(encoding))
    for part in ("train", "test"):
        (folder / f"ImageSets/Main/{part}.txt").write_text("c\n")
    return VocSpec(classes=(name,))


ENCODINGS = {
    "猫": [
        "utf-8",
        "utf8",
        "UTF_8",
        "utf-16",
        "gb2312",
        "gbk",
        "gb18030",
        "shift_jis",
        "iso-2022-jp",
        "euc-jp",
    ],
    "貓": ["big5", "big5hkscs", "utf-16-le"],
    "개": ["euc-kr", "cp949", "iso-2022-kr"],
    "кот": ["koi8-r", "windows-1251"],
    "Überzieher": ["iso-8859-1"],
}


@pytest.mark.parametrize(
    ("name", "encoding"), [(n, e) for n, each in ENCODINGS.items() for e in each]
)
def test_xml_is_read_in_its_declared_encoding(folder, name, encoding):
    spec = write_encoded(
        folder, name, encoding, "utf-16" if encoding.startswith("utf-16") else encoding
    )
    assert spec.read(folder).valid[0].labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "encoding", "declared"),
    [("镕", "gbk", "gb2312"), ("①", "cp932", "Shift_JIS"), ("뷁", "cp949", "EUC-KR")],
)
def test_characters_of_the_larger_encoding_are_read(folder, name, encoding, declared):
    with pytest.raises(UnicodeDecodeError):
        name.encode(encoding).decode(declared)
    spec = write_encoded(folder, name, encoding, declared)
    assert spec.read(folder).categories == (name,)
    assert len(spec.read(folder).valid) == 1


def test_a_utf_8_byte_order_mark_overrides_the_declaration(folder):
    spec = write_encoded(folder, "猫", "utf-8", "gb2312", mark=b"\xef\xbb\xbf")
    assert len(spec.read(folder).valid) == 1


@pytest.mark.parametrize("declared", ["x-unknown", "hex", "utf-32", "undefined"])
def test_an_unknown_encoding_is_refused(folder, declared):
    error = refusal(folder, write_encoded(folder, "cat", "utf-8", declared))
    assert error.field == f"{folder}/Annotations/c.xml"
    assert f"its encoding {declared!r}" in str(error)


def test_bytes_outside_of_the_declared_encoding_are_refused(folder):
    spec = write_encoded(folder, "猫", "utf-8", "gb2312")
    path = folder / "Annotations/c.xml"
    path.write_bytes(path.read_bytes().replace("猫".encode(), b"\xff\xff"))
    assert "its encoding 'gb2312'" in str(refusal(folder, spec))
    path.write_bytes(path.read_bytes().replace(b' encoding="gb2312"', b""))
    assert "c.xml" in refusal(folder, spec).field


def test_xml_without_a_declaration_is_utf_8(folder):
    text = XML.format(name="c").replace("dog", "狗").replace("cat", "猫")
    path = folder / "Annotations/c.xml"
    path.write_bytes(text.encode("gbk"))
    assert "not UTF-8" in str(refusal(folder))
    path.write_bytes(codecs.BOM_UTF16_LE + text[:-5].encode("utf-16-le"))
    assert "no well-formed xml" in str(refusal(folder))


def test_entity_attacks_are_refused_in_decoded_text(folder):
    spec = write_encoded(folder, "猫", "gbk")
    path = folder / "Annotations/c.xml"
    definitions = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "lol">{definitions}]>'
    text = path.read_bytes().decode("gbk").replace("<filename>", "<filename>&e8;", 1)
    path.write_bytes(text.replace("?>", f"?>{bomb}", 1).encode("gbk"))
    assert "amplification" in str(refusal(folder, spec))
    outside = '<!DOCTYPE a [<!ENTITY e8 SYSTEM "file:///etc/hostname">]>'
    path.write_bytes(text.replace("?>", f"?>{outside}", 1).encode("gbk"))
    assert "undefined entity" in str(refusal(folder, spec))


@pytest.mark.parametrize("name", ["000007\0", "\x1b[2J", "a\x01b"])
def test_a_list_with_control_characters_is_refused(folder, name):
    (folder / "ImageSets/Main/train.txt").write_text(f"a\n\n{name}\n")
    assert refusal(folder).field == f"{folder}/ImageSets/Main/train.txt:3"


def test_an_image_name_with_control_characters_is_refused(folder):
    rewrite(folder, "a.png", "a&#10;b.png")
    assert refusal(folder).field == f"filename in {folder}/Annotations/a.xml"


def test_classes_without_a_box_give_a_warning_for_each_part(folder):
    with pytest.warns(DataWarning):
        corpus = VocSpec(classes=("cat", "dog", "emu")).read(folder)
    kind = 'categories without a box (crowd not counted): "cat", "emu"'
    assert corpus.data_notes == {f"{part}: {kind}": 2 for part in ("train", "val", "test")}


def write_fractions(folder, *names):
    for name in names:
        path = folder / f"Annotations/{name}.xml"
        text = re.sub(r"<(xmin|ymin)>[^<]*", r"<\1>0.25", path.read_text())
        path.write_text(re.sub(r"<(xmax|ymax)>[^<]*", r"<\1>1.0", text))


@pytest.mark.parametrize("first_pixel", [0, 1])
def test_boxes_in_fractions_of_the_image_give_a_warning(folder, first_pixel):
    write_fractions(folder, "a", "b", "d")
    with pytest.warns(DataWarning):
        corpus = VocSpec(classes=("cat", "dog"), first_pixel=first_pixel).read(folder)
    kind = "boxes within [0, 1], probably fractions of the image instead of pixels"
    notes = {name: count for name, count in corpus.data_notes.items() if name.endswith(kind)}
    assert notes == {f"train: {kind}": 4, f"test: {kind}": 2}


def test_a_part_of_difficult_objects_is_refused(folder):
    rewrite(folder, "<difficult>0", "<difficult>1", name="d")
    assert "2 marked as crowd" in str(refusal(folder))


def test_a_part_without_a_usable_object_is_refused_with_the_reasons(folder):
    for name in ("a", "b"):
        rewrite(folder, "<xmax>30", "<xmax>-2", name=name)
    with pytest.warns(DataWarning):
        error = refusal(folder)
    assert "2 boxes without area, left out; 2 marked as crowd" in str(error)


def test_line_numbers_count_line_feeds_only(folder):
    path = folder / "ImageSets/Main/train.txt"
    path.write_bytes("a\x0c 1\u2028\x85\r\n\r\nb\x01\n".encode())
    assert refusal(folder).field == f"{path}:3"
