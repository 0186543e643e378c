"""Training of one flow of a table."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.tabular.continuous.members import FlowBasedMember
from flowkit.tabular.continuous.plan import Plan
from flowkit.tabular.continuous.rows import Rows
from flowkit.tabular.settings import FitSettings, Stop
from flowkit.training import Batch, State, Step, fit

# Beyond this loss, in nats, a row has no gradient.
_WORST = 200.0
_LEARNING_RATE = 2e-3


class _Trainer(nn.Module):
    """Training steps of a member, for batches of the entries and of which are present.

    Args:
        member: the flow.
        noise: a factor of the covariance of the noise that is added in training, ``(d, d)``.
    """

    noise: Tensor

    def __init__(self, member: FlowBasedMember, noise: Tensor) -> None:
        super().__init__()
        self.member, self.noisy = member, bool(noise.any())
        self.register_buffer("noise", noise)

    def training_steps(self) -> dict[str, Step]:
        """Return the one step."""
        return {"likelihood": Step(self.member.parameters(), self._loss)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the validation loss: the same without noise."""
        del generator
        return {"negative_log_likelihood": self._mean(batch, batch.x)}

    def _loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        x, d = batch.x, self.member.features
        if self.noisy:
            noise = torch.randn(len(x), d, generator=generator, dtype=x.dtype) @ self.noise.mT
            x = torch.cat([x[:, :d] + noise * x[:, d:], x[:, d:]], dim=1)
        return {"negative_log_likelihood": self._mean(batch, x)}

    def _mean(self, batch: Batch, x: Tensor) -> Tensor:
        y, present = x.chunk(2, dim=-1)
        values: Tensor = -self.member(y, present > 0.5, batch.context).clamp(min=-_WORST)
        if batch.weights is not None:
            values = torch.where(batch.weights > 0, batch.weights * values, 0.0)
        return values.mean()


def train(
    member: FlowBasedMember,
    rows: Rows,
    held_out: np.ndarray,
    *,
    plan: Plan,
    settings: FitSettings,
    fold: int = 0,
) -> list[float]:
    """Train a member on the rows that are not held out; the best averaged weights are kept.

    Args:
        member: a flow of untrained weights.
        rows: standardised rows.
        held_out: which rows validate the member, ``(n,)`` booleans.
        plan: steps, batch size and noise. Training ends sooner where the held-out score has
            stopped rising.
        settings: seed, time limit, and how to report and to stop.
        fold: number of the fold; each has its own seed.

    Returns:
        The held-out mean log-density at each validation, in nats.
    """
    seed = settings.seed + fold
    y, training = rows.values, ~held_out
    member.start(y[training], seed)

    def part(chosen: np.ndarray) -> Batch:
        some = torch.from_numpy(y[chosen])
        return Batch(
            torch.cat([some.nan_to_num(0.0).float(), (~some.isnan()).float()], dim=1),
            None if rows.context is None else torch.from_numpy(rows.context[chosen]).float(),
            torch.from_numpy(rows.weights[chosen]).float(),
        )

    batch = part(training)
    d = y.shape[1]
    noise = torch.zeros(d, d)
    if plan.noise:
        noise = plan.noise * _noise_factor(y[training], member.circular)
    limit = settings.max_seconds
    history = fit(
        _Trainer(member, noise),
        batch.x,
        context=batch.context,
        weights=batch.weights,
        validation=part(held_out),
        steps=plan.steps,
        batch_size=min(plan.batch_size, len(batch.x)),
        learning_rate=_LEARNING_RATE,
        average=0.99 if plan.steps < 1000 else 0.995,
        validate_every=max(plan.steps // 30, 20),
        patience=6,
        seed=seed,
        max_seconds=None if limit is None else limit / plan.folds,
        callbacks=() if settings.stop is None else (_stops(settings.stop),),
        progress=lambda step, steps, loss: settings.report(
            member.kind, fold, plan.folds, f"step {step} of {steps}, loss {loss:.3f}"
        ),
    )
    return [-loss for _, loss in history.validation]


def _stops(stop: Stop) -> Callable[[State], None]:
    """Return a callback that ends the training when ``stop()`` is true."""

    def callback(state: State) -> None:
        if stop():
            state.stop()

    return callback


def _noise_factor(y: np.ndarray, circular: list[bool]) -> Tensor:
    """Return a factor of the columns' correlations, ``(d, d)``, zero for angles.

    Noise of another shape would blur what sets correlated columns apart.
    """
    noisy = ~np.array(circular)
    present = np.maximum((~np.isnan(y)).sum(axis=0), 1)
    centred = np.nan_to_num(y - np.nan_to_num(y).sum(axis=0) / present)[:, noisy]
    covariance = centred.T @ centred / len(y)
    scale = np.sqrt(np.diag(covariance) + 1e-6)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    factor = np.zeros(2 * (len(noisy),))
    factor[np.ix_(noisy, noisy)] = vectors * np.sqrt(values.clip(min=0.0))
    return torch.from_numpy(factor).float()
