import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.tasks.vision.sampler import image_batches, image_generator


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_batches_are_full_and_contain_each_image_at_most_once(images, batch, seed, epoch):
    plans = image_batches(images, batch, seed=seed, epoch=epoch)
    indices = [index for plan in plans for index in plan.indices]
    assert len(set(indices)) == len(indices)
    assert set(indices) <= set(range(images))
    if images >= batch:
        assert {len(plan.indices) for plan in plans} == {batch}
        assert images - len(indices) < batch
    else:
        assert len(indices) == images
        assert len(plans) == min(images, 1)


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): image_batches(40, 40, seed=seed, epoch=epoch)[0].indices
        for seed in range(2)
        for epoch in range(2)
    }
    assert len(set(orders.values())) == 4
    assert orders[1, 1] == image_batches(40, 40, seed=1, epoch=1)[0].indices


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_each_image_of_each_epoch_has_its_own_generator(other):
    one, same, another = (
        torch.rand(5, generator=image_generator(*key)) for key in ((0, 0, 0), (0, 0, 0), other)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, another)
