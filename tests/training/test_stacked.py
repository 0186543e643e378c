"""Stacked models with rows of their own against the same models, each fitted alone."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from flowkit.training import Batch, Step
from flowkit.training.options import Options
from flowkit.training.stacked import fit_stacked


class Means(nn.Module):
    """The mean of each of several samples, as stacked models."""

    def __init__(self, count):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(count, 1))

    def training_steps(self):
        return {"square": Step(self.parameters(), self.validation_loss)}

    def validation_loss(self, batch, generator):
        square = (batch.x.squeeze(-1) - self.mean).square()
        return {"square": (batch.weights * square).mean(-1)}


class Parts(NamedTuple):
    rows: list
    validation: list


def parts(sizes, held_out=(10, 10)):
    torch.manual_seed(0)
    rows = [Batch(torch.randn(n, 1) + i) for i, n in enumerate(sizes)]
    return Parts(rows, [Batch(torch.randn(n, 1) + i) for i, n in enumerate(held_out)])


def options(**changes):
    return Options(**{"steps": 60, "batch_size": 16, "learning_rate": 0.1} | changes)


def fitted(rows, validation, seeds, **changes):
    model = Means(len(rows))
    histories = fit_stacked(model, rows, validation, options(**changes), seeds=seeds)
    return model.mean.detach().flatten(), histories


def test_each_model_ends_as_it_would_alone():
    rows, validation = parts((100, 100))
    together, histories = fitted(rows, validation, [3, 4])
    for i in (0, 1):
        alone, (history,) = fitted([rows[i]], [validation[i]], [3 + i])
        torch.testing.assert_close(together[i], alone[0])
        assert history.best_step == histories[i].best_step
        assert [s for s, _ in history.validation] == [s for s, _ in histories[i].validation]


@pytest.mark.parametrize("sizes", [(100, 37), (37, 100)])
def test_models_with_fewer_rows_learn_from_these_alone(sizes):
    rows, _ = parts(sizes)
    rows = [Batch(part.x, weights=torch.rand(len(part.x)) + 0.5) for part in rows]
    means, _ = fitted(rows, rows, [0, 1], steps=800, batch_size=100)
    for i, part in enumerate(rows):
        expected = (part.weights * part.x[:, 0]).sum() / part.weights.sum()
        assert means[i].item() == pytest.approx(expected.item(), abs=0.05)


def test_validation_scores_are_weighted_means_of_the_own_rows():
    rows, validation = parts((50, 50), held_out=(10, 7))
    validation[1] = Batch(validation[1].x, weights=torch.arange(1.0, 8.0))
    validation[0] = Batch(validation[0].x, weights=torch.ones(10))
    _, histories = fitted(rows, validation, [0, 1], steps=1)
    for history, part in zip(histories, validation, strict=True):
        square = part.x[:, 0].square()  # the mean starts at zero
        expected = (part.weights * square).sum() / part.weights.sum()
        assert history.starting_score == pytest.approx(expected.item(), rel=1e-5)


def test_every_model_waits_for_its_own_patience():
    rows, validation = parts((100, 100))
    # The rows of the second model have mean 1. No step improves on the start of the first.
    validation[0] = Batch(torch.full((10, 1), -5.0))
    rows[0] = Batch(rows[0].x + 5)
    means, histories = fitted(rows, validation, [0, 1], patience=2, validate_every=5)
    assert histories[0].best_step == 0
    assert means[0] == 0
    assert histories[1].best_step >= 10
    assert len(histories[0].validation) == 2
