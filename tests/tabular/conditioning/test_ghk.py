"""Draws of dependent columns in ranges, and the weights that correct them, against rejection.

The ranges are far from the mean and the columns dependent, so that without its correction factor,
or with it at another row, each number here is wrong by tens of standard errors.
"""

import numpy as np
import pytest
import torch
from table_models import mixture, of_reals

from flowkit.tabular.conditioning.laws import GaussianLaw

COVARIANCE = np.array([[1.0, 0.9, 0.7], [0.9, 1.0, 0.8], [0.7, 0.8, 1.0]])
LOW, HIGH = np.array([-0.5, 0.5, -3.0]), np.array([1.5, 2.5, 0.3])
DRAWS = 40_000


def rejected(given=None):
    """Return draws in the ranges, and the probability of the ranges with its standard error."""
    rng = np.random.default_rng(0)
    rows = rng.multivariate_normal(np.zeros(3), COVARIANCE, 1_000_000)
    columns = slice(None)
    if given is not None:  # of the third column, given a value; the other two are ranged
        mean = COVARIANCE[:2, 2] * given
        spread = COVARIANCE[:2, :2] - np.outer(COVARIANCE[:2, 2], COVARIANCE[:2, 2])
        rows, columns = rng.multivariate_normal(mean, spread, 1_000_000), slice(0, 2)
    inside = ((rows >= LOW[columns]) & (rows <= HIGH[columns])).all(1)
    share = inside.mean()
    return rows[inside], share, np.sqrt(share * (1 - share) / len(rows))


def tensors(*rows):
    return [torch.tensor(np.tile(row, (DRAWS, 1))) for row in rows]


def weighed(weight, kept):
    """Return the mean weight and weighted means, with the standard errors of both."""
    mean = weight.mean()
    center = (weight[:, None] * kept).mean(0) / mean
    error = (weight[:, None] * (kept - center)).std(0) / mean / np.sqrt(len(kept))
    return mean, weight.std() / np.sqrt(len(kept)), center, error


@pytest.mark.parametrize("given", [None, 0.4])
def test_weighted_draws_of_one_gaussian_are_those_of_rejection(given):
    expected, share, share_error = rejected(given)
    law = GaussianLaw(mixture(np.zeros(3), COVARIANCE[None], [1.0]))
    y, low, high = np.full(3, np.nan), LOW.copy(), HIGH.copy()
    if given is not None:
        y[2], low[2], high[2] = given, np.nan, np.nan
    y, low, high = tensors(y, low, high)
    component = torch.zeros(DRAWS, dtype=torch.long)
    rows, log_weight = law.draw(y, low, high, component, torch.Generator().manual_seed(0))
    total = law.log_joint(y, low, high)[0, 0] + log_weight
    if given is not None:  # the density of the given value is exact
        total = total + 0.5 * given**2 + 0.5 * np.log(2 * np.pi)
    kept = rows.numpy()[:, : expected.shape[1]]
    mean, error, center, center_error = weighed(total.exp().numpy(), kept)
    assert abs(mean - share) < 4 * np.hypot(error, share_error)
    spread = expected.std(0) / np.sqrt(len(expected))
    assert (np.abs(center - expected.mean(0)) < 4 * np.hypot(center_error, spread)).all()
    # Dropped, the correction would be missed by far more than the errors above.
    unweighted = np.abs(kept.mean(0) - expected.mean(0)) / np.hypot(center_error, spread)
    assert unweighted.max() > 20
    assert log_weight.exp().std() > 0.1


def test_corrections_belong_to_their_own_rows():
    """Rows of two patterns in turn; those with one range need no correction."""
    law = GaussianLaw(mixture(np.zeros(3), COVARIANCE[None], [1.0]))
    _, share, share_error = rejected()
    y, low, high = tensors(np.full(3, np.nan), LOW, HIGH)
    low[::2, 1:], high[::2, 1:] = torch.nan, torch.nan
    component = torch.zeros(DRAWS, dtype=torch.long)
    rows, log_weight = law.draw(y, low, high, component, torch.Generator().manual_seed(1))
    assert (log_weight[::2] == 0).all()
    weight = (law.log_joint(y, low, high)[1::2, 0] + log_weight[1::2]).exp().numpy()
    error = weight.std() / np.sqrt(len(weight))
    assert abs(weight.mean() - share) < 4 * np.hypot(error, share_error)
    assert (rows[1::2] >= low[1::2]).all()


def test_conditional_of_several_ranges_is_that_of_rejection():
    """Through the estimator: evidence and draws, exactly proposed and by importance."""
    expected, share, share_error = rejected()
    far = mixture([[0.0] * 3, [9.0] * 3], np.stack([COVARIANCE, np.eye(3)]), [0.8, 0.2])
    density = of_reals(far)
    conditions = {name: tuple(ends) for name, *ends in zip("abc", LOW, HIGH, strict=True)}
    for method in ("exact", "importance"):
        found = density.given(conditions, method=method)
        error = np.hypot(found.standard_error, share_error / share)
        assert 0 < found.standard_error < 0.02
        assert abs(found.log_evidence - np.log(0.8 * share)) < 4 * error
        drawn = found.sample(4_000, random_state=0).to_numpy()
        spread = expected.std(0) * np.sqrt(1 / len(drawn) + 1 / len(expected))
        assert (np.abs(drawn.mean(0) - expected.mean(0)) < 5 * spread).all()
