"""Residual diagnostics of each group: whether one variance and one effect of seeds describe it."""

from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.page.lines import residuals_svg
from quatrain.report.text import format_fixed
from quatrain.results.diagnostics import Diagnostics, diagnose
from quatrain.results.fit import Fit
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup


@dataclass(frozen=True)
class GroupDiagnosis:
    """The residual plot of a group, sentences about it, and the spread of each cell."""

    group: str
    sentences: tuple[str, ...]
    alarm: bool
    """Whether the variances differ significantly."""
    plot: Markup
    spreads: tuple[tuple[str, int, str, str], ...]
    """Cell, seeds, mean and standard deviation."""


def build_diagnoses(report: Report, metric: str, title: str) -> list[GroupDiagnosis]:
    """The diagnostics of each group with two runs of a cell."""
    found: list[GroupDiagnosis] = []
    for group in report.groups.names:
        fitted = report.groups.fit(group, metric)
        if fitted is None or not fitted.df:
            continue
        result = diagnose(fitted)
        found.append(
            GroupDiagnosis(
                group,
                _sentences(result, fitted, title),
                result.variances_differ and fitted.variance == "pooled",
                residuals_svg(group, fitted, title) if fitted.sd else Markup(""),
                _spreads(result, fitted),
            )
        )
    return found


def _sentences(result: Diagnostics, fitted: Fit, title: str) -> tuple[str, ...]:
    sd = f"{result.sd:.3g}" if result.sd is not None else "unknown"
    sentences = [f"Residual standard deviation {sd} {title}, {result.df} degrees of freedom."]
    if result.sd == 0:
        sentences = [f"All seeds of a cell give equal values of {title}: no noise to estimate."]
    if result.seed_correlation is not None:
        correlation = f"{round(result.seed_correlation, 2) + 0.0:.2f}".replace("-", "−")
        sentences.append(f"Correlation of two cells under one seed: {correlation}.")
    p = result.equal_variances_p
    if fitted.variance == "separate":
        sentences.append("Each cell has a variance of its own (Welch), as the study declares.")
    elif p is None and result.sd:
        sentences.append("Equality of variances is not tested: it needs three seeds of two cells.")
    elif p is not None and result.variances_differ:
        sentences.append(
            f"The variances of the cells differ (Brown-Forsythe, p = {p:.3f}), so pooled intervals "
            'are too narrow for the noisier cells: set variance="separate" in the study file, or '
            "read the differences of quieter cells only."
        )
    elif p is not None:
        sentences.append(f"No sign of unequal variances (Brown-Forsythe, p = {p:.2f}).")
    return tuple(sentences)


def _spreads(result: Diagnostics, fitted: Fit) -> tuple[tuple[str, int, str, str], ...]:
    return tuple(
        (
            cell,
            len(own),
            format_fixed(sum(own.values()) / len(own), 3),
            f"{result.cell_sd[cell]:.3g}" if cell in result.cell_sd else "–",
        )
        for cell, own in fitted.values.items()
    )
