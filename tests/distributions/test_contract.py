"""Every distribution keeps the contract, and `check_distribution` sees those that do not."""

import math

import pytest
import torch
from base_zoo import BASES, CONTEXT, moved
from torch import nn

from flowkit.distributions import (
    BinaryMADE,
    CategoricalLikelihood,
    ConditionalNormal,
    Dequantized,
    DiagonalNormal,
    Distribution,
    Factorized,
    Flow,
    FullNormal,
    GaussianLikelihood,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    PixelDistribution,
    StandardNormal,
)
from flowkit.errors import ArgumentError, ContextError
from flowkit.flows import binary_made, maf, nsf
from flowkit.nets import MADE, MLP, PixelCNN
from flowkit.testing import check_distribution
from flowkit.vae import posterior

GIVEN = torch.cat([CONTEXT, -CONTEXT])


def possible(distribution, context=None, n=6):
    """Draw points that the distribution gives a density."""
    shape = () if context is not None else (n,)
    return distribution.sample(shape, context, torch.Generator().manual_seed(3)).detach()


@pytest.mark.parametrize("name", BASES)
def test_bases(name):
    base = moved(BASES[name](), 0.1)
    check_distribution(base, possible(base))


CONDITIONAL = {
    "normal": lambda: ConditionalNormal(2, context_features=2, hidden=(8,)),
    "joint": lambda: JointBase(
        {0: StandardNormal(1), (2, 1): ConditionalNormal(2, context_features=2, hidden=())}
    ),
    "mixture": lambda: MixtureOfFlows(
        [ConditionalNormal(2, context_features=2, hidden=(8,)), DiagonalNormal(2)]
    ),
    "flow": lambda: nsf(2, context_features=2, hidden=(8,), layers=2),
    "posterior": lambda: posterior("planar", 2, context_features=2),
    "flow over a flow": lambda: Flow(
        maf(2, context_features=2, hidden=(8,)).transform, maf(2, hidden=(8,))
    ),
    "decoder": lambda: Factorized(
        MLP(2, 6, (8,)), 3, codes=2, likelihood=GaussianLikelihood("decoded")
    ),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional_distributions(name):
    distribution = moved(CONDITIONAL[name]())
    check_distribution(distribution, possible(distribution, GIVEN), GIVEN)


DISCRETE = {
    "bits": (lambda: binary_made(3, hidden=(8,)), 2, None),
    "conditional bits": (lambda: BinaryMADE(MADE(3, 1, (8,), context_features=2)), 2, GIVEN),
    "pixels": (lambda: PixelDistribution(PixelCNN((1, 2, 2), hidden=4, layers=2)), 2, None),
    "levels": (
        lambda: PixelDistribution(
            PixelCNN((1, 1, 2), hidden=4, layers=2, outputs=3), CategoricalLikelihood(3)
        ),
        3,
        None,
    ),
    "decoder of bits": (lambda: Factorized(MLP(2, 3, (8,)), 3, codes=2), 2, GIVEN),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_distributions(name):
    make, levels, context = DISCRETE[name]
    distribution = moved(make(), 0.5)
    check_distribution(distribution, possible(distribution, context), context, levels=levels)


def test_dequantized_counts():
    counts = Dequantized(moved(NormalMixture(2, 3), 0.5))
    x = possible(counts)
    with pytest.raises(ArgumentError):  # no integers
        counts.log_prob(x + 0.5)
    assert counts.event_shape == (2,)
    assert not counts.has_rsample
    assert counts.as_distribution().sample((3,)).shape == (3, 2)
    with pytest.raises(NotImplementedError, match="Dequantized has no rsample"):
        counts.as_distribution().rsample()


class Faulty(FullNormal):
    """A normal with one broken promise."""

    def __init__(self, fault):
        super().__init__(2)
        self.fault = fault

    def log_prob(self, z, context=None):
        if self.fault == "nan" and bool((z.abs() > 1e5).any()):
            return super().log_prob(z) * math.nan
        if self.fault == "batch mates" and z.dim() > 1:
            return super().log_prob(z - z.mean(0)) if len(z) > 4 else super().log_prob(z)
        if self.fault == "summed":
            return super().log_prob(z).sum()
        if self.fault == "noise":
            return super().log_prob(z) + 1e-3 * torch.rand(())
        if self.fault == "any context":
            return super().log_prob(z)
        return super().log_prob(z, context)

    def sample(self, sample_shape=(), context=None, generator=None):
        if self.fault == "any context":
            return super().sample(sample_shape, None, generator)
        if self.fault == "global noise":
            return super().sample(sample_shape, context, None)
        drawn = super().sample(sample_shape, context, generator)
        if self.fault == "detached":
            return drawn.detach()
        if self.fault == "wider":
            return 1.2 * drawn
        return drawn.float() if self.fault == "dtype" else drawn


FAULTS = {
    "nan": "log_prob is NaN at a number",
    "batch mates": "a row depends on its batch mates",
    "summed": "log_prob has shape",
    "noise": "two calls of log_prob differ",
    "any context": "a wrong context raises no ArgumentError",
    "global noise": "sample uses torch's global generator although a generator is given",
    "detached": "samples lack gradients",
    "wider": "draws do not follow the density",
    "dtype": "samples are of torch.float32",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_promises_are_seen(fault):
    distribution = moved(Faulty(fault))
    x = torch.randn(6, 2, dtype=torch.float64)
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_distribution(distribution, x)
    check_distribution(moved(Faulty(None)), x)


def test_what_is_no_distribution_is_named():
    with pytest.raises(ArgumentError, match="distribution: expected a Distribution, got Linear"):
        check_distribution(nn.Linear(2, 2), torch.zeros(4, 2))


def test_a_new_density_is_a_base_a_part_and_a_torch_distribution():
    class Ring(Distribution):
        """Uniform angles, normal radii around one: for points of the plane."""

        has_rsample = False

        def __init__(self):
            super().__init__(2)

        def log_prob(self, x, context=None):
            if context is not None:
                raise ContextError("context", "none", "one")
            if x.shape[-1:] != (2,):
                raise ArgumentError("x", "points of the plane", tuple(x.shape))
            radius = x.square().sum(-1).sqrt()
            inside = 0.5 * math.log(2 * math.pi * 0.01) + math.log(2 * math.pi)
            return -0.5 * ((radius - 1) / 0.1) ** 2 - inside - radius.log()

        def sample(self, sample_shape=(), context=None, generator=None):
            shape = (sample_shape,) if isinstance(sample_shape, int) else tuple(sample_shape)
            radius = 1 + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)
            angle = 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
            return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)

    ring = Ring()
    x = ring.sample(5)
    flow = moved(Flow(maf(2, hidden=(8,)).transform, ring))
    mixture = moved(MixtureOfFlows([ring, StandardNormal(2)]))
    for distribution in (flow, mixture):
        assert distribution.log_prob(x).isfinite().all()
        assert distribution.sample(7).shape == (7, 2)
    assert torch.equal(ring.as_distribution().log_prob(x), ring(x))
    drawn, log_prob = ring.sample_and_log_prob(4)
    assert torch.equal(ring.log_prob(drawn), log_prob)
