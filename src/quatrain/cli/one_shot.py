"""`quatrain one-shot`: how well one training for all term sets orders them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quatrain.cli.output import print_json
from quatrain.report.one_shot import one_shot_markdown, one_shot_report
from quatrain.results import ResultStore


def one_shot(
    folder: Annotated[Path, typer.Argument(help="A folder of results.", metavar="DIR")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare one-shot trainings with trainings of single term sets, as Markdown tables.

    A group "one-shot X" is compared with the group X, whose cells are term sets. Kendall's tau is
    over the pairs of sets whose difference is significant (95 % interval).

    Example: quatrain one-shot runs/numerals_one_shot
    """
    report = one_shot_report(ResultStore(folder))
    if not as_json:
        print(one_shot_markdown(report), end="")
        return
    document = asdict(report)
    for row, training in zip(document["trainings"], report.trainings, strict=True):
        row["agreement"]["tau"] = training.agreement.tau
    print_json(document)
