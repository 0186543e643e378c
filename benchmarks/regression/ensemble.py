"""Ensemble of heteroscedastic networks: each predicts a mean and a variance."""

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.tabular.conditional.normal_mixture import NormalMixture
from regression.data import Split
from regression.predictive import Mixture, Prediction

_MEMBERS, _HIDDEN = 5, 64
_EPOCHS, _PATIENCE, _STEPS = 400, 40, 30_000
# Of log-variances of standardised targets: no rows have a smaller one.
_LEAST = -12.0


class _Linear(nn.Module):
    """Linear layers of all members at once, ``(members, rows, inputs)`` to outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        shape = (_MEMBERS, inputs, outputs)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(_MEMBERS, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def ensemble(data: Split, seed: int, quick: bool) -> Prediction:
    """Fit five networks of two hidden layers by their likelihood, and mix their predictions.

    AdamW at 2e-3 on batches of 32 to 256 rows. Each member keeps its weights of the epoch with
    the best score on the last tenth of the rows. Members differ in their first weights and in
    the order of rows.

    Reference: Lakshminarayanan, Pritzel and Blundell, *Simple and scalable predictive uncertainty
    estimation using deep ensembles*, 2017 (here without adversarial examples).
    """
    torch.manual_seed(seed)
    centre, spread = data.x.mean(0), data.x.std(0)
    spread = np.where(spread > 1e-9 * np.abs(centre), spread, 1.0)
    middle, scale = data.y.mean(), data.y.std()
    x = torch.tensor((data.x - centre) / spread, dtype=torch.float32)
    y = torch.tensor((data.y - middle) / scale, dtype=torch.float32)
    k = max(len(x) // 10, 1)
    net = nn.Sequential(
        _Linear(x.shape[1], _HIDDEN), nn.ReLU(), _Linear(_HIDDEN, _HIDDEN), nn.ReLU(),
        _Linear(_HIDDEN, 2),
    )  # fmt: skip
    _train(net, x[:-k], y[:-k], x[-k:], y[-k:], 5 if quick else _EPOCHS)

    def predict() -> Mixture:
        test = torch.tensor((data.x_test - centre) / spread, dtype=torch.float32)
        with torch.no_grad():
            mean, log_variance = (part.double().numpy().T for part in _moments(net, test))
        scales = scale * np.exp(0.5 * log_variance)
        weights = np.full(mean.shape, 1 / _MEMBERS)
        return Mixture(NormalMixture(weights, middle + scale * mean, scales))

    return predict


def _train(
    net: nn.Module, x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor, epochs: int
) -> None:
    """Train all members, each up to its best epoch."""
    batch = min(max(len(x) // 50, 32), 256)
    epochs = min(epochs, max(_STEPS * batch // len(x), 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    best = torch.full((_MEMBERS,), torch.inf)
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    stale = 0
    for _ in range(epochs):
        orders = torch.stack([torch.randperm(len(x)) for _ in range(_MEMBERS)])
        for rows in orders.split(batch, dim=1):
            loss = _loss(net, x[rows], y[rows]).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0 * _MEMBERS)
            optimizer.step()
        with torch.no_grad():
            score = _loss(net, x_held, y_held)
        better = score < best
        stale = 0 if better.any() else stale + 1
        best = torch.where(better, score, best)
        for name, value in net.state_dict().items():
            kept[name][better] = value[better]
        if stale >= _PATIENCE:
            break
    net.load_state_dict(kept)


def _moments(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the log-variance of each member, ``(members, rows)``."""
    if x.ndim == 2:
        x = x.expand(_MEMBERS, *x.shape)
    mean, log_variance = net(x).unbind(-1)
    return mean, log_variance.clamp(min=_LEAST)


def _loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative log-density of each member, but for a constant, ``(members,)``."""
    mean, log_variance = _moments(net, x)
    return 0.5 * (log_variance + (y - mean).square() * torch.exp(-log_variance)).mean(1)
