"""Conditional distributions of one discrete column: of states, and of integers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.distributions.logistic import log_logistic_mass
from flowkit.schema import Discrete
from flowkit.schema.point_masses import sentinels
from flowkit.schema.statistics import (
    asinh_scaled,
    median_and_quartiles,
    weighted_quantiles,
)
from flowkit.schema.unseen import log_mass

# Integers with a probability of their own: the most frequent ones, each seen often enough.
_TABLE = 64
_TABLE_ROWS = 5.0
# Where numbers have so many rows in the mean, those that repeat are enough.
_DENSE_ROWS, _DENSE_TABLE_ROWS = 25.0, 2.0
_COMPONENTS = 4
# A column of more states than this is described by its frequencies alone.
MOST_STATES = 256
_FARTHEST = 2**53


class StateConditional(nn.Module):
    """Conditional of a flag or a category: log-frequencies, plus the outputs of a network.

    Frequencies are smoothed by half a row for each state. Unseen categories have the mass of the
    categories seen once (Good and Turing), at least half a row.

    Args:
        size: number of known states S.
        unseen: whether code S, for unseen categories, has a mass.
    """

    log_frequencies: Tensor
    log_unseen: Tensor

    def __init__(self, size: int, unseen: bool) -> None:
        super().__init__()
        self.size, self.unseen = size, unseen
        # Number of network outputs: none for a single state, or for too many.
        self.parameters_per_row = size if 1 < size <= MOST_STATES else 0
        self.register_buffer("log_frequencies", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("log_unseen", torch.zeros((), dtype=torch.float64))

    def fit(self, codes: np.ndarray, weights: np.ndarray) -> None:
        """Count."""
        known = codes < self.size
        counts = np.bincount(codes[known], weights[known], minlength=self.size)
        total = counts.sum()
        smoothed = counts + 0.5
        self.log_frequencies.copy_(torch.from_numpy(np.log(smoothed / smoothed.sum())))
        once = counts[(counts > 0) & (counts <= 1)].sum()
        mass = max(once, 0.5) / (total + 1) if self.unseen else 0.0
        # At most half, even for a column of names that all differ.
        self.log_unseen.copy_(torch.tensor(np.log(min(mass, 0.5)) if mass else -np.inf))

    def log_prob(self, codes: Tensor, params: Tensor | None) -> Tensor:
        """Return the log-probability of codes ``(n,)``; ``params`` is ``(n, S)`` or None."""
        known = torch.log1p(-self.log_unseen.exp())
        at = codes.clamp(max=self.size - 1)
        if params is None:
            log_p = self.log_frequencies[at]
        else:
            logits = self.log_frequencies + params.double()
            log_p = logits.log_softmax(-1).gather(-1, at[:, None]).squeeze(-1)
        return torch.where(codes < self.size, log_p + known, self.log_unseen)

    def log_probs(self, params: Tensor | None) -> Tensor:
        """Return the log-probability of each code, ``(n, codes)``; n is 1 without ``params``."""
        known = self.log_frequencies
        if params is not None:
            known = (known + params.double()).log_softmax(-1)
        known = (known + torch.log1p(-self.log_unseen.exp())).reshape(-1, self.size)
        if not self.unseen:
            return known
        return torch.cat([known, self.log_unseen.expand(len(known), 1)], 1)

    def sample(self, n: int, params: Tensor | None, uniform: np.ndarray) -> np.ndarray:
        """Draw ``n`` known states by inversion; ``uniform`` is ``(n, 3)`` or wider."""
        del n
        if params is None:
            cumulative = np.cumsum(self.log_frequencies.exp().numpy())
            drawn = np.searchsorted(cumulative, uniform[:, 0] * cumulative[-1], side="right")
        else:
            cumulative = (self.log_frequencies + params.double()).softmax(-1).cumsum(-1).numpy()
            drawn = (uniform[:, :1] * cumulative[:, -1:] >= cumulative).sum(1)
        state: np.ndarray = np.minimum(drawn, self.size - 1)
        return state

    @property
    def width(self) -> int:
        """Number of features that other columns are given of a code."""
        return min(self.size, 16) if self.size > 1 else 0

    def features(self, codes: np.ndarray) -> np.ndarray:
        """Return one-hot codes ``(n, width)``; states beyond the first share the last one's."""
        result = np.zeros((len(codes), self.width))
        if self.width:
            result[np.arange(len(codes)), np.minimum(codes, self.width - 1)] = 1.0
        return result


