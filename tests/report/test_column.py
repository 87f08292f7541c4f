from quatrain.report.column import Column, words


def test_a_column_of_words_is_sorted_as_it_reads():
    assert words("cell", ["b", "a"]) == Column("cell", ("b", "a"), ("b", "a"), numeric=False)
