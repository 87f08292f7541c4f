"""A results folder of many finished runs, written without any training.

    study = write_runs(Path("runs"), cells=500, seeds=20)     # the study file; runs/study.json

The cells are translators on numerals: those of a group differ in the terms and the window of
encoder-decoder attention, and groups in the learning rate. Each cell is compared with the first of
its group. A run has the files of a real one: its spec, its record with four metrics, and a log of
25 lines. Values are random, with differences between cells and noise between seeds.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quatrain.results import Record, ResultStore
from quatrain.study import Run, load_study

STEPS, REPORT_EVERY = 250, 10
_STUDY = '''"""{cells} cells with {seeds} seeds, to measure the load of many runs."""

from quatrain.models.decoding import DecodingSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.specs import ALL_TERM_SETS
from quatrain.study import Cell, Comparison, Study
from quatrain.tasks.translation import NumeralsSpec, TranslationSpec, VocabularySpec
from quatrain.training import Recipe

WINDOWS = [None, *range(3, 3 + 2 * ({of_a_group} // 16), 2)]
PLACES = [(str(terms), window) for window in WINDOWS for terms in ALL_TERM_SETS]


def name_of(terms, window):
    return terms if window is None else f"{{terms}}@{{window}}"


def cell(number):
    group, place = divmod(number, {of_a_group})
    terms, window = PLACES[place]
    model = TranslatorSpec(width=64, layers=2, feed_forward=128,
                           cross=AttentionSpec(terms=terms, window=window, heads=4))
    recipe = Recipe(steps={steps}, warmup_steps=40, learning_rate=1e-4 * (group + 1),
                    report_every={every})
    spec = TranslationSpec(data=NumeralsSpec(), vocabulary=VocabularySpec(size=800), model=model,
                           recipe=recipe, decoding=DecodingSpec(beam=1))
    return Cell(name=name_of(terms, window), group=f"rate {{group + 1}}", spec=spec)


cells = [cell(number) for number in range({cells})]
first = {{each.group: each for each in reversed(cells)}}
study = Study(
    title="Many runs",
    question="How long does a look at many runs take?",
    cells=cells,
    seeds=range({seeds}),
    metric="bleu",
    lower_is_better={{"chrf": False}},
    margin=0.5,
    comparisons=[
        Comparison(left=each.name, right=first[each.group].name, group=each.group)
        for each in cells
        if each is not first[each.group]
    ],
)
'''


def write_runs(folder: Path, cells: int, seeds: int, of_a_group: int = 25) -> Path:
    """Write a study file and its finished runs to `folder`; return the path of the study file.

    Args:
        folder: the folder of results; it must not exist.
        cells: the number of cells.
        seeds: the seeds of each cell.
        of_a_group: the cells of a group.
    """
    folder.mkdir(parents=True)
    path = folder / "many_runs.py"
    numbers = {"cells": cells, "seeds": seeds, "of_a_group": of_a_group}
    text = _STUDY.format(**numbers, steps=STEPS, every=REPORT_EVERY)
    path.write_text(text, encoding="utf-8")
    study, store = load_study(path), ResultStore(folder)
    store.write_manifest(study.manifest())
    specs: dict[int, tuple[dict[str, Any], str]] = {}
    for run in study.select():
        if id(run.spec) not in specs:
            specs[id(run.spec)] = run.spec.model_dump(mode="json"), run.spec.to_json()
        resolved, text = specs[id(run.spec)]
        run_folder = store.folder(run.identity)
        run_folder.mkdir(parents=True)
        (run_folder / "spec.json").write_text(f"{text}\n", encoding="utf-8")
        (run_folder / "metrics.jsonl").write_text("".join(_log(run)), encoding="utf-8")
        record = _record(run, resolved).to_json()
        (run_folder / "record.json").write_text(record, encoding="utf-8")
    return path


def _record(run: Run, spec: dict[str, Any]) -> Record:
    """A record like that of a run on numerals; cells differ in their means, seeds by noise."""
    of_cell, of_run = _random(run.labels[0]), _random(run.identity)
    level, noise = of_cell.uniform(60, 80), of_run.gauss(0, 2)
    return Record(
        cell=run.labels[0],
        identity=run.identity,
        seed=run.seed,
        spec=spec,
        spec_name=type(run.spec).__name__,
        metrics={
            "bleu": level + noise,
            "chrf": level + 15 + noise / 2,
            "test_loss": 1 - level / 100 - noise / 100,
            "valid_loss": 1 - level / 100 - of_run.gauss(0, 0.02),
        },
        signatures={
            "bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
            "chrf": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
        },
        cost={
            name: of_cell.uniform(1, 2) * size
            for name, size in (
                ("parameters", 2e5),
                ("multiply_adds", 3e6),
                ("multiply_adds_closed_form", 3e6),
                ("paper_multiply_adds", 3e6),
            )
        },
        versions={"python": "3.11.7", "quatrain": "0.2.0", "torch": "2.14.1", "numpy": "2.4.6"},
        device="cpu (example)",
        threads=1,
        commit="0" * 40,
        code=run.code,
        spec_code=run.spec_code,
        earlier=(),
        data={"numerals": "a" * 64},
        test_data={"numerals": "a" * 64},
        data_notes={},
        artifacts=("hypotheses.txt", "vocabulary.json"),
        fingerprint=tuple(of_cell.uniform(2, 8) for _ in range(3)),
        weights=f"{of_run.getrandbits(256):064x}",
        steps=STEPS,
        seconds=of_run.uniform(9, 12),
    )


def _log(run: Run) -> Iterator[str]:
    """The lines of a falling loss."""
    noise = _random(run.identity)
    for step in range(REPORT_EVERY, STEPS + 1, REPORT_EVERY):
        values = {"loss": 4 * 0.99**step + noise.uniform(0, 0.1), "learning_rate": 1e-4}
        values |= {"rate": 9000 * noise.uniform(0.9, 1.1), "waiting": 0.01, "seconds": step / 25}
        yield json.dumps({"step": step, **values}) + "\n"


def _random(text: str) -> random.Random:
    """A generator that is the same for the same text."""
    return random.Random(text)  # noqa: S311 - values of an example
