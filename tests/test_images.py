"""Pixels to numbers and back, and the constants between nats and bits."""

import math
import os

import numpy as np
import pytest
import torch

import tabular_data
from flowkit.errors import ArgumentError, DataError, ShapeError
from flowkit.flows import Flow, StandardLogistic, StandardNormal, nice
from flowkit.images import PixelMap, class_marginal, inpaint
from flowkit.transforms import Chain, Identity

MAPS = {
    "maf": PixelMap(squeeze=1e-6),
    "cifar": PixelMap(squeeze=0.05),
    "nice": PixelMap(),
    "wide": PixelMap(low=-1.0),
    "few": PixelMap(levels=4, squeeze=0.01),
}


@pytest.mark.parametrize("name", MAPS)
def test_levels_come_back(name):
    pixels = torch.randint(0, MAPS[name].levels, (50, 30), dtype=torch.uint8)
    x = MAPS[name].encode(pixels, generator=torch.Generator().manual_seed(0))
    assert torch.equal(MAPS[name].decode(x), pixels)
    assert x.dtype == torch.float64


@pytest.mark.parametrize("name", MAPS)
def test_log_slope_is_that_of_the_inverse(name):
    """Held against finite differences of the map without noise."""
    found = MAPS[name]
    v = torch.linspace(0.01, found.levels - 0.01, 200, dtype=torch.float64)[:, None]
    step = 1e-5

    def numbers(k):
        v = k / found.levels
        if found.squeeze is None:
            return found.low + (found.high - found.low) * v
        return torch.logit(found.squeeze + (1 - 2 * found.squeeze) * v)

    slope = (numbers(v + step) - numbers(v - step)) / (2 * step)
    assert torch.allclose(found.log_slope(numbers(v)), slope.log()[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_uniform_levels_cost_their_entropy(name):
    """The density of uniform noise, carried through the map, is log2(levels) bits, exactly."""
    found = MAPS[name]
    x = found.encode(torch.randint(0, found.levels, (20, 8)))
    log_prob = -found.log_slope(x) - 8 * math.log(found.levels)
    bits = found.bits_per_dimension(log_prob, x)
    assert bits.numpy() == pytest.approx(np.full(20, math.log2(found.levels)), abs=1e-9)


@pytest.mark.skipif("TABULAR_DATA_HOME" not in os.environ, reason="TABULAR_DATA_HOME is not set")
def test_constant_between_nats_and_bits_of_mnist():
    """Computed from published pairs of both: -0.50 on MNIST's test set."""
    pixels = torch.from_numpy(tabular_data.load("mnist").test.copy())
    x = MAPS["maf"].encode(pixels, generator=torch.Generator().manual_seed(0))
    nats = torch.zeros(len(x), dtype=torch.float64)
    constant = float(MAPS["maf"].bits_per_dimension(nats, x).mean())
    assert constant == pytest.approx(-0.5024, abs=2e-3)
    # MAF's -1300.5 nats are the 1.89 bits that others quote, NICE's 1980.50 are 4.36.
    assert constant + 1300.5 / (784 * math.log(2)) == pytest.approx(1.89, abs=5e-3)
    nice_bits = MAPS["nice"].bits_per_dimension(torch.full((1,), 1980.50), torch.zeros(1, 784))
    assert nice_bits.item() == pytest.approx(4.356, abs=1e-3)


def test_classes_are_mixed_equally():
    class Shifted(Flow):
        def log_prob(self, x, context=None):
            return torch.distributions.Normal(context.argmax(-1).double(), 1.0).log_prob(x[..., 0])

    flow = Shifted(Chain(Identity(1)), StandardNormal(1))
    x = torch.tensor([[0.3], [1.7]], dtype=torch.float64)
    each = torch.stack([torch.distributions.Normal(c, 1.0).log_prob(x[:, 0]) for c in (0.0, 1.0)])
    expected = each.exp().mean(0).log()
    assert torch.allclose(class_marginal(flow, x, 2), expected)


def test_inpainting_keeps_what_is_known_and_climbs():
    torch.manual_seed(0)
    flow = nice(6, layers=2, hidden=(8,), base=StandardLogistic(6))
    x = torch.rand(20, 6) * 6 - 3
    known = torch.tensor([True, True, False, False, True, False])
    filled = inpaint(flow, x, known, steps=200, low=-3.0, high=3.0)
    assert torch.equal(filled[:, known], x[:, known])
    assert filled.abs().max() <= 3
    assert flow.log_prob(filled).mean() > flow.log_prob(x).mean() + 1


def test_refusals():
    for options in ({"levels": 1}, {"squeeze": 0.5}, {"squeeze": 0.0}, {"low": 1.0}):
        with pytest.raises(ArgumentError, match=next(iter(options)).replace("low", "high")):
            PixelMap(**options)
    with pytest.raises(ShapeError, match="log_prob"):
        MAPS["nice"].bits_per_dimension(torch.zeros(3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="known"):
        inpaint(nice(4), torch.rand(2, 4), torch.ones(4))


@pytest.mark.parametrize(
    ("pixel", "expected"), [(0.5, "an integer"), (256.0, "a level, 0 to 255"), (-1.0, "a level")]
)
def test_what_is_no_level_is_refused(pixel, expected):
    pixels = torch.tensor([[0.0, 255.0], [3.0, pixel]])
    with pytest.raises(DataError, match=rf"^pixels, row 1, column 1: expected {expected}"):
        PixelMap(squeeze=1e-6).encode(pixels)
