import numpy as np
import pytest
from PIL import Image

from quatrain.specs import DataError
from quatrain.tasks.detection.voc import VOC0712, VocSpec
from quatrain.tasks.scenes import DataWarning

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


def problem(folder, spec=SPEC):
    with pytest.raises(DataError) as caught:
        spec.read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(folder, old, new, name="a"):
    path = folder / f"Annotations/{name}.xml"
    path.write_text(path.read_text().replace(old, new))


def test_pixels_are_counted_from_one_and_the_last_is_part_of_the_box(folder):
    corpus = SPEC.read(folder)
    sample = corpus.train[0]
    assert sample.boxes.tolist() == [[0, 2, 30, 12], [4.5, 5, 7, 8]]
    assert sample.labels.tolist() == [2, 1]
    assert corpus.categories == ("cat", "dog")
    assert corpus.train.truths[0].areas.tolist() == [300, 7.5]


def test_difficult_objects_are_handed_on_as_crowd(folder):
    assert SPEC.read(folder).test[0].crowd.tolist() == [False, True]


def test_files_that_count_from_zero_are_read_so(folder):
    corpus = VocSpec(classes=("cat", "dog"), first_pixel=0).read(folder)
    assert corpus.train[0].boxes.tolist() == [[1, 3, 30, 12], [5.5, 6, 7, 8]]


def test_a_file_that_counts_from_zero_shows_as_boxes_beyond_the_edge(folder):
    rewrite(folder, "<xmin>1</xmin><ymin>3", "<xmin>0</xmin><ymin>3")
    with pytest.warns(DataWarning, match="train: 1 boxes beyond the edge of their image, clipped"):
        assert SPEC.read(folder).train[0].boxes[0, 0] == 0


def test_years_are_read_side_by_side(tmp_path):
    fill(tmp_path / "VOC2007", {"trainval": ["a"], "test": ["c"]})
    fill(tmp_path / "VOC2012", {"trainval": ["a", "b"]})
    corpus = VOC0712.read(tmp_path)
    assert [sample.image_id for sample in corpus.train] == [0, 1, 2]
    assert corpus.test is corpus.valid
    assert len(corpus.categories) == 20
    assert "annotations of VOC2007/trainval and VOC2012/trainval" in corpus.hashes


def test_hashes_see_the_annotations(folder):
    before = SPEC.read(folder).hashes
    rewrite(folder, "<xmax>30", "<xmax>29")
    after = SPEC.read(folder).hashes
    assert {key for key in before if before[key] != after[key]} == {"annotations of train"}


def test_the_hashes_of_the_test_part_are_its_own_and_know_the_classes(folder):
    before = SPEC.read(folder).test_hashes
    rewrite(folder, "<xmax>30", "<xmax>29")
    assert SPEC.read(folder).test_hashes == before
    more = SPEC.model_copy(update={"classes": (*SPEC.classes, "zebra")})
    assert more.read(folder).test_hashes != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<name>cat</name>", "<name>cow</name>", "the class of object 2 of"),
        ("<xmin>5.5</xmin>", "", "bndbox/xmin in"),
        ("<xmin>5.5</xmin>", "<xmin>five</xmin>", 'is "five", expected a number'),
        ("<xmin>5.5</xmin>", "<xmin>inf</xmin>", 'is "inf", expected a number'),
        ("<width>30</width>", "<width>31</width>", 'is "30 x 20", expected 31 x 20, as'),
        ("<difficult>1</difficult>", "<difficult>yes</difficult>", 'is "yes", expected 0 or 1'),
        ("</annotation>", "", "well-formed xml"),
        ("a.png", "z.png", "missing 1 of 2"),
    ],
)
def test_what_contradicts_itself_is_refused_when_it_is_opened(folder, old, new, said):
    rewrite(folder, old, new)
    assert said in problem(folder)


def test_a_box_without_area_is_refused_where_it_would_be_scored(folder):
    rewrite(folder, "<xmax>7</xmax>", "<xmax>4.5</xmax>", name="d")
    assert "object 2 of" in problem(folder)


def test_missing_files_are_named(folder):
    assert "nowhere.txt" in problem(folder, VocSpec(classes=("cat", "dog"), test="nowhere"))
    (folder / "Annotations/b.xml").unlink()
    assert "b.xml" in problem(folder)


def test_lists_name_each_image_once_and_at_least_one(folder):
    (folder / "ImageSets/Main/train.txt").write_text("a 1\nb -1\n\n")
    assert len(SPEC.read(folder).train) == 2
    (folder / "ImageSets/Main/train.txt").write_text("a\na\n")
    assert "the images of train" in problem(folder)
    (folder / "ImageSets/Main/train.txt").write_text("\n")
    assert "a list of images" in problem(folder)


def test_classes_have_different_names(folder):
    assert "the classes of VocSpec" in problem(folder, VocSpec(classes=("cat", "cat", "dog")))
