"""`quatrain findings`: which of the paper's conclusions hold in the records of studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from quatrain.cli.arguments import absolute
from quatrain.cli.output import open_console, print_json, print_line
from quatrain.report.build import Report, load_report
from quatrain.report.document import findings_as_json
from quatrain.report.findings_page import PlannedStudy, findings_page
from quatrain.report.scale import scale_of
from quatrain.report.sentences import MARKS, finding_sentences
from quatrain.results import ResultStore
from quatrain.specs import StudyError


def findings(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results.", metavar="DIR...")],
    as_markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Print Markdown, with the links of docs/findings.md of this repository.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    planned: Annotated[
        list[Path] | None,
        typer.Option(
            help="Add the estimated GPU hours of this study to the Markdown page; may be repeated.",
            metavar="STUDY",
        ),
    ] = None,
) -> None:
    """Print which of the paper's findings hold in the records, and with what numbers.

    A finding holds if each of its statements with finished runs has the expected verdict, all
    statements of a group together at 5 %; "equivalent" is within the margin of the study, or within
    0.5 BLEU, mIoU or AP, or 1.0 AP50.

    Example: quatrain findings runs/multi30k_terms --json
    """
    if as_markdown and as_json:
        raise StudyError("two formats; use one of --markdown and --json", "format")
    if planned and not as_markdown:
        raise StudyError("--planned is for the page; add --markdown", "planned")
    reports = {folder: load_report(ResultStore(folder)) for folder in folders}
    if as_markdown:
        by_name = {folder.resolve().name: report for folder, report in reports.items()}
        print(_page(by_name, planned or ()), end="")
        return
    results = [(folder, report.findings) for folder, report in reports.items()]
    if as_json:
        print_json(
            [
                {"folder": str(folder), **finding}
                for folder, found in results
                for finding in findings_as_json(found)
            ]
        )
        return
    console = open_console()
    for folder, found in results:
        if not found:
            print_line(console, f"{folder}: no finished runs with results for a finding.")
        for result in found:
            first, *statements = finding_sentences(result)
            place = f"{result.place}, group {result.group}"
            print_line(console, f"{MARKS[first.mark]} {result.finding.number}. {first.text}")
            print_line(console, f"   {place}: {first.word}")
            for sentence in statements:
                print_line(console, f"   {MARKS[sentence.mark]} {sentence.text}")


def _page(reports: Mapping[str, Report], files: Sequence[Path]) -> str:
    """The page of the findings, with the studies of `files` as planned ones."""
    if not files:
        return findings_page(reports)
    from quatrain.cost.count import ASSUMED

    return findings_page(reports, [_planned_study(file) for file in files], ASSUMED)


def _planned_study(file: Path) -> PlannedStudy:
    """A study without any finished run, as `quatrain study plan` has it."""
    from quatrain.study import load_study
    from quatrain.study.estimate import plan_study

    path, here = absolute("study file", file), Path.cwd()
    study = load_study(path)
    runs = study.select()
    with TemporaryDirectory() as folder:
        rows = plan_study(study, ResultStore(Path(folder)), runs)
    hours = [row.gpu_hours for row in rows]
    known = [estimate for estimate in hours if estimate is not None]
    return PlannedStudy(
        file=str(path.relative_to(here)) if path.is_relative_to(here) else file.name,
        title=study.title,
        scale=scale_of(runs[0].spec.model_dump(mode="json")),
        runs=len(runs),
        seeds=max(len(study.seeds_for(cell)) for cell in study.cells),
        gpu_hours=sum(known) if len(known) == len(hours) else None,
    )
