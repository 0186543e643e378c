"""Residual networks for the parameters of a mixture of normals, one for each fold, stacked."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flowkit.tabular.conditional.normal_mixture import NormalMixture
from flowkit.tabular.settings import FitSettings
from flowkit.training import Batch, Step
from flowkit.training.options import Options
from flowkit.training.stacked import fit_until_learnt
from flowkit.transforms.mixture_density import mixture_log_density

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# Softly, the narrowest and widest component, as log-scale of the standardised target.
_BOUND = 7.0
# Beyond this loss, in nats, a row has no gradient.
_WORST = 50.0
# Within so small a share of a component's scale its density is constant, in float32.
_THIN = 1e-2
# Standardised distances are within this bound.
_FAR = 300.0
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-2
# Share of the steps in which the learning rate falls to zero.
_DECAY = 0.3
_ROWS_AT_ONCE = 8_192


class MixtureNetworks(nn.Module):
    """E residual networks of one shape, from features to mixtures of normals.

    Rows come last. Each of the blocks is ``h + W2 dropout(silu(W1 silu(h)))``. Features also have
    a direct linear path to the parameters.

    Args:
        members: number of networks E.
        features: number of features c.
        hidden: width.
        blocks: number of residual blocks.
        components: number of components K.
        dropout: share of units that a training step leaves out.
        seed: of the first weights.

    Reference: Bishop, *Mixture density networks*, 1994; He, Zhang, Ren and Sun, *Deep residual
    learning*, 2016.
    """

    def __init__(
        self,
        members: int,
        features: int,
        *,
        hidden: int = 128,
        blocks: int = 2,
        components: int = 8,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.members, self.features, self.hidden = members, features, hidden
        self.blocks, self.components, self.dropout = blocks, components, dropout
        generator = torch.Generator().manual_seed(seed)
        shapes = [(hidden, features), *[(hidden, hidden)] * (2 * blocks)]
        gains = [math.sqrt(3), *[math.sqrt(3), 1.0] * blocks, 0.1, 0.0]
        shapes += [(3 * components, hidden), (3 * components, features)]
        self.weights = nn.ParameterList()
        for (rows, columns), gain in zip(shapes, gains, strict=True):
            uniform = 2 * torch.rand(members, rows, columns, generator=generator) - 1
            self.weights.append(nn.Parameter(uniform * gain / math.sqrt(columns)))
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(members, rows, 1)) for rows, _ in shapes[:-1]
        )
        with torch.no_grad():
            start = self.biases[-1].view(members, 3, components)
            if components > 1:
                start[:, 1] = torch.linspace(-1, 1, components)
            start[:, 2] = -0.5

    def state(self) -> dict[str, Any]:
        """Return shape and weights, for a model file."""
        names = ("members", "features", "hidden", "blocks", "components", "dropout")
        tensors = {name: tensor.numpy() for name, tensor in self.state_dict().items()}
        return {"shape": {name: getattr(self, name) for name in names}, "tensors": tensors}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "MixtureNetworks":
        """Make networks from what `state` returned."""
        networks = cls(**state["shape"])
        tensors = {name: torch.from_numpy(array) for name, array in state["tensors"].items()}
        networks.load_state_dict(tensors)
        return networks.eval()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map ``(E, c, rows)`` to ``(E, 3, K, rows)``: logits, means, log-scales.

        Args:
            x: features.
            generator: of the units that are left out; none are without one.
        """
        weights, biases = list(self.weights), list(self.biases)
        h = torch.baddbmm(biases[0], weights[0], x)
        for block in range(self.blocks):
            first, second = 2 * block + 1, 2 * block + 2
            r = functional.silu(torch.baddbmm(biases[first], weights[first], functional.silu(h)))
            if generator is not None and self.dropout:
                kept = torch.rand(r.shape, generator=generator, device=r.device) >= self.dropout
                r = r * kept / (1 - self.dropout)
            h = h + torch.baddbmm(biases[second], weights[second], r)
        out = torch.baddbmm(biases[-1], weights[-2], functional.silu(h))
        out = torch.baddbmm(out, weights[-1], x)
        params: Tensor = out.unflatten(1, (3, self.components))
        return params

    @torch.no_grad()
    def mixtures(self, features: Sequence[np.ndarray]) -> list[NormalMixture]:
        """Return the mixtures of each network for rows of its own ``(n, c)``."""
        most = max(len(rows) for rows in features)
        x = torch.zeros(self.members, self.features, most, dtype=torch.float64)
        for e, rows in enumerate(features):
            x[e, :, : len(rows)] = torch.from_numpy(rows.T)
        # In float64 a row's score does not depend on the rows that it comes with.
        networks = deepcopy(self).double()
        parts = [networks(part) for part in x.split(_ROWS_AT_ONCE, -1)]
        params = torch.cat(parts, -1).movedim(-1, 1)  # (E, rows, 3, K)
        logits, means, raw = params.unbind(2)
        scales = (_BOUND * torch.tanh(raw / _BOUND)).exp()
        shares = logits.softmax(-1)
        if self.components > 1:
            means = means + torch.linspace(-1, 1, self.components, dtype=torch.float64)
        return [
            NormalMixture(*(part[e, : len(rows)].numpy() for part in (shares, means, scales)))
            for e, rows in enumerate(features)
        ]


