"""Closed mixture: the members whose conditionals have a closed form, behind their maps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowkit.tabular.conditioning.laws import Law, law_of
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.preprocessing import Standardiser

_CHUNK = 4_096


class Given(NamedTuple):
    """Rows of continuous columns, of which some entries are given and some are in a range.

    Attributes:
        values: ``(n, d)``, NaN where not given.
        low: ``(n, d)``, lower ends of ranges; NaN where there is none.
        high: ``(n, d)``, upper ends.
        context: ``(n, c)``, features of the discrete block; None without one.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    context: np.ndarray | None

    @property
    def is_empty(self) -> np.ndarray:
        """Which rows have no value and no range, ``(n,)``."""
        nothing: np.ndarray = np.isnan(self.values).all(1) & np.isnan(self.low).all(1)
        return nothing

    def take(self, rows: np.ndarray | slice) -> "Given":
        """Return some of the rows."""
        context = None if self.context is None else self.context[rows]
        return Given(self.values[rows], self.low[rows], self.high[rows], context)


class _Mapped(NamedTuple):
    """Rows in the coordinates of one member."""

    y: Tensor
    low: Tensor
    high: Tensor
    log_slope: Tensor
    context: Tensor | None


def is_closed(fitted: FittedMember) -> bool:
    """Return whether conditionals of a member have a closed form: columns mapped one by one."""
    residuals = None if fitted.standardiser is None else fitted.standardiser.residuals
    of_one_column = residuals is None or not residuals.order
    return of_one_column and law_of(fitted.member) is not None


class ClosedMixture:
    """A mixture of members with closed-form conditionals, over rows in the table's own units.

    Args:
        fitted: the members, each with `is_closed`.
        log_shares: logarithms of their weights; these need not sum to one.
    """

    def __init__(self, fitted: Sequence[FittedMember], log_shares: Sequence[float]) -> None:
        self._fitted, self._log_shares = list(fitted), list(log_shares)
        laws = [law_of(f.member) for f in fitted]
        self._laws: list[Law] = [law for law in laws if law is not None]

    def evidence(self, given: Given) -> np.ndarray:
        """Return the log of density and mass of what is given, ``(n,)``.

        With several ranged columns the mass is approximate; `draw` has the weights that correct it.
        """
        parts = [np.zeros(0)]
        for start in range(0, len(given.values), _CHUNK):
            _, joint = self._joint(given.take(slice(start, start + _CHUNK)))
            parts.append(torch.cat(joint, 1).logsumexp(1).numpy())
        return np.concatenate(parts)

    def draw(self, given: Given, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw the entries that are not given.

        Returns:
            Rows ``(n, d)``, and log-weights ``(n,)``: on average, the weight is the mixture's
            density and mass of what is given. Unless several columns are ranged, all weights are
            exactly that.
        """
        rows, weights = [np.zeros((0, given.values.shape[1]))], [np.zeros(0)]
        for start in range(0, len(given.values), _CHUNK):
            drawn, weight = self._draw(given.take(slice(start, start + _CHUNK)), generator)
            rows.append(drawn)
            weights.append(weight)
        return np.concatenate(rows), np.concatenate(weights)

    @torch.no_grad()
    def _joint(self, given: Given) -> tuple[list[_Mapped], list[Tensor]]:
        """Return the rows as each member has them, and its components' log joint, ``(n, K)``."""
        mapped = [_mapped(f, given) for f in self._fitted]
        joint = [
            law.log_joint(m.y, m.low, m.high) + (m.log_slope + share).unsqueeze(-1)
            for law, m, share in zip(self._laws, mapped, self._log_shares, strict=True)
        ]
        # Where one member has no density, the others may have one.
        return mapped, [part.nan_to_num(nan=-1e300, neginf=-1e300) for part in joint]

    @torch.no_grad()
    def _draw(self, given: Given, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        mapped, joint = self._joint(given)
        every = torch.cat(joint, 1)
        chosen = torch.multinomial(every.softmax(1), 1, generator=generator).squeeze(1)
        weight, rows = every.logsumexp(1), torch.from_numpy(given.values.copy())
        first = 0
        for f, law, m, part in zip(self._fitted, self._laws, mapped, joint, strict=True):
            own = ((chosen >= first) & (chosen < first + part.shape[1])).nonzero().squeeze(1)
            if len(own):
                y, correction = law.draw(
                    m.y[own], m.low[own], m.high[own], chosen[own] - first, generator
                )
                context = None if m.context is None else m.context[own]
                rows[own] = y if f.standardiser is None else f.standardiser.inverse(y, context)
                weight[own] += correction
            first += part.shape[1]
        return _within(rows.numpy(), given, f.member.circular), weight.numpy()


def _mapped(fitted: FittedMember, given: Given) -> _Mapped:
    x, low, high = map(torch.from_numpy, given[:3])
    context = None if given.context is None else torch.from_numpy(given.context).double()
    map_ = fitted.standardiser
    if map_ is None:
        return _Mapped(x, low, high, x.new_zeros(len(x)), context)
    y, log_slope = map_(x, context)
    low, high = (_image_of_end(map_, end, context) for end in (low, high))
    return _Mapped(y, low, high, log_slope, context)


def _image_of_end(map_: Standardiser, end: Tensor, context: Tensor | None) -> Tensor:
    """Return the images of ends of ranges; an infinite end stays where it is."""
    infinite = end.isinf()
    return torch.where(infinite, end, map_(end.masked_fill(infinite, torch.nan), context)[0])


def _within(rows: np.ndarray, given: Given, circular: Sequence[bool]) -> np.ndarray:
    """Return rows with what is given unchanged, and ranges obeyed to the last bit."""
    line = ~np.asarray(circular) & ~np.isnan(given.low)
    rows = np.where(line, np.minimum(np.maximum(rows, given.low), given.high), rows)
    return np.where(np.isnan(given.values), rows, given.values)
