"""Likelihoods: distributions of observed scalars, with parameters from a decoder.

A likelihood has ``outputs`` parameters per observed scalar, ``(outputs, *batch, *event_shape)``.
Log-probabilities are per scalar; the caller sums over the dimensions of an event.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_choice, check_count, check_positive
from flowkit._dtypes import at_least_float32
from flowkit._noise import normal, source, uniform
from flowkit.distributions.logistic import log_logistic_mass
from flowkit.errors import DataError, ShapeError

_LOG_2PI = math.log(2 * math.pi)
# Least log-scale: without a limit, a constant pixel has an unbounded log-density.
_NARROWEST = -7.0


class Likelihood(nn.Module, ABC):
    """A distribution of an observed scalar, given ``outputs`` parameters."""

    outputs: int
    """Number of parameters per observed scalar, the outputs of a decoder."""

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-probabilities (or densities) of ``x (*event)``, scalar by scalar.

        Args:
            x: ``(*batch, *event_shape)``.
            params: ``(outputs, *batch, *event_shape)``; batch dimensions broadcast.
        """

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Return expectations, ``(*batch, *event_shape)``."""

    @abstractmethod
    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw observations, ``(*batch, *event_shape)``, without gradient."""

    def features(self, x: Tensor) -> Tensor:
        """Return observations scaled to about unit size, as inputs of networks."""
        return x

    def arrange(self, out: Tensor, batch: Sequence[int], event_shape: Sequence[int]) -> Tensor:
        """Return a decoder's outputs as parameters, ``(outputs, *batch, *event_shape)``.

        Parameters are at least float32: under autocast, log-probabilities would have three digits.

        Args:
            out: flat outputs of all rows of the batch, ``(n, numbers)``, the first parameter of all
                scalars first.
            batch: shape of the batch, of n rows.
            event_shape: shape of an observation.

        Raises:
            ShapeError: the number of outputs per row is wrong.
        """
        self._check_outputs(out, self.outputs * math.prod(event_shape))
        rows = at_least_float32(out).reshape(*batch, self.outputs, *event_shape)
        return rows.movedim(len(batch), 0)

    def observe(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the observations of a batch of rows: the rows, or draws given the rows."""
        del generator
        return x

    def check(self, x: Tensor) -> None:
        """Raise unless all values of rows ``x (n, *event_shape)`` are valid observations.

        Raises:
            DataError: a value is invalid; the message names its row and the value.
        """
        self._refuse(x, ~x.isfinite(), "a finite number")

    @staticmethod
    def _check_outputs(out: Tensor, numbers: int) -> None:
        if out.shape[1] != numbers:
            expected = f"a network that returns {numbers} numbers for a row"
            raise ShapeError("decoder", expected, out.shape[1])

    @staticmethod
    def _refuse(x: Tensor, bad: Tensor, expected: str) -> None:
        if bad.any():
            where = bad.nonzero()[0].tolist()
            rest = f", entry {tuple(where[1:])}" if len(where) > 1 else ""
            raise DataError(f"data, row {where[0]}{rest}", expected, x[tuple(where)].item())


class BernoulliLikelihood(Likelihood):
    """Bits; the parameter is the logit.

    Args:
        stochastic: whether rows are probabilities between 0 and 1, such as grey levels. Bits are
            then drawn anew at each use of a row, as in the dynamic binarisation of MNIST.

    Example:
        >>> BernoulliLikelihood().log_prob(torch.tensor([1.0, 0.0]), torch.zeros(1, 2))
        tensor([-0.6931, -0.6931])
    """

    outputs = 1

    def __init__(self, *, stochastic: bool = False) -> None:
        super().__init__()
        self.stochastic = stochastic

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-probabilities."""
        return x * params[0] - F.softplus(params[0])

    def mean(self, params: Tensor) -> Tensor:
        """Return the probabilities of 1."""
        return torch.sigmoid(params[0])

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw bits, as floats."""
        return torch.bernoulli(self.mean(params).detach(), **source(generator))

    def observe(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw bits, if rows are probabilities."""
        return torch.bernoulli(x, **source(generator)) if self.stochastic else x

    def check(self, x: Tensor) -> None:
        """Raise unless all values are bits, or probabilities if ``stochastic``."""
        if self.stochastic:
            self._refuse(x, ~((x >= 0) & (x <= 1)), "a probability between 0 and 1")
        else:
            expected = "0 or 1 under a Bernoulli likelihood (or stochastic=True for probabilities)"
            self._refuse(x, (x != 0) & (x != 1), expected)


class ContinuousBernoulliLikelihood(Likelihood):
    """Numbers between 0 and 1, with a density proportional to the Bernoulli formula.

    Reference: Loaiza-Ganem and Cunningham, *The continuous Bernoulli*, 2019.

    Example:
        >>> ContinuousBernoulliLikelihood().log_prob(torch.tensor([0.3]), torch.zeros(1, 1))
        tensor([0.])
    """

    outputs = 1

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-densities: ``x l - softplus(l) + log C`` with ``C = l / tanh(l / 2)``.

        Outside [0, 1] the log-density is ``-inf``.
        """
        logit = params[0]
        near = logit.abs() < 0.1
        far = torch.where(near, 1.0, logit.abs())
        # log(l / tanh(l / 2)), and its series about zero
        exact = far.log() + torch.log1p((-far).exp()) - torch.log(-torch.expm1(-far))
        square = logit.square()
        series = math.log(2.0) + square / 12 - 7 * square.square() / 1440
        constant = torch.where(near, series, exact)
        log_density = x * logit - F.softplus(logit) + constant
        return torch.where((x < 0) | (x > 1), -torch.inf, log_density)

    def mean(self, params: Tensor) -> Tensor:
        """Return the means, ``1 / (1 - exp(-l)) - 1 / l``."""
        logit = params[0]
        near = logit.abs() < 0.1
        far = torch.where(near, 1.0, logit.abs())
        below = 1 / far + (-far).exp() / torch.expm1(-far)  # for -|l|, which cannot overflow
        exact = torch.where(logit > 0, 1 - below, below)
        series = 0.5 + logit / 12 - logit**3 / 720
        return torch.where(near, series, exact)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw numbers between 0 and 1: ``log(1 + u (exp(l) - 1)) / l`` of a uniform u."""
        logit = params[0].detach()
        u = uniform(logit.shape, params, generator)
        size = logit.abs()
        near = size < 1e-3
        # For -|l|, which cannot overflow; a draw for |l| is 1 minus that.
        down = torch.where(near, -1.0, -size)
        exact = torch.log1p(u * torch.expm1(down)) / down
        drawn = torch.where(near, u, exact)
        return torch.where(logit > 0, 1 - drawn, drawn)

    def check(self, x: Tensor) -> None:
        """Raise unless all values are between 0 and 1."""
        self._refuse(x, ~((x >= 0) & (x <= 1)), "a number between 0 and 1")


class GaussianLikelihood(Likelihood):
    """Real numbers.

    Args:
        scale: "decoded" for a log-scale of each scalar from the decoder; "learned" for one learned
            scale of all scalars; or a fixed number.

    Example:
        >>> GaussianLikelihood(1.0).log_prob(torch.zeros(1), torch.zeros(1, 1))
        tensor([-0.9189])
    """

    def __init__(self, scale: Literal["decoded", "learned"] | float = "learned") -> None:
        super().__init__()
        if isinstance(scale, str):
            check_choice("scale", scale, ("decoded", "learned"))
        self.outputs = 2 if scale == "decoded" else 1
        start = 0.0 if isinstance(scale, str) else math.log(check_positive("scale", scale))
        self.log_scale = nn.Parameter(torch.tensor(start), requires_grad=scale == "learned")

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-densities."""
        mean, log_scale = self._parts(params)
        u = (x - mean) * (-log_scale).exp()
        return -0.5 * (u * u + _LOG_2PI) - log_scale

    def mean(self, params: Tensor) -> Tensor:
        """Return the means."""
        return params[0]

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw numbers."""
        mean, log_scale = (part.detach() for part in self._parts(params))
        return mean + log_scale.exp() * normal(mean.shape, mean, generator)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = params[1] if self.outputs == 2 else self.log_scale
        return params[0], log_scale.clamp(min=_NARROWEST)


class DiscretizedLogisticLikelihood(Likelihood):
    """Levels 0 .. levels - 1, with the masses of a mixture of logistics around the levels.

    Levels are scaled to [-1, 1]. The first and the last level include the tails beyond. Masses are
    computed from logarithms on both sides, which is accurate for narrow and for far components.

    Args:
        levels: number of levels.
        components: number of mixture components; logits, means and log-scales are the parameters.

    Reference: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017, equation 2.

    Example:
        >>> law = DiscretizedLogisticLikelihood(levels=4)
        >>> mass = law.log_prob(torch.arange(4.0), torch.zeros(3, 4)).exp()
        >>> mass.sum()
        tensor(1.)
    """

    def __init__(self, levels: int = 256, components: int = 1) -> None:
        super().__init__()
        self.levels = check_count("levels", levels, 2)
        self.components = check_count("components", components)
        self.outputs = 3 * components

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-probabilities."""
        logits, means, log_scales = self._parts(params)  # (K, *batch, *event)
        v, half = self.features(x), 1 / (self.levels - 1)
        inverse = (-log_scales).exp()
        low, high = (v - half - means) * inverse, (v + half - means) * inverse
        width = (2 * half * inverse).clamp(min=torch.finfo(inverse.dtype).tiny)
        mass = log_logistic_mass(low, high, width, x <= 0, x >= self.levels - 1)
        return torch.logsumexp(logits.log_softmax(0) + mass, dim=0)

    def mean(self, params: Tensor) -> Tensor:
        """Return the means: the sum over levels of the mass at or above each but the first."""
        logits, means, log_scales = self._parts(params)
        inverse, weights = (-log_scales).exp(), logits.softmax(0)
        total = torch.zeros_like(means[0])
        for level in range(1, self.levels):
            edge = (2 * level - 1) / (self.levels - 1) - 1
            total = total + (weights * torch.sigmoid((means - edge) * inverse)).sum(0)
        return total

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw levels."""
        logits, means, log_scales = (part.detach() for part in self._parts(params))
        shape = means.shape[1:]
        u = uniform((2, *shape), means, generator)
        chosen = (u[0] > logits.softmax(0).cumsum(0)[:-1]).sum(0, keepdim=True)
        mean, log_scale = (part.gather(0, chosen).squeeze(0) for part in (means, log_scales))
        noise = torch.logit(u[1].clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps))
        v = mean + log_scale.exp() * noise
        return ((v + 1) * 0.5 * (self.levels - 1)).round().clamp(0, self.levels - 1)

    def features(self, x: Tensor) -> Tensor:
        """Return levels scaled to [-1, 1]."""
        return x * (2 / (self.levels - 1)) - 1

    def check(self, x: Tensor) -> None:
        """Raise unless all values are levels."""
        bad = ~((x >= 0) & (x <= self.levels - 1) & (x == x.round()))
        self._refuse(x, bad, f"a level, an integer from 0 to {self.levels - 1}")

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, means, log_scales = params.chunk(3)
        return logits, means, log_scales.clamp(min=_NARROWEST)


