"""The metrics of each term set after a training with sampled terms."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quatrain.training import Task


def evaluate_shared_weights(task: "Task", objective: Any) -> dict[str, dict[str, float]] | None:
    """The metrics of each term set, by its digits; None if the recipe samples no terms.

    Files that an evaluation writes are not kept.
    """
    recipe = getattr(task, "recipe", None)  # a task that trains by itself may have none
    if getattr(recipe, "terms", "fixed") == "fixed":
        return None
    from quatrain.switching.knockout import evaluate_term_sets

    with TemporaryDirectory() as folder:
        results = evaluate_term_sets(
            objective,
            lambda switched: task.evaluate(switched, Path(folder)).metrics,
            at=task.recipe.terms_at,
        )
    return {str(result.terms): result.metrics for result in results}