class _Trainer(nn.Module):
    """Training steps of networks; the target's value or cell is `Batch.x`, features the context."""

    def __init__(self, networks: MixtureNetworks) -> None:
        super().__init__()
        self.networks = networks

    def training_steps(self) -> dict[str, Step]:
        """Return the one step, by Adam with decoupled weight decay."""
        return {"likelihood": Step(self.networks.parameters(), self._loss, optimizer=self._adam)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the loss with all units."""
        del generator
        return {"negative_log_likelihood": self._mean(batch, None)}

    def _loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        return {"negative_log_likelihood": self._mean(batch, generator)}

    def _mean(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        assert batch.context is not None  # noqa: S101  for the type checker
        params = self.networks(batch.context.mT.contiguous(), generator)
        log_prob = _log_density if batch.x.shape[-1] == 1 else _log_mass
        values = -log_prob(batch.x.mT, params).clamp(min=-_WORST)
        if batch.weights is not None:
            values = torch.where(batch.weights > 0, batch.weights * values, 0.0)
        return values.mean(-1)

    def _adam(self, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        weights = set(self.networks.weights)
        groups = [
            {"params": [p for p in parameters if (p in weights) == decayed], "weight_decay": decay}
            for decayed, decay in ((True, _WEIGHT_DECAY), (False, 0.0))
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _log_density(x: Tensor, params: Tensor) -> Tensor:
    """Return the log-density of targets ``(E, 1, rows)``, ``(E, rows)``."""
    return mixture_log_density(x.squeeze(1), params, _BOUND)


def _log_mass(x: Tensor, params: Tensor) -> Tensor:
    """Return the log-probability of cells ``(E, 2, rows)``, bounds within ± 1e4, ``(E, rows)``."""
    logits, means, raw = params.unbind(1)
    log_scales = _BOUND * torch.tanh(raw / _BOUND)
    components = means.shape[1]
    if components > 1:
        places = torch.linspace(-1, 1, components, dtype=x.dtype, device=x.device)
        means = means + places.unsqueeze(-1)
    inverse = (-log_scales).exp()
    # So far out a row has no gradient anyway, and its squares must be finite.
    lower, upper = (((x[:, i : i + 1] - means) * inverse).clamp(-_FAR, _FAR) for i in (0, 1))
    # Both bounds on the side where the distribution function is small and exact.
    flip = lower > 0
    lower, upper = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    thin = (upper - lower) < _THIN
    wide_lower = torch.where(thin, lower.detach() - 1, lower)  # no gradient through the other case
    log_upper = torch.special.log_ndtr(upper)
    ratio = torch.special.log_ndtr(wide_lower) - log_upper
    between = log_upper + torch.log(-torch.expm1(ratio.clamp(max=-1e-6)))
    middle = 0.5 * (lower + upper)
    width = torch.log((x[:, 1:] - x[:, :1]).clamp(min=1e-12)) - log_scales
    narrow = width - 0.5 * middle * middle - _HALF_LOG_2PI
    log_mass = torch.where(thin, narrow, between)
    return (logits.log_softmax(1) + log_mass).logsumexp(1)


def train(
    features: Sequence[np.ndarray],
    targets: np.ndarray,
    weights: np.ndarray,
    held_out: Sequence[np.ndarray],
    *,
    steps: int,
    seed: int,
    settings: FitSettings,
    name: str,
) -> MixtureNetworks:
    """Train one network for each fold, all at once; each keeps its best averaged weights.

    The learning rate is constant while held-out scores rise, and then falls: see
    `flowkit.training.stacked.fit_until_learnt`.

    Args:
        features: of every row ``(n, c)``, as each network sees them.
        targets: values ``(n, 1)`` or cells ``(n, 2)`` of the standardised target.
        weights: of the rows, ``(n,)``.
        held_out: for each network which rows validate it, ``(n,)`` booleans.
        steps: largest number of steps.
        seed: of first weights, order of rows and dropout.
        settings: device, and how to report and to stop.
        name: of the member, for progress.
    """
    parts = [(f, out) for f, out in zip(features, held_out, strict=True)]
    batches = [_batch(f, targets, weights, ~out) for f, out in parts]
    validation = [_batch(f, targets, weights, out) for f, out in parts]
    rows = min(len(batch.x) for batch in batches)
    networks = MixtureNetworks(len(parts), features[0].shape[1], seed=seed)
    trainer = _Trainer(networks)
    options = Options(
        steps=steps,
        batch_size=min(256, max(32, rows // 8)),
        device=settings.device,
        learning_rate=_LEARNING_RATE,
        average=0.99,
        validate_every=max(steps // 40, 20),
        patience=4,
        max_seconds=settings.max_seconds,
        callbacks=settings.callbacks(),
        progress=lambda step, most, loss: settings.report(
            name, 0, 1, f"step {step} of at most {most}, loss {loss:.3f}"
        ),
    )
    seeds = [seed + e for e in range(len(parts))]
    fit_until_learnt(trainer, batches, validation, options, seeds=seeds, decay=_DECAY)
    return networks.cpu().eval()


def _batch(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, rows: np.ndarray
) -> Batch:
    finite = np.clip(targets[rows], -1e4, 1e4)
    return Batch(
        torch.from_numpy(finite).float(),
        torch.from_numpy(features[rows]).float(),
        torch.from_numpy(weights[rows]).float(),
    )