class IntegerConditional(nn.Module):
    """Conditional of integers: a table of the frequent ones, and a smooth distribution of all.

    ``p(v) = (1 - u) (p(state of v) + p(other) L(v)) + u q(v)``, where the states are the table's
    numbers. L is a mixture of logistic distributions of ``asinh((v - center) / scale)``,
    discretised: a multiple of the step has the mass within half a step, and a bound has the mass
    beyond it. Integers below the soft bound, or off the step, are unlike all fitted ones. Their
    distribution is the broad q with ``u = 0.5 / (n + 1)``, half of one of the n rows. Such
    integers are scored, and never drawn.

    Args:
        lower: least allowed number, None for none.
        upper: largest allowed number.
        table: how many numbers have a probability of their own.
        soft_lower: no number that was fitted lies below.
        step: all numbers that were fitted are multiples of it.
    """

    values: Tensor
    log_frequencies: Tensor
    place: Tensor
    components: Tensor
    log_unseen: Tensor
    broad: Tensor

    def __init__(
        self,
        lower: int | None,
        upper: int | None,
        table: int,
        soft_lower: int | None = None,
        step: int = 1,
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.table, self.step = lower, upper, table, step
        bounds = [bound for bound in (lower, soft_lower) if bound is not None]
        # Ends of L, at multiples of the step.
        self._first = -(-max(bounds) // step) * step if bounds else None
        self._last = None if upper is None else upper // step * step
        self._all_seen = self._first == lower and step == 1
        k = _COMPONENTS
        self.parameters_per_row = table + 1 + 3 * k
        self.register_buffer("values", torch.zeros(table, dtype=torch.long))
        self.register_buffer("log_frequencies", torch.zeros(table + 1, dtype=torch.float64))
        self.register_buffer("place", torch.tensor([0.0, 1.0], dtype=torch.float64))
        self.register_buffer("components", torch.zeros(3, k, dtype=torch.float64))
        self.register_buffer("log_unseen", torch.tensor(-torch.inf, dtype=torch.float64))
        self.register_buffer("broad", torch.tensor([0.0, 1.0], dtype=torch.float64))
        self.register_load_state_dict_pre_hook(_without_unseen)  # type: ignore[no-untyped-call]

    @staticmethod
    def table_of(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the numbers that have a probability of their own."""
        values, counts = _counted(codes, weights)
        dense = counts.sum() >= _DENSE_ROWS * len(values)
        frequent = np.flatnonzero(counts >= (_DENSE_TABLE_ROWS if dense else _TABLE_ROWS))
        most = values[frequent[np.argsort(-counts[frequent], kind="stable")[:_TABLE]]]
        far = [int(value) for value, _ in sentinels(values, counts)]
        return np.union1d(most, np.array(far, dtype=values.dtype))

    def fit(self, codes: np.ndarray, weights: np.ndarray) -> None:
        """Count, and fit the smooth distribution.

        The smooth distribution is fitted to the rows outside of the table, and to all distinct
        numbers with a total weight of half a row. So rare rows count in full; without rare rows
        the distribution is as wide as the numbers are.
        """
        table = self.table_of(codes, weights)
        self.values.copy_(torch.from_numpy(table))
        values, rows = _counted(codes, weights)
        state = self._state(values)
        counts = np.bincount(state, rows, minlength=self.table + 1) + 0.5
        self.log_frequencies.copy_(torch.from_numpy(np.log(counts / counts.sum())))
        middle, quartiles = median_and_quartiles(values, rows)
        self.broad.copy_(torch.tensor([middle, max(quartiles, 1.0)]))
        if not self._all_seen:
            self.log_unseen.fill_(float(np.log(0.5 / (rows.sum() + 1))))
        rare = rows * (state == self.table)
        total = rare.sum() + 0.5
        # With the weight of the rare rows, or of the numbers where there are no such rows.
        weights = (rare + 0.5 / len(values)) * (1 + len(values) * 0.5 / total**2)
        middle, quartiles = median_and_quartiles(values, weights)
        # Around the middle; or, for counts of any order of magnitude, from the bound on.
        places = [(middle, max(quartiles, 1.0))]
        if self._first is not None:
            places.append((float(self._first), 1.0))
        scores = []
        inside = torch.from_numpy(values)
        for place in places:
            self._place_at(place, values, weights)
            score = self._smooth(inside, self._adjusted(None)[1]).numpy()
            seen = score > -np.inf  # all but the table's outliers
            scores.append(float(np.average(score[seen], weights=weights[seen])))
        self._place_at(places[int(np.argmax(scores))], values, weights)

    def _place_at(self, place: tuple[float, float], codes: np.ndarray, weights: np.ndarray) -> None:
        """Fit the smooth distribution to numbers, centred and scaled by ``place``."""
        center, scale = place
        self.place.copy_(torch.tensor(place))
        log_weights, means, deviations = _normal_mixture(
            asinh_scaled(codes, center, scale), weights, 0.5 * self.step / scale
        )
        self.components[0] = torch.from_numpy(log_weights)
        self.components[1] = torch.from_numpy(means)
        # Scale of a logistic distribution with that standard deviation.
        self.components[2] = torch.from_numpy(np.log(deviations * np.sqrt(3) / np.pi))

    def log_prob(self, codes: Tensor, params: Tensor | None) -> Tensor:
        """Return the log-probability of numbers ``(n,)``; ``params`` is ``(n, P)`` or None."""
        state = torch.from_numpy(self._state(codes.numpy()))
        logits, components = self._adjusted(params)
        shares = logits.log_softmax(-1).expand(len(codes), -1)
        of_state = shares.gather(-1, state[:, None]).squeeze(-1)
        smooth = shares[:, -1] + self._smooth(codes, components)
        in_table = torch.where(state < self.table, of_state, -torch.inf)
        seen = torch.logaddexp(in_table, smooth)
        if self._all_seen:
            return seen
        center, scale = self.broad.tolist()
        broad = log_mass(codes.numpy(), center, scale, self.lower, self.upper)
        unseen = self.log_unseen + torch.from_numpy(broad)
        return torch.logaddexp(seen + torch.log1p(-self.log_unseen.exp()), unseen)

    def sample(self, n: int, params: Tensor | None, uniform: np.ndarray) -> np.ndarray:
        """Draw ``n`` numbers by inversion; ``uniform`` is ``(n, 3)``."""
        logits, components = self._adjusted(params)
        state = _invert(logits.softmax(-1).expand(n, -1).numpy(), uniform[:, 0])
        weight, mean, log_scale = (part.expand(n, -1).numpy() for part in components)
        which = _invert(np.exp(weight), uniform[:, 1])[:, None]
        u = uniform[:, 2:].clip(1e-15, 1 - 1e-15)
        t = np.take_along_axis(mean, which, 1)
        t = t + np.exp(np.take_along_axis(log_scale, which, 1)) * (np.log(u) - np.log1p(-u))
        center, scale = self.place.tolist()
        with np.errstate(over="ignore"):
            drawn = center + scale * np.sinh(t[:, 0].clip(-60, 60))
        lower = -_FARTHEST if self._first is None else self._first
        upper = _FARTHEST if self._last is None else self._last
        # Ends of another step: the nearest multiple is within them.
        drawn = (np.round(drawn / self.step) * self.step).clip(lower, upper).astype(np.int64)
        table = np.append(self.values.numpy(), 0)
        number: np.ndarray = np.where(state < self.table, table[state], drawn)
        return number

    @property
    def width(self) -> int:
        """Number of features that other columns are given of a number."""
        return 2

    def features(self, codes: np.ndarray) -> np.ndarray:
        """Return the scaled number, and whether the number is the most frequent one."""
        center, scale = self.place.tolist()
        t = asinh_scaled(codes, center, scale)
        commonest = 0.0
        if self.table:
            commonest = self.values[int(self.log_frequencies[:-1].argmax())].item()
        return np.stack([t, codes == commonest], axis=1).astype(np.float64)

    def _state(self, codes: np.ndarray) -> np.ndarray:
        values = self.values.numpy()
        if not len(values):
            return np.zeros(len(codes), dtype=np.int64)
        at = np.searchsorted(values, codes).clip(max=len(values) - 1)
        return np.where(values[at] == codes, at, self.table)

    def _adjusted(self, params: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the logits of the states, and log-weights, means, log-scales of the components."""
        logits, (weight, mean, log_scale) = self.log_frequencies, self.components
        if params is not None:
            sizes = [self.table + 1, *[_COMPONENTS] * 3]
            a, b, c, d = params.double().split(sizes, dim=-1)
            logits, weight, mean = logits + a, weight + b, mean + c
            log_scale = log_scale + 3 * torch.tanh(d / 3)
        return logits, (weight.log_softmax(-1), mean, log_scale.clamp(min=-7.0))

    def _smooth(self, codes: Tensor, components: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        weight, mean, log_scale = components
        center, scale = self.place
        v = codes.double()[:, None]
        half = 0.5 * self.step
        t_low, t_high = (torch.asinh((v + side - center) / scale) for side in (-half, half))
        low, high = ((t - mean) * (-log_scale).exp() for t in (t_low, t_high))
        # Far out the two ends of an interval are one in floating point.
        width = (high - low).clamp(min=1e-300)
        first, last = self._first, self._last
        at_lower = None if first is None else v <= first
        at_upper = None if last is None else v >= last
        inner = log_logistic_mass(low, high, width, at_lower, at_upper)
        if last is not None and first == last:
            inner = torch.zeros_like(inner)
        total = (weight + inner).logsumexp(-1)
        outside = codes % self.step != 0
        if first is not None:
            outside |= codes < first
        if last is not None:
            outside |= codes > last
        return torch.where(outside, -torch.inf, total)


def _counted(codes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct numbers, ascending, and the weight of each."""
    values, index = np.unique(codes, return_inverse=True)
    return values, np.bincount(index, weights)


def _without_unseen(
    conditional: IntegerConditional, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Add the tensors that older files lack: no integer counts as unseen."""
    for name in ("log_unseen", "broad"):
        state.setdefault(f"{prefix}{name}", getattr(conditional, name))


def _normal_mixture(
    t: np.ndarray, weights: np.ndarray, narrowest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log-weights, means and deviations of a mixture of normals, by EM from quantiles."""
    k = _COMPONENTS
    means = weighted_quantiles(t, weights, (np.arange(k) + 0.5) / k)
    total = weights.sum()
    middle = (weights @ t) / total
    variance = (weights @ (t - middle) ** 2) / total
    floor = max(variance * 1e-4, min(narrowest, 0.3) ** 2)
    shares, variances = np.full(k, 1 / k), np.full(k, variance / 4 + floor)
    for _ in range(60):
        logs = np.log(shares) - 0.5 * (np.log(variances) + (t[:, None] - means) ** 2 / variances)
        joint = np.exp(logs - logs.max(1, keepdims=True))
        counts = weights[:, None] * joint / joint.sum(1, keepdims=True)
        mass = counts.sum(0) + 1e-9
        shares = (mass + 0.5) / (total + 0.5 * k)
        means = (counts.T @ t + 1e-9 * means) / mass
        spread = (counts * (t[:, None] - means) ** 2).sum(0)
        variances = (spread + 2 * variance / 4) / (mass + 2) + floor
    return np.log(shares), means, np.sqrt(variances)


def _invert(shares: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(shares, axis=1)
    drawn = (uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(1)
    index: np.ndarray = np.minimum(drawn, shares.shape[1] - 1)
    return index


Conditional = StateConditional | IntegerConditional


def conditional_of(column: Discrete, table: int) -> Conditional:
    """Return an unfitted conditional of a column; ``table`` is the size of an integer's table."""
    if column.kind == "integer":
        return IntegerConditional(column.lower, column.upper, table, column.soft_lower, column.step)
    return StateConditional(column.size, unseen=column.kind == "categorical")


def table_size(column: Discrete, codes: np.ndarray, weights: np.ndarray) -> int:
    """Return the number of integers of a column that have a probability of their own."""
    return len(IntegerConditional.table_of(codes, weights)) if column.kind == "integer" else 0


def describe(column: Discrete) -> dict[str, Any]:
    """Return a column ready for JSON."""
    return vars(column).copy()
