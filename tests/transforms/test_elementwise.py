"""Maps of one feature at a time: tables encode columns by the same parts as flows."""

import math

import numpy as np
import pytest
import torch

from flowkit.schema.codec import from_line, support_of, to_line
from flowkit.schema.columns import Column
from flowkit.tabular.continuous.preprocessing import Marginals
from flowkit.testing import check_transform
from flowkit.transforms import (
    Affine,
    Circular,
    Elementwise,
    ElementwiseTransform,
    Interval,
    Log,
    Logit,
    Softplus,
    Standardize,
)

MAPS = {
    "log": lambda: Log(2),
    "softplus": lambda: Softplus(2),
    "interval": lambda: Interval(2, [0.0, None], [1.0, 5.0]),
    "logit": lambda: Logit(2, 0.05),
    "circular": lambda: Circular(2, 24.0),
    "standardize": lambda: Standardize([1.0, 2.0], [0.5, 3.0]),
    "affine": lambda: Elementwise(2, Affine()),
}


@pytest.mark.parametrize("name", MAPS)
def test_sums_are_those_of_the_features(name):
    layer = MAPS[name]().double()
    x = torch.rand(20, 2, dtype=torch.float64) * 0.8 + 0.1
    assert isinstance(layer, ElementwiseTransform)
    z, log_derivative = layer.map(x)
    assert log_derivative.shape == x.shape
    value, logabsdet = layer(x)
    assert torch.equal(value, z)
    assert torch.allclose(logabsdet, log_derivative.sum(-1))
    back, inverse = layer.unmap(z)
    assert torch.allclose(back, x)
    assert torch.allclose(inverse, -log_derivative)
    # One feature alone has the same map: the Jacobian is diagonal.
    other = x.clone()
    other[:, 1] = 0.3
    assert torch.equal(layer.map(other)[0][:, 0], z[:, 0])


@pytest.mark.parametrize("name", MAPS)
def test_absent_entries_stay_absent_and_add_nothing(name):
    layer = MAPS[name]().double()
    x = torch.rand(6, 2, dtype=torch.float64) * 0.8 + 0.1
    x[:3, 0] = math.nan
    z, total = layer.map_present(x)
    assert torch.equal(z.isnan(), x.isnan())
    log_derivative = layer.map(x)[1]
    assert torch.allclose(total[:3], log_derivative[:3, 1])
    assert torch.allclose(total[3:], log_derivative[3:].sum(-1))


def skewed(rows=400):
    """Draw a column with a tail, one on a grid, one that is an angle and one of a huge scale."""
    rng = np.random.default_rng(0)
    return np.stack(
        [
            rng.lognormal(0, 1.2, rows),
            np.round(rng.normal(0, 9, rows)) + rng.uniform(0, 0.2, rows),
            rng.uniform(-3, 3, rows),
            1e6 * rng.standard_t(2, rows) + 3e7,
        ],
        axis=1,
    )


@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")  # of vmap's own layout
def test_the_marginals_of_a_table_keep_the_contract_of_transforms():
    values = skewed()
    circular = np.array([False, False, True, False])
    marginals = Marginals.fit(values, np.ones(len(values)), circular)
    assert marginals.knots
    assert bool(marginals.curved[0])
    generator = torch.Generator().manual_seed(0)
    # Off the knots, where the map has two slopes.
    x = torch.from_numpy(values[:40]) + 1e-3 * torch.rand(40, 4, generator=generator).double()
    check_transform(marginals, x)
    assert torch.equal(marginals.restore(x), marginals.unmap(x)[0])


COLUMNS = {
    "real": Column("x", "real", "float64"),
    "positive": Column("x", "positive", "float64"),
    "bounded": Column("x", "bounded", "float64", lower=-2.0, upper=7.0),
    "from below": Column("x", "bounded", "float64", lower=-2.0),
    "from above": Column("x", "bounded", "float64", upper=7.0),
    "angle": Column("x", "circular", "float64", period=24.0),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_encoded_by_transforms(name):
    column = COLUMNS[name]
    x = np.linspace(0.01, 6.99, 50)
    line, log_derivative = to_line(column, x)
    z, found = support_of(column).map(torch.from_numpy(x).unsqueeze(-1))
    assert np.allclose(line, z.squeeze(-1).numpy())
    assert np.allclose(log_derivative, found.squeeze(-1).numpy())
    step = 1e-6
    slope = (to_line(column, x + step)[0] - to_line(column, x - step)[0]) / (2 * step)
    assert np.allclose(np.log(slope), log_derivative, atol=1e-6)
    assert np.allclose(from_line(column, line), x)


def test_open_bounds_are_never_drawn():
    column = COLUMNS["bounded"]
    x = from_line(column, np.array([-800.0, -40.0, 40.0, 800.0]))
    assert ((x > -2) & (x < 7)).all()
    assert (to_line(column, np.array([-2.0, 7.0, 8.0]))[1] == -np.inf).all()
