"""Training of the flows of a table: all members of one architecture at once."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.tabular.continuous.members import FlowBasedMember, StackedMembers
from flowkit.tabular.continuous.plan import Plan
from flowkit.tabular.continuous.rows import Rows
from flowkit.tabular.settings import FitSettings
from flowkit.training import Batch, Step
from flowkit.training.options import Options
from flowkit.training.stacked import fit_until_learnt

# Beyond this loss, in nats, a row has no gradient.
_WORST = 200.0
_LEARNING_RATE = 8e-3
# Share of the steps in which the learning rate falls to zero.
_DECAY = 0.3
# Number of held-out rows that decide when training ends; the kinds are weighted by all of them.
_VALIDATION_ROWS = 20_000


class _Trainer(nn.Module):
    """Training steps of stacked members, for batches of the entries and of which are present.

    Args:
        stacked: the flows.
        noise: for each a factor of the covariance of the noise added in training, ``(E, d, d)``.
        holes: whether any entry is absent. Rows are then followed by which entries are present.
    """

    noise: Tensor

    def __init__(self, stacked: StackedMembers, noise: Tensor, holes: bool) -> None:
        super().__init__()
        self.stacked, self.noisy, self.holes = stacked, bool(noise.any()), holes
        self.register_buffer("noise", noise)

    def training_steps(self) -> dict[str, Step]:
        """Return the one step."""
        return {"likelihood": Step(self.stacked.parameters(), self._loss)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the validation loss: the same without noise."""
        del generator
        return {"negative_log_likelihood": self._mean(batch, 0.0)}

    def _loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        noise: Tensor | float = 0.0
        if self.noisy:
            shape = (*batch.x.shape[:-1], self.noise.shape[-1])
            device = batch.x.device
            drawn = torch.randn(shape, generator=generator, dtype=batch.x.dtype, device=device)
            noise = (drawn @ self.noise.mT).mT
        return {"negative_log_likelihood": self._mean(batch, noise)}

    def _mean(self, batch: Batch, noise: Tensor | float) -> Tensor:
        x = batch.x.mT.contiguous()  # rows last
        if self.holes:
            y, flags = x.chunk(2, dim=1)
            present = flags > 0.5
            y = torch.where(present, y + noise, y)
        else:
            y = x + noise
            present = torch.ones_like(y, dtype=torch.bool)
        context = None if batch.context is None else batch.context.mT
        values: Tensor = -self.stacked(y, present, context).clamp(min=-_WORST)
        if batch.weights is not None:
            values = torch.where(batch.weights > 0, batch.weights * values, 0.0)
        return values.mean(-1)


def train(
    members: Sequence[FlowBasedMember],
    rows: Sequence[Rows],
    held_out: Sequence[np.ndarray],
    *,
    plan: Plan,
    settings: FitSettings,
    seeds: Sequence[int],
    max_seconds: float | None = None,
) -> list[list[float]]:
    """Train members of one architecture at once; each keeps its best averaged weights.

    The learning rate is constant while held-out scores rise, and then falls: see
    `flowkit.training.stacked.fit_until_learnt`.

    Args:
        members: flows of untrained weights.
        rows: for each member the standardised rows.
        held_out: for each which rows validate it, ``(n,)`` booleans; it is trained on the others.
        plan: steps, batch size and noise. Training ends sooner where no held-out score rises.
        settings: device, and how to report and to stop.
        seeds: for each the seed of its first weights and of the order of its rows.
        max_seconds: approximate time limit, or None.

    Returns:
        For each member the held-out mean log-density at each validation, in nats.
    """
    holes = any(bool(np.isnan(part.values).any()) for part in rows)
    batches, validation, factors = [], [], []
    for member, part, out, seed in zip(members, rows, held_out, seeds, strict=True):
        training = np.flatnonzero(~out)
        y = part.values[training]
        member.start(y, seed)
        factor = _noise_factor(y, member.circular) if plan.noise else torch.zeros(2 * (y.shape[1],))
        factors.append(plan.noise * factor)
        batches.append(_batch(part, training, holes))
        validation.append(_batch(part, np.flatnonzero(out)[:_VALIDATION_ROWS], holes))
    stacked = StackedMembers(members)
    trainer = _Trainer(stacked, torch.stack(factors), holes)
    options = Options(
        steps=plan.steps,
        batch_size=plan.batch_size,
        device=settings.device,
        learning_rate=_LEARNING_RATE,
        average=0.99 if plan.steps < 1000 else 0.995,
        validate_every=max(plan.steps // 30, 20),
        patience=3,
        max_seconds=max_seconds,
        callbacks=settings.callbacks(),
        progress=lambda step, steps, loss: settings.report(
            members[0].kind, 0, 1, f"step {step} of at most {steps}, loss {loss:.3f}"
        ),
    )
    phases = fit_until_learnt(trainer, batches, validation, options, seeds=seeds, decay=_DECAY)
    stacked.cpu().unstack()
    return [[-loss for history in both for _, loss in history.validation] for both in phases]


def _batch(rows: Rows, chosen: np.ndarray, holes: bool) -> Batch:
    """Return the chosen rows in float32, followed by which entries are present if any is not."""
    y = torch.from_numpy(rows.values[chosen]).float()
    return Batch(
        torch.cat([y.nan_to_num(0.0), (~y.isnan()).float()], 1) if holes else y,
        None if rows.context is None else torch.from_numpy(rows.context[chosen]).float(),
        torch.from_numpy(rows.weights[chosen]).float(),
    )


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
