from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.page.diagnosis import build_diagnoses


def diagnose(tmp_path, samples, **fields):
    values = {
        ("g", cell): {seed: {"accuracy": value} for seed, value in enumerate(own)}
        for cell, own in samples.items()
    }
    report = load_report(write_results(tmp_path, values, **fields))
    return build_diagnoses(report, "accuracy", "accuracy")


QUIET, NOISY = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98], [1.0, 9.0, -7.0, 4.0, -3.0, 6.0]


def test_unequal_variances_are_an_alarm_with_a_remedy(tmp_path):
    (found,) = diagnose(tmp_path, {"a": QUIET, "b": NOISY})
    assert found.alarm
    assert 'variance="separate"' in found.sentences[-1]
    assert found.plot
    assert [spread[0] for spread in found.spreads] == ["a", "b"]


def test_separate_variances_are_no_alarm(tmp_path):
    (found,) = diagnose(tmp_path, {"a": QUIET, "b": NOISY}, variance="separate")
    assert not found.alarm
    assert "Welch" in found.sentences[-1]


def test_two_seeds_are_too_few_for_the_test(tmp_path):
    (found,) = diagnose(tmp_path, {"a": [1.0, 2.0], "b": [3.0, 3.5]})
    assert "needs three seeds" in found.sentences[-1]


def test_equal_values_have_no_plot_and_one_seed_has_no_diagnosis(tmp_path):
    (found,) = diagnose(tmp_path / "a", {"a": [1.0, 1.0], "b": [2.0, 2.0]})
    assert not found.plot
    assert "no noise to estimate" in found.sentences[0]
    assert diagnose(tmp_path / "b", {"a": [1.0], "b": [2.0]}) == []
