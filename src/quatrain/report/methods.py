"""The methods that a report uses, as sentences with the keys of their references.

They state what intervals cover, by which method and under which assumptions, as the checklist of
NeurIPS requires. A method is listed only if a number of the report was computed with it.

Source: https://neurips.cc/public/guides/PaperChecklist, question 7.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quatrain.report.build import Report
from quatrain.report.columns import format_p
from quatrain.report.legend import interim_levels
from quatrain.report.text import title_of
from quatrain.results import pluralize
from quatrain.results.answers import LEVEL
from quatrain.results.fit import Fit
from quatrain.results.resampling import RESAMPLES
from quatrain.specs.notation import extensions_of, mixers_in


@dataclass(frozen=True)
class Method:
    """A sentence about a method, and the keys of its references in `references.bib`."""

    text: str
    references: tuple[str, ...] = ()


_MIXERS = {
    "attention": Method("Attention in four terms, E1 to E4.", ("zhu2019empirical",)),
    "deformable": Method("Deformable convolution.", ("dai2017deformable",)),
    "modulated": Method("Modulated deformable convolution.", ("zhu2019deformable",)),
    "dynamic": Method("Dynamic convolution.", ("wu2019pay",)),
    "lightweight": Method("Lightweight convolution.", ("wu2019pay",)),
    "deformable-attention": Method("Deformable attention.", ("zhu2021deformable",)),
    "dcnv3": Method("DCNv3.", ("wang2023internimage",)),
    "dcnv4": Method("DCNv4.", ("xiong2024efficient",)),
    "rope": Method("Rotary positions.", ("su2024roformer", "heo2024rotary")),
    "rope-mixed": Method("Rotary positions with learned frequencies.", ("heo2024rotary",)),
    "qknorm": Method("A norm of queries and keys (QK-norm).", ("henry2020query",)),
    "table": Method("A table of position biases.", ("shaw2018self", "raffel2020exploring")),
    "t5": Method("Position biases by T5's buckets.", ("raffel2020exploring",)),
    "alibi": Method("Position biases with fixed slopes (ALiBi).", ("press2022train",)),
    "swin": Method("A joint table of position biases (Swin).", ("liu2021swin",)),
    "cpb": Method("Continuous position bias (Swin V2).", ("liu2022swin",)),
    "gate": Method("An output gate of attention.", ("qiu2025gated",)),
    "null": Method(
        "A null key of logit 0 and value zero (softmax-off-by-one).",
        ("miller2023attention", "xiao2024efficient"),
    ),
}
"""By the kind of a mixer, and by the word of an extension of attention."""
_METRICS = {
    "bleu": ("papineni2002bleu", "post2018call"),
    "chrf": ("popovic2015chrf", "post2018call"),
    "ap": ("lin2014microsoft",),
}
"""References of metrics that have a signature."""

_KINDS_OF_DATA = {
    "digit scenes": Method(
        "Data: digit scenes, drawn from handwritten digits.", ("alpaydin1998optical",)
    ),
    "cityscapes": Method("Data: Cityscapes.", ("cordts2016cityscapes",)),
    "voc": Method("Data: Pascal VOC.", ("everingham2010pascal",)),
}
_FILES_OF_DATA = {
    "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16": Method(
        "Data: Multi30k, English to German, test set of 2016.", ("elliott2016multi30k",)
    ),
    "91ef5361a56867b156453cd9b2a7a98d6b0603eda5c4d30faf371b73c1f177fa": Method(
        "Data: CamVid.", ("brostow2009semantic",)
    ),
}
"""By the SHA-256 of the test data, as in the records."""


def methods_of(report: Report) -> list[Method]:
    """The methods of a report: statistics, then mechanisms, metrics and data of its records."""
    metric = report.differences.metric
    fits = {name: report.groups.fit(name, metric) for name in report.groups.names}
    finished = {name: fitted for name, fitted in fits.items() if fitted is not None}
    return [
        *_intervals(finished.values()),
        *_equal_variances(report),
        *_verdicts(report),
        *_test_noise(report),
        *_effects(report),
        *_mechanisms(report),
        *_metrics(report),
        *_data(report),
    ]


def references_of(methods: Iterable[Method]) -> list[str]:
    """The keys of the references, each once."""
    return list(dict.fromkeys(key for method in methods for key in method.references))


def _intervals(fits: Iterable[Fit]) -> Iterator[Method]:
    known = [fitted for fitted in fits if fitted.df]
    if not known:
        return
    yield Method(
        "Intervals have a level of 95 % and cover the variation between seeds, which determine the "
        "initialization and the order of the training data; they do not cover the choice of test "
        "examples, of training data or of hyper-parameters."
    )
    assumed = "the noise is independent between runs and normal"
    if known[0].variance == "separate":
        yield Method(
            "Each cell has a variance of its own; differences use Welch's standard error and "
            "Satterthwaite's degrees of freedom.",
            ("welch1947generalization", "satterthwaite1946approximate"),
        )
        yield Method(f"Assumption: {assumed}.")
        return
    yield Method(
        "Means of cells and effects of seeds are fitted by least squares for each group, with one "
        "residual variance for its cells; intervals and p-values are Student's t.",
        ("montgomery2017design",),
    )
    yield Method(
        f"Assumptions: effects of cells and seeds add up, {assumed}, and its variance is the same "
        "in all cells of a group."
    )


def _equal_variances(report: Report) -> Iterator[Method]:
    tests = {group: found.equal_variances_p for group, found in report.diagnostics.items()}
    listed = [f"{group} {format_p(p)}" for group, p in tests.items() if p is not None]
    if listed:
        yield Method(
            f"Equality of variances by the Brown-Forsythe test, p by group: {', '.join(listed)}.",
            ("brown1974robust",),
        )


def _verdicts(report: Report) -> Iterator[Method]:
    table, metric = report.differences, title_of(report.differences.metric)
    tested = [row for row in table.rows if row.answer and row.answer.adjusted_p is not None]
    if tested or report.findings:
        families = [
            *([pluralize(len(tested), "declared comparison")] if tested else []),
            *(["the paper's statements about a group"] if report.findings else []),
        ]
        yield Method(
            "p-values are adjusted by Shaffer's procedure, together for "
            f"{', and for '.join(families)}; intervals are not adjusted.",
            ("shaffer1986modified",),
        )
    margins = [result.margin for result in report.findings]
    if tested and table.margin is not None:
        margins.insert(0, table.margin)
    if margins:
        listed = ", ".join(f"{margin:g}" for margin in dict.fromkeys(margins))
        declared = ", declared before the study was run" if table.margin is not None else ""
        yield Method(
            f"Equivalence: two one-sided tests with a margin of {listed} {metric}{declared}.",
            ("schuirmann1987comparison",),
        )
    if tested and table.level < LEVEL:
        yield Method(
            "Seeds were added after a look at the results, so verdicts are at the level of "
            f"{100 * table.level:.2g} %.",
            ("kim1987design",),
        )
    if levels := interim_levels(table):
        yield Method(
            "Comparisons whose planned seeds have not all finished are judged at the level of "
            f"{levels}, as if the results were looked at after each seed.",
            ("kim1987design",),
        )
    separate = [row for row in tested if row.welch is not None and row.welch.low is not None]
    if separate and report.study.manifest.variance == "pooled":
        yield Method(
            "differences.csv also has the interval of each pair of cells by itself, with separate "
            "variances.",
            ("welch1947generalization", "satterthwaite1946approximate"),
        )


def _test_noise(report: Report) -> Iterator[Method]:
    table = report.differences
    if table.has_test_noise:
        yield Method(
            f"Intervals over test {table.examples} cover the choice of test {table.examples} for "
            "the trained seeds: 95 % percentile intervals of a paired bootstrap of "
            f"{RESAMPLES:,} resamples, the same for all cells and seeds. Verdicts do not use them.",
            ("koehn2004statistical",),
        )


def _effects(report: Report) -> Iterator[Method]:
    rows = [row for grid in report.effects for row in grid.rows]
    if rows:
        yield Method(
            "Main effects and interactions of terms are contrasts of a factorial design.",
            ("montgomery2017design",),
        )
    if any(row.kind == "Shapley share" for row in rows):
        yield Method(
            "A Shapley share is the mean gain by adding a term, over all orders of the terms.",
            ("shapley1953value", "kim2025factors"),
        )


def _mechanisms(report: Report) -> Iterator[Method]:
    specs = [spec for name in report.groups.names for spec in report.groups.specs(name).values()]
    kinds = {kind for spec in specs for mixer in mixers_in(spec).values() for kind in _kinds(mixer)}
    yield from (method for kind, method in _MIXERS.items() if kind in kinds)


def _kinds(mixer: Mapping[str, Any]) -> list[str]:
    """The mechanisms of a mixer; attention with a convolution has two, an extension one more."""
    parts = [mixer["attention"], mixer["convolution"]] if mixer["kind"] == "attended" else [mixer]
    kinds = ["modulated" if part.get("modulated") else str(part["kind"]) for part in parts]
    return [*kinds, *(word for part in parts for word in extensions_of(part))]


def _metrics(report: Report) -> Iterator[Method]:
    signatures: dict[str, dict[str, None]] = {}
    for record in report.study.all_records():
        for metric, signature in record.signatures.items():
            signatures.setdefault(metric, {})[signature] = None
    for metric in report.table.metric_names:
        own = signatures.get(metric, {})
        if not own:
            continue
        text = f"{title_of(metric)}: {' / '.join(own)}."
        yield Method(text, _METRICS.get(metric, ()))
    if any("miou" in row.metrics for row in report.table.rows):
        yield Method("mIoU: intersection over union, mean over classes.", ("everingham2010pascal",))


def _data(report: Report) -> Iterator[Method]:
    known: dict[Method, None] = {}
    for record in report.study.all_records():
        data = record.spec.get("data")
        kind = data.get("kind") if isinstance(data, dict) else None
        found = [_FILES_OF_DATA.get(digest) for digest in record.data.values()]
        found.append(_KINDS_OF_DATA.get(kind) if isinstance(kind, str) else None)
        known.update(dict.fromkeys(method for method in found if method is not None))
    yield from known
