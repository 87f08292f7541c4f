import torch

from quatrain.ops.attention.blockwise.workspace import Room


def test_who_asks_next_is_given_the_same_memory():
    room, like = Room(), torch.zeros(1, dtype=torch.float64)
    first, smaller = room.of((3, 4), like), room.of((2, 5), like)
    assert first.shape == (3, 4)
    assert smaller.shape == (2, 5)
    assert smaller.dtype == torch.float64
    assert first.data_ptr() == smaller.data_ptr()


def test_it_grows_where_more_is_asked_for_and_stays_so():
    room, like = Room(), torch.zeros(1)
    small = room.of((2, 2), like)
    large = room.of((3, 3), like).fill_(1.0)
    assert small.data_ptr() != large.data_ptr()
    assert room.of((2, 2), like).sum() == 4
