from quatrain.report.build import load_report
from quatrain.report.legend import interim_levels, verdict_legend


def legend_of(store, **changes):
    """The legend of differences after changes of the manifest."""
    store.write_manifest(store.manifest().model_copy(update=changes))
    return verdict_legend(load_report(store).differences)


def test_the_legend_names_the_model_of_the_variance(store):
    assert "one residual variance" in legend_of(store)
    assert "variance of its own (Welch)" in legend_of(store, variance="separate")


def test_the_legend_names_the_level_while_planned_seeds_have_not_finished(store, make_record):
    assert interim_levels(load_report(store).differences) == ""
    (store.folder(make_record("0110", 2, 0.0).identity) / "record.json").unlink()
    assert interim_levels(load_report(store).differences) == "1.7 %"
    assert "or of 1.7 % while planned seeds have not finished" in legend_of(store)
