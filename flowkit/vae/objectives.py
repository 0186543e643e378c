"""Terms of the loss of a latent-variable model, in nats; each term is logged under its name."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit import estimators
from flowkit._checks import check_choice, check_count, check_positive
from flowkit._noise import uniform
from flowkit.errors import ArgumentError, ShapeError
from flowkit.estimators import Estimate
from flowkit.metrics.samples import squared_mmd
from flowkit.training import Batch, Step, drawn_by_weight, mean_over_rows
from flowkit.vae.draw import Draw, LatentVariableModel

_PATHWISE = ("elbo", "iwae", "sticking_the_landing", "dreg")
_SCORE = ("reinforce", "vimco", "nvil", "reweighted_wake_sleep")


def estimate_of(
    objective: Callable[..., Estimate] | str, samples: int
) -> Callable[[Draw], Estimate]:
    """Return the function that computes an estimate from a `Draw`.

    If an estimator has an argument ``posterior``, the model's posterior is passed. For estimators
    by the score function, latents are detached and their log-densities computed again.

    Raises:
        ArgumentError: an unknown name, or an estimator that needs more samples.
    """
    if isinstance(objective, str):
        objective = getattr(estimators, check_choice("objective", objective, (*_PATHWISE, *_SCORE)))
    if not callable(objective):
        raise ArgumentError("objective", "an estimator or its name", repr(objective))
    check_enough(objective, samples)
    plain = getattr(objective, "func", objective)  # of a functools.partial
    if "posterior" in inspect.signature(objective).parameters:
        return lambda d: objective(d.log_p, d.model.posterior, d.z, d.context)
    if any(plain is getattr(estimators, name) for name in _SCORE):

        def by_score(drawn: Draw) -> Estimate:
            z, model = drawn.z.detach(), drawn.model
            params = model.decode(z, drawn.x.shape[1:])
            log_p = model.likelihood.log_prob(drawn.x, params).flatten(2).sum(-1)
            log_p = log_p + model.prior.log_prob(z)
            log_q = model.posterior.log_prob(z, drawn.context)
            return objective(log_p, log_q)

        return by_score
    return lambda d: objective(d.log_p, d.log_q)


def check_enough(estimator: Callable[..., Estimate], samples: int) -> None:
    """Raise if the baseline of an estimator is leave-one-out, and there is a single sample."""
    parameters = inspect.signature(estimator).parameters  # of a partial, with its own defaults
    baseline = parameters["baseline"].default if "baseline" in parameters else None
    is_vimco = getattr(estimator, "func", estimator) is estimators.vimco
    if samples < 2 and (baseline == "leave_one_out" or (is_vimco and baseline is not None)):
        method = "VIMCO" if is_vimco else "a leave-one-out baseline"
        raise ArgumentError("samples", f"at least 2 for {method}", samples)


def _check_weight(argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ArgumentError(argument, "a finite number of at least 0", repr(value))


class Term(ABC):
    """A summand of a loss: a function of a `Draw` that returns named scalars."""

    @abstractmethod
    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return named scalars in nats, each a mean over the rows, weighted by ``weights (n,)``."""

    def check(self, model: LatentVariableModel) -> None:
        """Raise unless the term can be computed for the model; by default, never."""
        del model

    def steps(self, model: LatentVariableModel) -> dict[str, Step]:
        """Return additional training steps that the term needs; by default, none."""
        del model
        return {}


