import os

import numpy as np
import pytest

from fake.results import put_record
from quatrain.report.build import load_report
from quatrain.report.columns import difference_columns
from quatrain.report.document import differences_as_json
from quatrain.report.html import html_page
from quatrain.report.legend import verdict_legend
from quatrain.report.methods import methods_of, references_of
from quatrain.report.resampling import images
from quatrain.report.resampling.images import resample_images
from quatrain.report.runs import load_runs
from quatrain.results.image_scores import IMAGE_SCORES, write_image_scores
from quatrain.results.pixel_counts import PixelCounts
from quatrain.results.resampling import SEED

IMAGES, CELLS = 40, ("1111", "0110")


def counts_of(cell, seed, images=IMAGES):
    """Two classes; 1111 misses about a tenth of the pixels, 0110 a fifth."""
    random = np.random.default_rng(100 * seed + len(cell.strip("0")))
    labels = np.random.default_rng(5).integers(20, 80, (images, 2))
    share = 0.1 if cell == "1111" else 0.2
    missed = random.binomial(labels, share + 0.1 * random.random((images, 1)))
    both = labels - missed
    counts = np.stack([both, both + missed[:, ::-1], labels], axis=1)
    return PixelCounts(np.arange(images), ("sky", "road"), counts)


@pytest.fixture
def image_store(store, make_record):
    """The study with counts of pixels of 1111 and 0110 for each seed; the others have none."""
    store.write_manifest(store.manifest().model_copy(update={"metric": "miou"}))
    for cell in ("1111", "0110", "0010", "1000"):
        for seed in range(3):
            counts = counts_of(cell, seed)
            miou = float(counts.scores("miou", np.ones((1, IMAGES)))[0])
            record = make_record(cell, seed, 1.0, metrics={"miou": miou}, signatures={})
            put_record(store, record)
            if cell in CELLS:
                write_image_scores(store.folder(record.identity), counts)
    return store


def row_of(store):
    return load_report(store).differences.rows[0]


def test_a_difference_has_an_interval_over_the_test_images(image_store):
    report = load_report(image_store)
    table = report.differences
    low, high = table.rows[0].over_test_examples.low, table.rows[0].over_test_examples.high
    assert low < table.rows[0].answer.estimate.value < high
    assert [row.over_test_examples for row in table.rows[1:]] == [None, None]
    (column,) = [x for x in difference_columns(table) if x.header == "over test images"]
    assert column.texts == (f"[+{low:.2f}, +{high:.2f}]", "–", "–")
    assert "Over test images: 95 %" in verdict_legend(table)
    assert "over test images [" in report.sentences[0].text
    assert differences_as_json(table)[0]["test_examples"] == "images"
    assert differences_as_json(table)[1]["test_examples"] is None
    assert "thin bars below: over test images" in html_page(report)
    assert "koehn2004statistical" in references_of(methods_of(report))


def test_the_interval_is_of_the_mean_over_seeds_in_resamples_of_the_same_images(image_store):
    generator = np.random.default_rng(SEED)
    drawn = [generator.choice(IMAGES, size=IMAGES) for _ in range(1000)]
    differences = []
    for indices in drawn:
        means = []
        for cell in CELLS:
            mious = []
            for seed in range(3):
                both, predicted, labels = counts_of(cell, seed).counts[indices].sum(0)
                mious.append(100 * np.mean(both / (predicted + labels - both)))
            means.append(np.mean(mious))
        differences.append(means[0] - means[1])
    expected = np.percentile(differences, [2.5, 97.5]).tolist()
    found = row_of(image_store).over_test_examples
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-9)


def test_one_seed_without_the_file_leaves_no_interval(image_store, make_record):
    (image_store.folder(make_record("1111", 2, 0.0).identity) / IMAGE_SCORES).unlink()
    assert row_of(image_store).over_test_examples is None


def test_older_studies_have_no_column_and_no_method(image_store):
    for record in image_store.all_records():
        (image_store.folder(record.identity) / IMAGE_SCORES).unlink(missing_ok=True)
    report = load_report(image_store)
    assert not any("over test" in x.header for x in difference_columns(report.differences))
    assert "koehn2004statistical" not in references_of(methods_of(report))


def test_counts_that_do_not_give_the_metric_of_the_record_are_left_out(image_store, make_record):
    folder = image_store.folder(make_record("1111", 2, 0.0).identity)
    write_image_scores(folder, counts_of("1111", 7))
    assert row_of(image_store).over_test_examples is None


def test_a_damaged_file_is_left_out(image_store, make_record):
    path = image_store.folder(make_record("1111", 2, 0.0).identity) / IMAGE_SCORES
    path.write_bytes(path.read_bytes()[:50])
    assert row_of(image_store).over_test_examples is None


def test_a_metric_that_the_file_lacks_is_left_out(image_store):
    runs = load_runs(image_store).compared_runs()
    assert len(resample_images(runs, "miou")) == 6
    assert resample_images(runs, "bleu") == {}


def test_a_class_that_resamples_lack_has_no_interval(image_store, make_record):
    counts = counts_of("1111", 0)
    counts.counts[1:, :, 1] = 0
    numbers = {x: counts.scores(x, np.ones((1, IMAGES)))[0].item() for x in ("miou", "iou_road")}
    record = make_record("1111", 0, 1.0, metrics=numbers, signatures={})
    put_record(image_store, record)
    write_image_scores(image_store.folder(record.identity), counts)
    runs = load_runs(image_store).compared_runs()
    assert record.identity in resample_images(runs, "miou")
    assert record.identity not in resample_images(runs, "iou_road")


def test_a_file_is_read_again_only_if_it_changes(image_store, make_record, monkeypatch):
    runs = load_runs(image_store).compared_runs()
    identity = make_record("1111", 0, 0.0).identity
    expected = resample_images(runs, "miou")
    folders = []

    def read(folder):
        folders.append(folder)

    monkeypatch.setattr(images, "read_image_scores", read)
    assert resample_images(runs, "miou").keys() == expected.keys()
    assert folders == []
    os.utime(image_store.folder(identity) / IMAGE_SCORES, ns=(1, 1))
    assert identity not in resample_images(runs, "miou")
    assert folders == [image_store.folder(identity)]
