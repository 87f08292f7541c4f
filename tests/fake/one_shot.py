"""Records of one-shot trainings, and of the single term sets to compare them with."""

from quatrain.results import Manifest, ManifestCell, Record

TRAINED = {"1111": 90.0, "0110": 60.0, "1000": 80.0}
SHARED = {"1111": 70.0, "0110": 50.0, "1000": 71.0}


def record(identity, seed, metrics, recipe, term_sets=None):
    return Record(
        cell=identity,
        identity=identity,
        seed=seed,
        spec={"recipe": recipe},
        spec_name="TranslationSpec",
        metrics=metrics,
        signatures={},
        cost={},
        versions={},
        device="cpu",
        threads=1,
        commit=None,
        data={},
        artifacts=(),
        term_sets=term_sets,
        steps=1,
        seconds=1.0,
    )


def write(store, cells, term_sets=SHARED):
    """Cells "group/name" with a recipe; the groups of single sets have two seeds."""
    manifest = []
    for number, (label, recipe) in enumerate(cells.items()):
        group, name = label.split("/")
        identities = {seed: f"{number:02}{seed}".ljust(64, "a") for seed in range(2)}
        manifest.append(
            ManifestCell(name=name, group=group, spec_name="TranslationSpec", identities=identities)
        )
        for seed, identity in identities.items():
            metrics = {"bleu": TRAINED.get(name, 1.0) + seed * (1 + number / 4)}
            sets = None
            if group.startswith("one-shot") and term_sets is not None:
                sets = {terms: {"bleu": value + seed} for terms, value in term_sets.items()}
            store.write_record(record(identity, seed, metrics, recipe, sets))
    store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(manifest)))


FIXED = {"steps": 100, "accumulate": 1}
CELLS = {f"self/{terms}": FIXED for terms in TRAINED} | {
    "one-shot self/sampled": {"steps": 30, "accumulate": 2, "terms": "sampled"},
    "one-shot self/sandwich": {"steps": 10, "accumulate": 1, "terms": "sandwich"},
}