@dataclass(frozen=True)
class KL(Term):
    """The term that `kl` returns."""

    beta: float = 1.0
    normalised: bool = False
    warm_up: int = 0
    free_bits: float = 0.0
    capacity: tuple[float, int] | None = None

    def __post_init__(self) -> None:
        _check_weight("beta", self.beta)
        check_count("warm_up", self.warm_up, 0)
        _check_weight("free_bits", self.free_bits)
        if self.capacity is not None:
            if self.free_bits:
                raise ArgumentError("capacity", "None if free_bits is positive", self.capacity)
            if not isinstance(self.capacity, tuple | list) or len(self.capacity) != 2:
                raise ArgumentError("capacity", "None, or (nats, steps)", repr(self.capacity))
            check_positive("capacity", float(self.capacity[0]))
            check_count("capacity", self.capacity[1])

    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return the weighted KL of each group."""
        model = drawn.model
        weight: Tensor | float = self.beta
        if self.normalised:
            weight = weight * drawn.x[0].numel() / model.latents
        if self.warm_up:
            weight = weight * (model.step / self.warm_up).clamp(max=1.0)
        divergences = self._divergences(drawn, weights)
        if self.free_bits:
            divergences = {k: v.clamp(min=self.free_bits) for k, v in divergences.items()}
        if self.capacity is None:
            return {name: weight * value for name, value in divergences.items()}
        nats, steps = self.capacity
        allowed = nats * (model.step / steps).clamp(max=1.0)
        total = torch.stack(list(divergences.values())).sum()
        return {"kl": weight * (total - allowed).abs()}

    @staticmethod
    def _divergences(drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        latents = drawn.kl_of_latents
        if latents is None:
            return {"kl": mean_over_rows(drawn.log_q - drawn.log_prior, weights)}
        parts = [
            mean_over_rows(part.sum(-1), weights) for part in latents.split(drawn.model.groups, -1)
        ]
        if len(parts) == 1:
            return {"kl": parts[0]}
        return {f"kl_{i}": part for i, part in enumerate(parts, start=1)}


def kl(
    beta: float = 1.0,
    normalised: bool = False,
    warm_up: int = 0,
    free_bits: float = 0.0,
    capacity: tuple[float, int] | None = None,
) -> KL:
    """Return the term ``beta KL(q(z | x) || p(z))``.

    Between Gaussians the KL is in closed form; otherwise the estimate is
    ``log q(z | x) - log p(z)``.

    Args:
        beta: weight of the term.
        normalised: multiply ``beta`` by the number of scalars in a row over the number of latents
            (``beta_norm``).
        warm_up: steps in which the weight rises linearly from 0.
        free_bits: lower bound of the KL of each group of latents, averaged over a batch, in nats.
        capacity: ``(nats, steps)``: the term is ``beta |KL - C|``; C rises linearly from 0 to
            ``nats`` in ``steps`` steps.

    If the KL is in closed form and latents have several groups, each group has a scalar: ``kl_1``,
    ``kl_2``, ...

    Raises:
        ArgumentError: a number out of range, or both free bits and a capacity.

    Reference: Higgins et al., *beta-VAE*, 2017 (and *Early visual concept learning*, 2016, for
    ``beta_norm``); Kingma et al., *Improved variational inference with inverse autoregressive
    flow*, 2016, for free bits; Burgess et al., *Understanding disentangling in beta-VAE*, 2018, for
    the capacity.

    Example:
        >>> kl(beta=4.0, warm_up=1_000)
        KL(beta=4.0, normalised=False, warm_up=1000, free_bits=0.0, capacity=None)
    """
    return KL(beta, normalised, warm_up, free_bits, capacity)


def dip_penalty(
    mean: Tensor,
    variance: Tensor | None = None,
    *,
    lambda_od: float = 10.0,
    lambda_d: float = 10.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the penalty of DIP-VAE on the distance of a covariance from the identity, ``()``.

    The penalty is ``lambda_od sum_{i != j} C_ij² + lambda_d sum_i (C_ii - 1)²``. Without variances,
    C is the covariance, with ``1/N``, of the encoder's means over the batch (DIP-VAE-I). With
    variances, C is the covariance of the aggregated posterior, ``Cov[mean] + diag(E[variance])``
    (DIP-VAE-II).

    Args:
        mean: means of the encoder, ``(n, latents)``.
        variance: variances of the encoder, ``(n, latents)``, or None.
        lambda_od: weight of entries off the diagonal; (i, j) and (j, i) both count.
        lambda_d: weight of entries on the diagonal.
        weights: weights of the rows, ``(n,)``; equal by default.

    Raises:
        ShapeError: ``mean`` is not a matrix, or ``variance`` has another shape.

    Reference: Kumar, Sattigeri and Balakrishnan, *Variational inference of disentangled latent
    concepts from unlabeled observations*, 2017, equations 6 and 7.

    Example:
        >>> mean = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
        >>> dip_penalty(mean, lambda_d=1.0)
        tensor(1.2500)
    """
    if mean.dim() != 2 or len(mean) == 0:
        raise ShapeError("mean", "a matrix (n, latents)", tuple(mean.shape))
    if variance is not None and variance.shape != mean.shape:
        raise ShapeError("variance", f"the shape of mean, {tuple(mean.shape)}", variance.shape)
    shares = torch.full_like(mean[:, :1], 1 / len(mean))
    if weights is not None:
        shares = (weights / weights.sum()).unsqueeze(1)
    offset = mean - (shares * mean).sum(0)
    covariance = offset.mT @ (shares * offset)
    diagonal = covariance.diagonal()
    off = covariance - torch.diag(diagonal)
    if variance is not None:
        diagonal = diagonal + (shares * variance).sum(0)
    return lambda_od * off.square().sum() + lambda_d * (diagonal - 1).square().sum()


