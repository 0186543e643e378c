"""Training one flow of a table."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.tabular.autoregressive import FlowMember
from flowkit.tabular.deep import DeepMember
from flowkit.training import Batch, Step, fit

# A row this unlikely pulls no harder than one that is a little less so.
_WORST = 200.0


class _Learner(nn.Module):
    """A member as `flowkit.training.fit` wants it: rows hold the entries and which are present.

    Args:
        member: the flow.
        noise: a factor of the covariance of what is added to the entries in training, ``(d, d)``.
    """

    noise: Tensor

    def __init__(self, member: FlowMember | DeepMember, noise: Tensor) -> None:
        super().__init__()
        self.member, self.noisy = member, bool(noise.any())
        self.register_buffer("noise", noise)

    def training_steps(self) -> dict[str, Step]:
        """Return the one step."""
        return {"likelihood": Step(self.member.parameters(), self._loss)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return what the fit is judged by: the same without noise."""
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


def learn(
    member: FlowMember | DeepMember,
    y: np.ndarray,
    context: np.ndarray | None,
    weights: np.ndarray,
    held_out: np.ndarray,
    *,
    steps: int,
    seed: int,
    noise: float,
    learning_rate: float,
    batch_size: int = 256,
    max_seconds: float | None = None,
    progress: object = None,
    stop: Callable[[], bool] | None = None,
) -> list[float]:
    """Train a member on the rows that are not held out; it is left with its best averaged weights.

    Args:
        member: already started.
        y: rows ``(n, d)``, NaN where absent.
        context: ``(n, c)`` or None.
        weights: ``(n,)``.
        held_out: which rows the member is judged by, ``(n,)`` booleans.
        steps: most steps; it ends sooner where the held-out score has stopped rising.
        seed: of the order of rows and the noise.
        noise: standard deviation, in those of the columns, of what is added to the entries in
            training; it is correlated as they are.
        learning_rate: the first.
        batch_size: rows of a step.
        max_seconds: end after this time.
        progress: as in `fit`.
        stop: asked after each step whether to end.

    Returns:
        The held-out mean log-density at each look, in nats.
    """
    member.start(y[~held_out], seed)
    rows = np.concatenate([np.nan_to_num(y), ~np.isnan(y)], axis=1)

    def part(chosen: np.ndarray) -> Batch:
        return Batch(
            torch.from_numpy(rows[chosen]).float(),
            None if context is None else torch.from_numpy(context[chosen]).float(),
            torch.from_numpy(weights[chosen]).float(),
        )

    train = part(~held_out)
    look = max(steps // 30, 20)
    history = fit(
        _Learner(member, noise * _shape(y[~held_out], member.circular)),
        train.x,
        context=train.context,
        weights=train.weights,
        validation=part(held_out),
        steps=steps,
        batch_size=min(batch_size, len(train.x)),
        learning_rate=learning_rate,
        average=0.99 if steps < 1000 else 0.995,
        validate_every=look,
        patience=6,
        seed=seed,
        max_seconds=max_seconds,
        callbacks=() if stop is None else (lambda state: state.stop() if stop() else None,),
        progress=progress,  # type: ignore[arg-type]
    )
    return [-loss for _, loss in history.validation]


def _shape(y: np.ndarray, circular: list[bool]) -> Tensor:
    """Return a factor of the columns' correlations, ``(d, d)``, zero for angles.

    Noise of another shape would blur what sets correlated columns apart.
    """
    moved = ~np.array(circular)
    present = np.maximum((~np.isnan(y)).sum(axis=0), 1)
    centred = np.nan_to_num(y - np.nan_to_num(y).sum(axis=0) / present)[:, moved]
    covariance = centred.T @ centred / len(y)
    scale = np.sqrt(np.diag(covariance) + 1e-6)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    factor = np.zeros(2 * (len(moved),))
    factor[np.ix_(moved, moved)] = vectors * np.sqrt(values.clip(min=0.0))
    return torch.from_numpy(factor).float()
