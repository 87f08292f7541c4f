import json
import pickle

import numpy as np
import pytest

from quatrain.results import image_scores
from quatrain.results.detection_matches import DetectionMatches
from quatrain.results.image_scores import IMAGE_SCORES, read_image_scores, write_image_scores
from quatrain.results.pixel_counts import PixelCounts


def pixels():
    counts = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
    return PixelCounts(np.array([7, 2**40]), ("sky", "Straße"), counts)


def matches():
    return DetectionMatches(
        np.array([3, 5]), ("dog",), *(np.array([0, 1], np.int32) * k for k in (1, 0, 1, 0)),
        *np.array([[1, 2], [0, 1]], np.uint16), np.array([0, 1], np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("scores", [pixels(), matches()], ids=["pixels", "matches"])
def test_what_is_written_is_read(scores, tmp_path):
    assert write_image_scores(tmp_path, scores) == (IMAGE_SCORES,)
    assert [path.name for path in tmp_path.iterdir()] == [IMAGE_SCORES]
    found = read_image_scores(tmp_path)
    assert type(found) is type(scores)
    assert found.names == scores.names
    for name, values in vars(scores).items():
        if name != "names":
            assert getattr(found, name).dtype == values.dtype
            assert getattr(found, name).tolist() == values.tolist()


def test_a_run_without_the_file_has_no_scores(tmp_path):
    assert read_image_scores(tmp_path) is None


def test_scores_that_are_too_large_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(image_scores, "LARGEST", 100)
    assert write_image_scores(tmp_path, pixels()) == ()
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    write_image_scores(tmp_path, pixels())
    monkeypatch.setattr(image_scores, "LARGEST", 100)
    assert read_image_scores(tmp_path) is None


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1])
def test_a_file_that_was_cut_is_as_none(tmp_path, length):
    write_image_scores(tmp_path, pixels())
    content = (tmp_path / IMAGE_SCORES).read_bytes()
    (tmp_path / IMAGE_SCORES).write_bytes(content[:length])
    assert read_image_scores(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"PK\3\4" + 40 * b"x", pickle.dumps(["unsafe"]), b"\xff" * 64, b"\x02" + 7 * b"\0" + b"{}"],
    ids=["zip", "pickle", "length", "empty"],
)
def test_files_of_other_formats_are_as_none(tmp_path, content):
    (tmp_path / IMAGE_SCORES).write_bytes(content)
    assert read_image_scores(tmp_path) is None


@pytest.mark.parametrize(
    "texts",
    [
        {"kind": "segmentation", "names": "7"},
        {"kind": "segmentation", "names": "[7, 8]"},
        {"kind": "segmentation", "names": "["},
        {"kind": "segmentation", "names": "[" * 100_000},
        {"kind": "translation", "names": '["a", "b"]'},
        {"kind": "detection", "names": '["a", "b"]'},
        {"kind": "segmentation", "names": '["a"]'},
        {},
    ],
    ids=str,
)
def test_other_metadata_are_as_none(tmp_path, texts):
    write_image_scores(tmp_path, pixels())
    content = (tmp_path / IMAGE_SCORES).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = texts
    changed = json.dumps(header).encode()
    (tmp_path / IMAGE_SCORES).write_bytes(
        len(changed).to_bytes(8, "little") + changed + content[8 + size :]
    )
    assert read_image_scores(tmp_path) is None


def test_a_link_out_of_the_run_is_not_read(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    write_image_scores(other, pixels())
    (run / IMAGE_SCORES).symlink_to(other / IMAGE_SCORES)
    assert read_image_scores(run) is None