class CategoricalLikelihood(Likelihood):
    """Levels or codes 0 .. levels - 1, with one logit per level.

    Args:
        levels: number of levels.

    Example:
        >>> CategoricalLikelihood(4).log_prob(torch.tensor([3.0]), torch.zeros(4, 1))
        tensor([-1.3863])
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = self.outputs = check_count("levels", levels, 2)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return log-probabilities."""
        at = x.long().clamp(0, self.levels - 1).expand(params.shape[1:])
        return params.log_softmax(0).gather(0, at.unsqueeze(0)).squeeze(0)

    def mean(self, params: Tensor) -> Tensor:
        """Return the mean code."""
        codes = torch.arange(self.levels, dtype=params.dtype, device=params.device)
        mean: Tensor = torch.tensordot(codes, params.softmax(0), dims=1)
        return mean

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes, as floats."""
        u = uniform(params[0].shape, params, generator)
        return (u > params.detach().softmax(0).cumsum(0)[:-1]).sum(0).to(params.dtype)

    def features(self, x: Tensor) -> Tensor:
        """Return codes scaled to [-1, 1]."""
        return x * (2 / (self.levels - 1)) - 1

    def check(self, x: Tensor) -> None:
        """Raise unless all values are codes."""
        bad = ~((x >= 0) & (x <= self.levels - 1) & (x == x.round()))
        self._refuse(x, bad, f"an integer from 0 to {self.levels - 1}")


_NAMED = {
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "logistic": DiscretizedLogisticLikelihood,
    "categorical": CategoricalLikelihood,
}


def likelihood_named(likelihood: str | Likelihood) -> Likelihood:
    """Return the likelihood of a name with its default options, or a given `Likelihood`.

    Raises:
        ArgumentError: the name is unknown.
    """
    if isinstance(likelihood, Likelihood):
        return likelihood
    make: Any = _NAMED[check_choice("likelihood", likelihood, tuple(_NAMED))]
    default: Likelihood = make()
    return default
