import pytest

from fake.results import put_record
from quatrain.report.effects import build_effects
from quatrain.report.groups import Groups
from quatrain.report.runs import load_runs
from quatrain.results import Manifest, ManifestCell, ResultStore


@pytest.fixture
def grid(tmp_path, make_record):
    """A grid of term sets whose score is 2 for E1, 1 for E3, and 0.5 for both together."""

    def build(sets, seeds=lambda _: (0, 1)):
        store, cells = ResultStore(tmp_path), []
        for terms in sets:
            identities = {}
            for seed in seeds(terms):
                e1, e3 = terms[0] == "1", terms[2] == "1"
                score = 20 + 2 * e1 + e3 + 0.5 * (e1 and e3) + 0.01 * seed * (1 + 2 * e1)
                spec = {"model": {"mixer": {"kind": "attention", "terms": terms}}}
                record = make_record(terms, seed, score, spec=spec)
                put_record(store, record)
                identities[seed] = record.identity
            cells.append(
                ManifestCell(
                    name=terms, group="g", spec_name="TranslationSpec", identities=identities
                )
            )
        store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(cells)))
        study = load_runs(store)
        return build_effects(Groups(study), "bleu")

    return build


SETS = [format(n, "04b") for n in range(16)]


def test_effects_of_a_complete_grid(grid):
    (found,) = grid(SETS)
    main = {row.name: row.estimate.value for row in found.of_kind("main effect")}
    assert main == pytest.approx({"E1": 2.26, "E2": 0, "E3": 1.25, "E4": 0}, abs=0.01)
    interactions = {row.name: row.estimate.value for row in found.of_kind("interaction")}
    assert interactions["E1 × E3"] == pytest.approx(0.25)
    shares = [row.estimate.value for row in found.of_kind("Shapley share")]
    assert sum(shares) == pytest.approx(3.51)
    assert found.missing == ()
    assert found.of_kind("main effect")[0].price["multiply_adds"] == pytest.approx(1e8)


def test_an_incomplete_grid_names_its_pairs_aliases_and_missing_effects(grid):
    (found,) = grid(["0000", "0010", "1000", "1111"])
    main = {row.name: row for row in found.of_kind("main effect")}
    assert set(main) == {"E1", "E3"}
    assert main["E1"].averaged == (1, 8)
    assert main["E1"].aliases[("E1", "E3")] == -1
    assert ("E2",) in found.missing
    assert found.of_kind("Shapley share") == ()


def test_effects_of_cells_without_common_seeds_are_missing(grid):
    (found,) = grid(
        ["0000", "0010", "1000", "1010"], lambda terms: (0, 1) if terms[0] == "1" else (2, 3)
    )
    assert [row.name for row in found.of_kind("main effect")] == ["E3"]
    assert ("E1",) in found.missing


def test_main_effects_of_half_a_grid(grid):
    (found,) = grid([terms for terms in SETS if terms.count("1") % 2 == 0])
    main = {row.name: row for row in found.of_kind("main effect")}
    assert main["E1"].estimate.value == pytest.approx(2.26, abs=0.01)
    assert main["E1"].averaged == (4, 8)
    assert main["E1"].aliases == {("E2", "E3", "E4"): 1}


def test_two_cells_are_no_grid(grid):
    assert grid(["0000", "1111"]) == []
