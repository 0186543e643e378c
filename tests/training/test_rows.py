import torch

from flowkit.training.rows import Order, Rows, shuffled, split
from flowkit.training.seeds import StepSeeds, mixed


def test_each_row_comes_once_an_epoch_in_an_order_of_its_own():
    rows = torch.arange(100, 110)
    order = Order(rows, 4, seed=0)
    stream = torch.cat([order(step) for step in range(1, 11)])  # four epochs of ten rows
    epochs = stream.reshape(4, 10)
    assert all(torch.equal(epoch.sort().values, rows) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    assert {len(order(step)) for step in range(1, 11)} == {4}


def test_the_shuffled_a_step_depend_on_nothing_that_came_before():
    rows = torch.arange(7)
    one = Order(rows, 3, seed=5)
    steps = [one(step) for step in range(1, 30)]
    for step in (29, 3, 12, 11):
        assert torch.equal(Order(rows, 3, seed=5)(step), steps[step - 1])
        assert torch.equal(one(step), steps[step - 1])
    assert not torch.equal(Order(rows, 7, seed=6)(1), Order(rows, 7, seed=5)(1))


def test_order_and_split_are_functions_of_the_whole_seed():
    assert torch.equal(shuffled(0, 3, 50), shuffled(0, 3, 50))
    assert not torch.equal(shuffled(0, 0, 50), shuffled(2**32, 0, 50))
    train, held_out = split(4, 10, 3)
    assert torch.equal(torch.cat([train, held_out]).sort().values, torch.arange(10))
    assert len(held_out) == 3
    assert mixed(1, 2, 3) != mixed(1, 3, 2)


def test_step_seeds_are_the_same_whenever_they_are_asked_for():
    seeds = StepSeeds(3, 1, 0)
    ahead = seeds(5_000)
    first = [seeds(step) for step in range(2_000)]
    assert StepSeeds(3, 1, 0)(5_000) == ahead
    assert len(set(first)) > 1_990
    assert [StepSeeds(3, 1, 1)(step) for step in range(3)] != first[:3]


def test_rows_take_what_goes_together():
    x, context, weights = torch.randn(5, 2, 3), torch.randn(5, 1), torch.rand(5)
    batch = Rows(x, context, weights).take(torch.tensor([4, 0]))
    assert torch.equal(batch.x, x[[4, 0]])
    assert torch.equal(batch.context, context[[4, 0]])
    assert torch.equal(batch.weights, weights[[4, 0]])
    assert Rows(x).take(torch.tensor([1])).context is None
