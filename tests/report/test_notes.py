from quatrain.report.notes import Notes, notes_by_kind

NOTES = (
    "runs still to be done: self/0000",
    "data, test: pixels ignored: 5",
    "compared cells ran different commits: a − b",
    "compared cells differ in more than one factor (recipe.steps): a − b",
    "equal metrics in all seeds, so they may compute the same: a, b (g)",
    "latencies were measured on different machines: cpu, 1 threads; cuda, 1 threads",
    "something new",
    "data: warnings were not recorded in 2 runs",
)


def test_notes_are_grouped_in_a_fixed_order_and_none_is_lost():
    found = notes_by_kind(NOTES)
    assert [(each.kind, len(each.notes)) for each in found] == [
        ("Compared cells", 2),
        ("Unfinished runs", 1),
        ("Data", 2),
        ("Code and versions", 1),
        ("Machines", 1),
        ("Other", 1),
    ]
    assert sorted(note for each in found for note in each.notes) == sorted(NOTES)


def test_no_note_gives_no_kind():
    assert notes_by_kind([]) == []
    assert notes_by_kind(["ignored: x"]) == [Notes("Code and versions", ("ignored: x",))]
