from quatrain.report.resampling import resample as module
from quatrain.report.resampling.resample import Resampled, resample


def test_bleu_is_resampled_by_sentences_and_other_metrics_by_images(monkeypatch, tmp_path):
    calls = []

    def by_sentences(runs, data):
        calls.append((runs, data))
        return {"a": 1}

    def by_images(runs, metric):
        calls.append((runs, metric))
        return {"b": 2}

    monkeypatch.setattr(module, "resample_bleu", by_sentences)
    monkeypatch.setattr(module, "resample_images", by_images)
    assert resample([], "bleu", tmp_path) == Resampled("sentences", {"a": 1})
    assert resample([], "miou", tmp_path) == Resampled("images", {"b": 2})
    assert calls == [([], tmp_path), ([], "miou")]


def test_runs_without_files_have_no_scores():
    assert resample([], "accuracy").scores == {}
