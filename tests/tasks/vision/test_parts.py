from quatrain.tasks.vision.parts import CheckedPart, DatasetParts, most_images, read_parts


def read_three(names, shared=None):
    calls = []

    def read(name, training):
        calls.append((name, training))
        return CheckedPart(object(), {f"images of {name}": name}, {f"{name}: boxes": 1})

    return calls, read_parts(names, read, shared)


def test_hashes_and_notes_of_all_parts_are_merged_and_those_of_the_test_part_kept():
    calls, fields = read_three(("train", "val", "test"), {"list": "x"})
    assert calls == [("train", True), ("val", False), ("test", False)]
    images = {f"images of {name}": name for name in ("train", "val", "test")}
    assert fields["hashes"] == {"list": "x", **images}
    assert fields["test_hashes"] == {"list": "x", "images of test": "test"}
    assert list(fields["data_notes"]) == ["train: boxes", "val: boxes", "test: boxes"]
    assert DatasetParts(**fields).skipped is fields["data_notes"]


def test_a_part_for_validation_and_test_is_read_once():
    calls, fields = read_three(("train", "val", "val"))
    assert calls == [("train", True), ("val", False)]
    assert fields["valid"] is fields["test"]


def test_training_images_are_counted_with_their_flips():
    parts = DatasetParts(train=range(5), valid=range(3), test=range(2), hashes={})
    assert most_images(parts) == 2 * 5 + 3 + 2