@dataclass(frozen=True)
class DIP(Term):
    """The term that `dip` returns."""

    kind: Literal["i", "ii"] = "ii"
    lambda_od: float = 10.0
    lambda_d: float | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("i", "ii"))
        _check_weight("lambda_od", self.lambda_od)
        if self.lambda_d is not None:
            _check_weight("lambda_d", self.lambda_d)

    def check(self, model: LatentVariableModel) -> None:
        """Raise unless the posterior is a Gaussian or has a Gaussian as base."""
        _ = model.gaussian

    @property
    def weights(self) -> tuple[float, float]:
        """The weights off and on the diagonal."""
        if self.lambda_d is not None:
            return self.lambda_od, self.lambda_d
        return self.lambda_od, self.lambda_od * (10.0 if self.kind == "i" else 1.0)

    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return the penalty of the batch."""
        mean, log_scale = drawn.moments
        variance = (2 * log_scale).exp() if self.kind == "ii" else None
        lambda_od, lambda_d = self.weights
        penalty = dip_penalty(
            mean, variance, lambda_od=lambda_od, lambda_d=lambda_d, weights=weights
        )
        return {"dip": penalty}


def dip(
    kind: Literal["i", "ii"] = "ii", lambda_od: float = 10.0, lambda_d: float | None = None
) -> DIP:
    """Return the regulariser of DIP-VAE over the encoder's means in the batch; see `dip_penalty`.

    Args:
        kind: "i" for the covariance of the means, "ii" for that of the aggregated posterior.
        lambda_od: weight off the diagonal.
        lambda_d: weight on the diagonal; by default ten times ``lambda_od`` for "i", and
            ``lambda_od`` for "ii".

    Raises:
        ArgumentError: an unknown kind, or a negative weight.

    Example:
        >>> dip(kind="i", lambda_od=5.0).weights
        (5.0, 50.0)
    """
    return DIP(kind, lambda_od, lambda_d)


def total_correlation_of(
    z: Tensor, mean: Tensor, log_scale: Tensor, rows: int | None = None
) -> Tensor:
    """Estimate ``KL(q(z) || prod_j q(z_j))`` of the aggregated posterior from one batch, ``()``.

    The estimate is by minibatch weighting: ``q(z) ~ (1/(N n)) sum_i q(z | x_i)`` over the n rows of
    the batch.

    Args:
        z: one latent of each row, ``(n, latents)``.
        mean: mean of the posterior of each row, ``(n, latents)``.
        log_scale: log-scale of the posterior of each row, ``(n, latents)``.
        rows: N, the number of rows of the data set; None if the batch is the data set.

    Reference: Chen, Li, Grosse and Duvenaud, *Isolating sources of disentanglement in VAEs*, 2018,
    equations 3 and S5.

    Example:
        >>> z, tight = torch.randn(500, 2), torch.full((500, 2), -1.0)
        >>> same = z[:, :1].expand(500, 2)
        >>> bool(total_correlation_of(z, z, tight) < total_correlation_of(same, same, tight))
        True
    """
    u = (z[:, None] - mean) * (-log_scale).exp()  # (n, n, latents)
    log_q = -0.5 * (u.square() + math.log(2 * math.pi)) - log_scale
    constant = math.log(len(z)) + (0.0 if rows is None else math.log(rows))
    joint = log_q.sum(-1).logsumexp(1) - constant
    product = (log_q.logsumexp(1) - constant).sum(-1)
    return (joint - product).mean()


@dataclass(frozen=True)
class TotalCorrelation(Term):
    """The term that `total_correlation` returns."""

    weight: float = 5.0
    rows: int | None = None

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)
        if self.rows is not None:
            check_count("rows", self.rows)

    def check(self, model: LatentVariableModel) -> None:
        """Raise unless the posterior is a Gaussian or has a Gaussian as base."""
        _ = model.gaussian

    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return the weighted estimate."""
        parts = torch.stack([drawn.z[0], *drawn.moments], 1)
        z, mean, log_scale = drawn_by_weight(parts, weights).unbind(1)
        estimate = total_correlation_of(z, mean, log_scale, self.rows)
        return {"total_correlation": self.weight * estimate}


