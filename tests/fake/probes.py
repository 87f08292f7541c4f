"""Finished runs of small probes, in the folder of a study."""

from quatrain.nn import parse_mixer
from quatrain.results import ResultStore
from quatrain.study import Cell, Study
from quatrain.study.execute import Environment, execute_run
from quatrain.tasks.probes import ProbeSpec, SaliencySpec
from quatrain.training import Recipe, train


def probe(mixer, **fields):
    recipe = {"steps": 4, "warmup_steps": 1, "learning_rate": 0.01} | fields
    return ProbeSpec(
        probe=SaliencySpec(),
        mixer=parse_mixer(mixer, heads=2),
        channels=8,
        batch=4,
        held_out=20,
        recipe=Recipe(**recipe),
    )


def finish(root, cells, seeds=(0,)):
    """Execute a probe for each name and spec; returns the store and the study."""
    study = Study(
        title="Probes",
        question="What is left without terms?",
        cells=[Cell(name=name, group=group, spec=spec) for (group, name), spec in cells.items()],
        seeds=seeds,
        metric="accuracy",
    )
    store = ResultStore(root)
    store.write_manifest(study.manifest())
    environment = Environment(
        store=store, data=None, device="cpu", threads=1, commit=None, train=train
    )
    for run in study.select():
        event = execute_run(run, environment, retry=False, notify=lambda _: None)
        assert event.kind == "done", event.message
    return store, study
