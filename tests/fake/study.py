"""The head of a study file whose task only counts; tests append `study = Study(...)`."""

from types import SimpleNamespace

from quatrain.specs import DataError, Spec
from quatrain.study import Cell, Comparison, Study  # noqa: F401  (used by what is appended)


class Task:
    def __init__(self, spec, folder, seed):
        self.spec, self.folder, self.seed = spec, folder, seed
        self.data_hashes = {"numbers.txt": "ab" * 32}
        self.data_notes = {"train: numbers that are odd": 1200}

    def evaluate(self, objective, folder):
        (folder / "answers.txt").write_text(str(objective))
        return SimpleNamespace(
            metrics={"score": float(objective)},
            signatures={"score": "sum"},
            artifacts=("answers.txt",),
        )

    def cost(self, _objective):
        return {"parameters": 1.0, "multiply_adds": 2.0, "multiply_adds_closed_form": 2.0}


class FakeSpec(Spec):
    """Counts to `steps`, adding the seed each time."""

    steps: int = 4
    weight: int = 1
    trouble: str = ""

    def open(self, data, folder, seed):
        if self.trouble == "data" and data is None:
            raise DataError("the task reads data; pass --data", "data")
        return Task(self, folder, seed)


def cell(name, group="one", **fields):
    return Cell(name=name, group=group, spec=FakeSpec(**fields))