def total_correlation(weight: float = 5.0, rows: int | None = None) -> TotalCorrelation:
    """Return the term ``weight TC``, estimated by minibatch weighting.

    The loss of beta-TCVAE is the ELBO with the terms `kl` and `total_correlation`.

    Args:
        weight: weight of the term, ``beta - 1`` of the paper, as `kl` contains TC once.
        rows: number of rows of the data set; None if each batch is treated as the data set.

    Raises:
        ArgumentError: a negative weight, or fewer than one row.

    Reference: Chen, Li, Grosse and Duvenaud, *Isolating sources of disentanglement in VAEs*, 2018.
    """
    return TotalCorrelation(weight, rows)


def permuted_latents(z: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Permute each latent over the rows: draws of ``prod_j q(z_j)``, ``(n, latents)``."""
    return z.gather(0, uniform(z.shape, z, generator).argsort(0))


@dataclass(frozen=True)
class Factor(Term):
    """The term that `factor` returns."""

    latents: int
    gamma: float = 10.0
    hidden: tuple[int, ...] = (1000,) * 6
    learning_rate: float = 1e-4
    discriminator: nn.Sequential = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_count("latents", self.latents)
        _check_weight("gamma", self.gamma)
        check_positive("learning_rate", self.learning_rate)
        layers: list[nn.Module] = []
        width = self.latents
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.LeakyReLU(0.2)]
            width = size
        object.__setattr__(self, "discriminator", nn.Sequential(*layers, nn.Linear(width, 2)))

    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return the weighted estimate of the total correlation."""
        logits = self.discriminator(drawn.z[0])
        estimate = mean_over_rows(logits[:, 0] - logits[:, 1], weights)
        return {"total_correlation": self.gamma * estimate}

    def check(self, model: LatentVariableModel) -> None:
        """Raise unless the model has the same number of latents."""
        if model.latents != self.latents:
            raise ShapeError(
                "factor", f"{model.latents} latents, the number in the model", self.latents
            )

    def steps(self, model: LatentVariableModel) -> dict[str, Step]:
        """Return the training step of the discriminator."""
        self.discriminator.to(next(model.parameters()))

        def loss(batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
            with torch.no_grad():
                x = model.likelihood.observe(batch.x, generator)
                z = model.draw(x, 1, generator).z[0]
                shuffled = permuted_latents(z, generator)
            label = torch.zeros(len(z), dtype=torch.long, device=z.device)
            parts = (
                F.cross_entropy(self.discriminator(z), label),
                F.cross_entropy(self.discriminator(shuffled), label + 1),
            )
            return {"discriminator": 0.5 * (parts[0] + parts[1])}

        def adam(parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
            del learning_rate
            return torch.optim.Adam(parameters, self.learning_rate, betas=(0.5, 0.9))

        return {"discriminator": Step(self.discriminator.parameters(), loss, optimizer=adam)}


def factor(
    latents: int,
    gamma: float = 10.0,
    hidden: tuple[int, ...] = (1000,) * 6,
    learning_rate: float = 1e-4,
) -> Factor:
    """Return the term ``gamma TC`` of FactorVAE, estimated by a discriminator.

    The discriminator classifies latents against latents permuted over the rows. The estimate is the
    mean difference of the two logits. A second training step with new latents fits the
    discriminator.

    Args:
        latents: number of latents.
        gamma: weight of the term.
        hidden: widths of the discriminator.
        learning_rate: learning rate of the discriminator's Adam (betas 0.5, 0.9).

    Raises:
        ArgumentError: a number out of range.

    Reference: Kim and Mnih, *Disentangling by factorising*, 2018, algorithm 2.

    Example:
        >>> factor(10, gamma=35.0).discriminator[-1].out_features
        2
    """
    return Factor(latents, gamma, hidden, learning_rate)


@dataclass(frozen=True)
class MMD(Term):
    """The term that `mmd` returns."""

    weight: float = 100.0

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)

    def __call__(self, drawn: Draw, weights: Tensor | None) -> dict[str, Tensor]:
        """Return the weighted unbiased estimate."""
        z = drawn_by_weight(drawn.z[0], weights)
        prior = drawn.model.prior.sample((len(z),))
        return {"mmd": self.weight * squared_mmd(z, prior)}


def mmd(weight: float = 100.0) -> MMD:
    """Return the term ``weight MMD²(q(z), p(z))`` between latents and as many draws of the prior.

    Args:
        weight: weight of the term.

    Raises:
        ArgumentError: a negative weight.

    Reference: Zhao, Song and Ermon, *InfoVAE*, 2017, section 3.3; Tolstikhin et al., *Wasserstein
    auto-encoders*, 2017, for the kernel.
    """
    return MMD(weight)
