from quatrain.report.notes import Note, notes_by_kind

NOTES = (
    Note("Unfinished runs", "runs still to be done: self/0000"),
    Note("Data", "data, test: pixels ignored: 5"),
    Note("Compared cells", "equal metrics in all seeds"),
    Note("Data", "data: warnings were not recorded in 2 runs"),
)


def test_notes_are_grouped_in_a_fixed_order_and_none_is_lost():
    found = notes_by_kind(NOTES)
    assert [*found] == ["Compared cells", "Unfinished runs", "Data"]
    assert found["Data"] == [NOTES[1].text, NOTES[3].text]


def test_no_note_gives_no_kind():
    assert notes_by_kind([]) == {}
