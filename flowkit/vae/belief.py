"""Sigmoid belief networks: layers of Bernoulli latents, fitted by score-function estimators."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit import estimators
from flowkit._checks import check_choice, check_context, check_count, check_event, check_widths
from flowkit._noise import source
from flowkit.errors import ArgumentError, DataError, ShapeError
from flowkit.estimators import Estimate, RunningMoments
from flowkit.training import Batch, Step, mean_over_rows
from flowkit.vae.objectives import check_enough

_OBJECTIVES = ("vimco", "nvil", "reinforce", "reweighted_wake_sleep")


class Bits(NamedTuple):
    """Latents drawn for rows.

    Attributes:
        layers: bits of each layer, the layer next to the data first, ``(samples, n, units)``.
        log_p: ``log p(x, h)``, ``(samples, n)``.
        log_q: ``log q(h | x)``, ``(samples, n)``.
    """

    layers: list[Tensor]
    log_p: Tensor
    log_q: Tensor


class Conditional(nn.Module):
    """Conditional distribution of one layer of bits: logits from another layer.

    Args:
        inputs: width of the input.
        outputs: number of bits.
        hidden: widths of deterministic tanh layers in between; none for linear logits.
        centre: subtracted from the input: 1/2 for latents, the mean for data.
    """

    centre: Tensor

    def __init__(
        self, inputs: int, outputs: int, hidden: Sequence[int], centre: Tensor | float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise((inputs, *hidden)):
            layers += [_linear(a, b), nn.Tanh()]
        self.net = nn.Sequential(*layers, _linear((inputs, *hidden)[-1], outputs))
        centre = torch.as_tensor(centre, dtype=torch.get_default_dtype())
        self.register_buffer("centre", centre.expand(inputs).clone())

    def forward(self, bits: Tensor) -> Tensor:
        """Map ``(*batch, inputs)`` to logits ``(*batch, outputs)``."""
        logits: Tensor = self.net(bits - self.centre)
        return logits


class SigmoidBeliefNetwork(nn.Module):
    """Layers of bits, each conditional on the layer above, with an inference network.

    ``p(x, h) = p(h_L) p(h_{L-1} | h_L) ... p(x | h_1)`` and
    ``q(h | x) = q(h_1 | x) q(h_2 | h_1) ... q(h_L | h_{L-1})``; all factors are Bernoulli.
    Structured prediction, with a context c, has ``p(x, h | c) = p(h_L | c) ... p(x | h_1)``.
    Latents are then drawn from ``p(h | c)``, and importance weights are ``p(x | h_1)``.

    Args:
        visible: number of observed bits.
        layers: units of each latent layer, the layer next to the data first.
        hidden: widths of deterministic tanh layers within each conditional distribution.
        mean: mean of the observed bits, ``(visible,)``. Inputs are centred by the mean, and visible
            biases are initialised with its logits.
        context_features: width of the context in structured prediction; 0 for none.
        context_mean: mean of the context, used to centre the context.
        baseline: widths of the baseline network of NVIL.

    Train with ``fit(model, x, objective="vimco", samples=5)``; other objectives are "nvil",
    "reinforce", "reweighted_wake_sleep", and any estimator of ``log_p, log_q``.

    Raises:
        ArgumentError: no layers, or a mean outside of [0, 1].

    Reference: Neal, *Connectionist learning of belief networks*, 1992; Mnih and Rezende,
    *Variational inference for Monte Carlo objectives*, 2016, section 5.

    Example:
        >>> from flowkit.training import fit
        >>> model = SigmoidBeliefNetwork(6, layers=(4, 3))
        >>> history = fit(model, torch.rand(64, 6).round(), objective="vimco", samples=3, steps=5)
        >>> model.sample(2).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        visible: int,
        layers: Sequence[int] = (200, 200),
        *,
        hidden: Sequence[int] = (),
        mean: Tensor | None = None,
        context_features: int = 0,
        context_mean: Tensor | None = None,
        baseline: Sequence[int] = (100,),
    ) -> None:
        super().__init__()
        self.visible = check_count("visible", visible)
        self.layers = check_widths("layers", layers)
        self.context_features = check_count("context_features", context_features, minimum=0)
        centre = _checked_mean("mean", mean, visible)
        down = [*pairwise(self.layers[::-1]), (self.layers[0], visible)]
        self.generative = nn.ModuleList(Conditional(a, b, hidden, 0.5) for a, b in down)
        with torch.no_grad():
            bias = self.generative[-1].get_parameter(f"net.{2 * len(hidden)}.bias")
            bias.copy_(torch.logit(centre.clamp(0.01, 0.99)))
        self.prior: nn.Parameter | Conditional
        if context_features:
            context_centre = _checked_mean("context_mean", context_mean, context_features)
            self.prior = Conditional(context_features, self.layers[-1], hidden, context_centre)
            self.inference = nn.ModuleList()
        else:
            self.prior = nn.Parameter(torch.zeros(self.layers[-1]))
            centres = [centre, *[torch.tensor(0.5)] * (len(self.layers) - 1)]
            up = pairwise((visible, *self.layers))
            self.inference = nn.ModuleList(
                Conditional(a, b, hidden, c) for (a, b), c in zip(up, centres, strict=True)
            )
        self.baseline = Conditional(
            context_features or visible, 1, baseline, centre.new_tensor(0.5)
        )
        self.moments = RunningMoments()

    def draw(
        self,
        x: Tensor,
        samples: int = 1,
        generator: torch.Generator | None = None,
        *,
        context: Tensor | None = None,
    ) -> Bits:
        """Draw latents, without gradient, for rows ``x (n, visible)``, with their log-mass.

        Raises:
            ContextError: a context is missing or superfluous.
        """
        check_count("samples", samples)
        check_event("x", x, (self.visible,))
        check_context(context, self.context_features)
        if context is not None:
            layers, log_q = self._descend(self._prior_logits(context, samples), generator)
            log_p = log_q + _log_prob(self.generative[-1](layers[0]), x)
            return Bits(layers, log_p, log_q)
        below, layers = x.expand(samples, *x.shape), []
        log_q = torch.zeros((), dtype=x.dtype, device=x.device)
        for conditional in self.inference:
            logits = conditional(below)
            below = _draw(logits, generator)
            log_q = log_q + _log_prob(logits, below)
            layers.append(below)
        return Bits(layers, self._log_joint(x, layers), log_q)

    def log_weights(
        self,
        x: Tensor,
        samples: int = 1,
        generator: torch.Generator | None = None,
        *,
        context: Tensor | None = None,
    ) -> Tensor:
        """Return ``log p(x, h) - log q(h | x)`` of fresh latents, ``(samples, n)``."""
        drawn = self.draw(x, samples, generator, context=context)
        return drawn.log_p - drawn.log_q

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        generator: torch.Generator | None = None,
        *,
        context: Tensor | None = None,
    ) -> Tensor:
        """Draw rows ``(n, visible)``, or ``(n, rows of the context, visible)``, as floats."""
        layers, _ = self._descend(self._prior_logits(context, n), generator)
        return _draw(self.generative[-1](layers[0]), generator)

    def training_steps(
        self,
        *,
        objective: Callable[..., Estimate] | str = "vimco",
        samples: int = 5,
        optimizer: Any = None,
    ) -> dict[str, Step]:
        """Return the training step of `flowkit.training.fit`: the estimator's negative bound.

        Args:
            objective: "vimco", "nvil", "reinforce" or "reweighted_wake_sleep", or a function of
                ``log_p`` and ``log_q``, such as a `functools.partial` of one of these estimators.
            samples: latents drawn for each row.
            optimizer: makes the optimiser from parameters and learning rate; by default Adam with
                betas 0.95 and 0.999.

        Raises:
            ArgumentError: an unknown objective, or fewer samples than the objective needs.
        """
        check_count("samples", samples)
        estimator: Any = objective
        if isinstance(objective, str):
            estimator = getattr(estimators, check_choice("objective", objective, _OBJECTIVES))
        check_enough(estimator, samples)
        learned = getattr(estimator, "func", estimator) is estimators.nvil

        def loss(batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
            _, log_p, log_q = self.draw(batch.x, samples, generator, context=batch.context)
            if learned:
                inputs = batch.x if batch.context is None else batch.context
                baseline = self.baseline(inputs).squeeze(-1)
                estimate = estimator(log_p, log_q, baseline=baseline, moments=self.moments)
                if self.training:
                    self.moments.update(estimate.bound - baseline.detach())
            else:
                estimate = estimator(log_p, log_q)
            value = estimate.bound + estimate.surrogate - estimate.surrogate.detach()
            return {"negative_bound": -mean_over_rows(value, batch.weights)}

        trained = [p for name, p in self.named_parameters() if learned or "baseline" not in name]
        return {"belief": Step(trained, loss, optimizer=optimizer or _adam)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative importance-weighted bound of ten samples, for any objective."""
        log_f = self.log_weights(batch.x, 10, generator, context=batch.context)
        bound = estimators.iwae(log_f, torch.zeros_like(log_f)).bound
        return {"negative_bound": -mean_over_rows(bound, batch.weights)}

    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless rows are ``visible`` bits, and a context is given if the model needs one."""
        if x.dim() != 2 or x.shape[1] != self.visible:
            raise ShapeError("data", f"rows (n, {self.visible})", tuple(x.shape))
        bad = (x != 0) & (x != 1)
        if bad.any():
            row, column = bad.nonzero()[0].tolist()
            raise DataError(f"data, row {row}, entry {column}", "0 or 1", x[row, column].item())
        check_context(context, self.context_features)

    def _prior_logits(self, context: Tensor | None, samples: int) -> Tensor:
        check_context(context, self.context_features)
        if isinstance(self.prior, nn.Parameter):
            return self.prior.expand(samples, -1)
        logits: Tensor = self.prior(context)
        return logits.expand(samples, *logits.shape)

    def _descend(
        self, logits: Tensor, generator: torch.Generator | None
    ) -> tuple[list[Tensor], Tensor]:
        """Draw all layers from the top down; return the layers, bottom first, and the log-mass."""
        layers = [_draw(logits, generator)]
        log_mass = _log_prob(logits, layers[0])
        for conditional in list(self.generative)[:-1]:
            logits = conditional(layers[0])
            layers.insert(0, _draw(logits, generator))
            log_mass = log_mass + _log_prob(logits, layers[0])
        return layers, log_mass

    def _log_joint(self, x: Tensor, layers: list[Tensor]) -> Tensor:
        log_p = _log_prob(self._prior_logits(None, 1), layers[-1])
        below = [*reversed(layers[:-1]), x]
        for conditional, above, bits in zip(self.generative, reversed(layers), below, strict=True):
            log_p = log_p + _log_prob(conditional(above), bits)
        return log_p


def _log_prob(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the log-mass of bits ``(*batch, units)``, ``(*batch,)``."""
    return (bits * logits - F.softplus(logits)).sum(-1)


@torch.no_grad()
def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    chances = torch.sigmoid(logits)
    bits = torch.bernoulli(chances.nan_to_num(), **source(generator))
    # A NaN is kept, so that the fit detects a loss that is not finite.
    return torch.where(chances.isnan(), chances, bits)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _adam(parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, learning_rate, betas=(0.95, 0.999), fused=True)


def _checked_mean(argument: str, mean: Tensor | None, size: int) -> Tensor:
    if mean is None:
        return torch.full((size,), 0.5)
    if tuple(mean.shape) != (size,):
        raise ShapeError(argument, f"shape ({size},)", tuple(mean.shape))
    if not ((mean >= 0) & (mean <= 1)).all():
        outside = mean[~((mean >= 0) & (mean <= 1))][0].item()
        raise ArgumentError(argument, "numbers between 0 and 1", outside)
    return mean.detach().to(torch.get_default_dtype())
