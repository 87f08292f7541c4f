"""`ablate`: from three functions to a study of mixers in a network of one's own.

build() ─> insert each mixer ─> train(network, seed, device) ─> evaluate(network, device)

study = quatrain.ablate(
    build=make_network, train=train, evaluate=evaluate,
    before="layer3.*.conv3", example=images,
    mixers=["w/o", "0010", "0110", "1111"], metric="accuracy", margin=0.5,
)
if __name__ == "__main__":
    study.run(out="runs/mine")    # or: quatrain study run this_file.py --jobs 4
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from quatrain.ablation.functions import code_hash, study_code
from quatrain.ablation.spec import (
    AblationSpec,
    Build,
    Evaluate,
    Functions,
    Place,
    Placement,
    Train,
)
from quatrain.insertion.example_pass import Example
from quatrain.nn import Mixer, parse_mixer
from quatrain.report.build import Report
from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.study import Cell, Comparison, Selection, Study

GROUP = "network"
"""The group of all cells."""


class Ablation(Study):
    """A study of mixers at one place of a network, which can be run in this process."""

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    def run(
        self,
        out: str | Path = "runs/ablation",
        *,
        device: str = "cpu",
        cells: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        retry_failed: bool = False,
    ) -> Report:
        """Execute the runs that are not done yet, one after the other, and report.

        Finished runs are in the folder `out`: the same call goes on after an interruption, and
        `quatrain study run FILE --out OUT --jobs 4` continues the same runs in processes.

        Args:
            out: the folder of results.
            device: as torch names it.
            cells: globs of the names of mixers; all by default.
            seeds: by default those of the study.
            retry_failed: whether runs that failed before are tried again.

        Returns:
            The report, whose page is OUT/report/report.html.

        Raises:
            StudyError: if a run fails, with the first error, after all others were executed; or if
                the call is not under `if __name__ == "__main__"` in a study file.
        """
        from quatrain.ablation.in_process import execute

        selection = Selection(cells=cells, seeds=seeds, retry_failed=retry_failed)
        return execute(self, Path(out), device, selection)


def ablate(
    *,
    build: Build,
    train: Train,
    evaluate: Evaluate,
    example: Example,
    mixers: Iterable[str] | Mapping[str, Mixer | None],
    metric: str,
    before: str | None = None,
    after: str | None = None,
    at: str | None = None,
    seeds: int | Sequence[int] = 3,
    settings: Mapping[str, Any] | None = None,
    heads: int = 8,
    insertion: Mapping[str, Any] | None = None,
    **study: Any,
) -> Ablation:
    """A study that trains a network once for each mixer and seed, by your own functions.

    Torch, numpy and Python are seeded before `build` and before `train`. Runs with equal mixer,
    place, settings and code are the same run; other code of the functions makes new runs.

    Args:
        build: `() -> torch.nn.Module`, a new network in each call.
        train: `(network, seed, device) -> None`, trains it in place; with a parameter `folder`, it
            also gets the folder of the run, where it may keep checkpoints.
        evaluate: `(network, device) -> {"accuracy": 0.93, ...}`, metrics on test data; it is also
            called once before the training.
        example: an input of the network: a tensor, a tuple of arguments, or a dictionary of them.
            Costs are those of this input.
        mixers: in the paper's notation, such as "w/o", "0110", "0010+deformable"; or a name and a
            spec (or None) for each. Each is compared with "w/o" or, without it, with the first.
        metric: the name of the metric to compare.
        before: a pattern of module names; the mixer reads the input of these modules.
        after: a pattern; the mixer reads their output.
        at: a pattern; the mixer replaces these modules.
        seeds: their number, or the seeds.
        settings: further values that decide the result; each record has them.
        heads: attention heads of mixers in the paper's notation; they must divide the channels.
        insertion: `layout`, `causal` and `key_padding_mask` of `quatrain.insert`, and with `at`
            also `ignore` of `quatrain.replace`.
        study: further fields of `quatrain.Study`: `margin`, `lower_is_better`, `title`, ...

    Raises:
        StudyError: if not exactly one of before, after and at is given, or a field does not fit.
        SpecError: if a mixer is not in the notation, or settings have no form in JSON.
    """
    functions = Functions(build, train, evaluate, example, metric)
    code = study_code(sys._getframe(1).f_globals, functions.code)
    placement, pattern = _place(before, after, at)
    spec = AblationSpec(
        place=Place(placement=placement, pattern=pattern, **insertion or {}),
        settings=dict(settings or {}),
        code=code_hash(functions.code, code),
    )
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    fields = {"metric": metric, "seeds": seeds, "code": code, **study}
    return _study(_by_name(mixers, heads), spec, functions, fields)


def _study(
    mixers: Mapping[str, Mixer | None],
    spec: AblationSpec,
    functions: Functions,
    fields: dict[str, Any],
) -> Ablation:
    baseline = "w/o" if "w/o" in mixers else next(iter(mixers), "")
    place = f"{spec.place.placement} {spec.place.pattern}"
    defaults = {
        "title": f"Mixers {place}",
        "question": f"Which mixer {place} improves {functions.metric}, and at what cost?",
        "comparisons": [
            Comparison(left=name, right=baseline, group=GROUP)
            for name in mixers
            if name != baseline
        ],
        "cells": [
            Cell(
                name=name,
                group=GROUP,
                spec=AblationSpec(**{**dict(spec), "mixer": mixer}).with_functions(functions),
            )
            for name, mixer in mixers.items()
        ],
    }
    return Ablation(**defaults | fields)


def _place(before: str | None, after: str | None, at: str | None) -> tuple[Placement, str]:
    places: list[tuple[Placement, str | None]] = [("before", before), ("after", after), ("at", at)]
    given: list[tuple[Placement, str]]
    given = [(name, pattern) for name, pattern in places if pattern is not None]
    if len(given) != 1:
        message = f"{len(given)} of before, after and at are given; pass exactly one"
        raise StudyError(message, "before, after, at")
    return given[0]


def _by_name(
    mixers: Iterable[str] | Mapping[str, Mixer | None], heads: int
) -> dict[str, Mixer | None]:
    if isinstance(mixers, Mapping):
        return dict(mixers)
    if isinstance(mixers, str):
        raise StudyError(f"mixers={shorten(mixers)} is one text; write [{mixers!r}]", "mixers")
    names = [*mixers]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        message = f'mixers={shorten(names)} is no list of names; give names such as "0110", or '
        raise StudyError(message + "a dictionary of a name and a spec for each", "mixers")
    repeated = [name for number, name in enumerate(names) if name in names[:number]]
    if repeated:
        message = f"mixers has {shorten(repeated[0])} twice; give a dictionary with distinct names"
        raise StudyError(message, "mixers")
    return {name: parse_mixer(name, heads) for name in names}
