"""Closed-form conditionals of members: components given some entries, and ranges of others.

Columns are in the coordinates of the member. An entry of ``y`` is a number where it is given and
NaN elsewhere. ``low`` and ``high`` are the ends of a range, NaN where an entry has none.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowkit.tabular.conditioning import intervals
from flowkit.tabular.continuous.members import Member, MixtureMember, StudentMember
from flowkit.tabular.continuous.members.base import von_mises

_LOG_2PI = math.log(2 * math.pi)
_FREE, _GIVEN, _RANGED = 0, 1, 2
# Numbers of base 3 with fewer digits are within int64.
_DIGITS = 39
# Numbers in the factors of as many rows as are drawn at once.
_AT_ONCE = 4_000_000


class Law(ABC):
    """A member as a mixture of components whose conditionals have a closed form."""

    @abstractmethod
    def log_joint(self, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of weight, density and mass of ranges of each component, ``(n, K)``.

        With several ranged columns of a Gaussian, the mass is an approximation; the second result
        of `draw` makes up for it.
        """

    @abstractmethod
    def draw(
        self,
        y: Tensor,
        low: Tensor,
        high: Tensor,
        component: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Draw the entries that are not given from a component each.

        Returns:
            Rows ``(n, d)``, and log-weights ``(n,)``: with the weight, the mass in `log_joint` is
            right on average.
        """


def law_of(member: Member) -> Law | None:
    """Return the closed form of a member, or None if the member has none."""
    if isinstance(member, MixtureMember):
        return GaussianLaw(member)
    if isinstance(member, StudentMember):
        return StudentLaw(member)
    return None


class GaussianLaw(Law):
    """Components that are Gaussian on the line and independent von Mises on circles.

    For a pattern of given (o), ranged (r) and free (f) columns, let L be the Cholesky factor of
    the covariance with the columns in the order o, r, f. Then y = mean + L z: the given columns
    fix z_o, a ranged column bounds its z, and the others are standard normal. One ranged column is
    exact. Several are drawn one after the other (GHK), and have weights.

    Reference: Geweke, *Efficient simulation from the multivariate normal and Student-t
    distributions subject to linear constraints*, 1991; Hajivassiliou and McFadden, 1998.
    """

    def __init__(self, member: MixtureMember) -> None:
        self._log_weights, self._means = member.log_weights, member.means
        self._factors, self._concentrations = member.factors, member.concentrations
        self._line = [j for j, angle in enumerate(member.circular) if not angle]
        self._angle = [j for j, angle in enumerate(member.circular) if angle]

    def log_joint(self, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of weight, density and mass of each component, ``(n, K)``."""
        joint = self._log_weights.expand(len(y), -1).clone()
        for pattern, rows in _patterns(_status(y, low)):
            ordered = _Ordered(self, pattern)
            joint[rows] += ordered.log_mass(y[rows], low[rows], high[rows]).mT
        for i, j in enumerate(self._angle):
            joint += self._of_angle(i, y[:, j], low[:, j], high[:, j])
        return joint

    def draw(
        self,
        y: Tensor,
        low: Tensor,
        high: Tensor,
        component: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Draw the entries that are not given; return rows and log-weights."""
        rows, weight = y.clone(), y.new_zeros(len(y))
        size = max(_AT_ONCE // max(len(self._line), 1) ** 2, 1)
        for pattern, every in _patterns(_status(y, low)):
            ordered = _Ordered(self, pattern)
            for some in every.split(size):
                part = (y[some], low[some], high[some], component[some])
                values, weight[some] = ordered.draw(*part, generator)
                rows[some.unsqueeze(-1), torch.tensor(ordered.columns, dtype=torch.long)] = values
        for i, j in enumerate(self._angle):
            mean, kappa = self._means[component, j], self._concentrations[component, i]
            drawn = von_mises(mean, kappa, generator)
            ranged = ~low[:, j].isnan()
            if ranged.any():
                uniform = torch.rand(len(y), dtype=y.dtype, generator=generator)
                ends = (low[ranged, j], high[ranged, j])
                within = intervals.draw_von_mises(
                    *ends, mean[ranged], kappa[ranged], uniform[ranged]
                )
                drawn[ranged] = torch.remainder(within + math.pi, 2 * math.pi) - math.pi
            rows[:, j] = torch.where(y[:, j].isnan(), drawn, y[:, j])
        return rows, weight

    def _of_angle(self, i: int, angle: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the log-density or log-mass of a circular column, ``(n, K)``."""
        kappa, mean = self._concentrations[:, i], self._means[:, self._angle[i]]
        constant = _LOG_2PI + torch.special.i0e(kappa).log()
        density = kappa * ((angle.unsqueeze(-1) - mean).cos() - 1) - constant
        result = torch.where(angle.unsqueeze(-1).isnan(), 0.0, density)
        ranged = ~low.isnan()
        if ranged.any():
            ends = low[ranged].unsqueeze(-1), high[ranged].unsqueeze(-1)
            shape = (int(ranged.sum()), len(kappa))
            ends = (ends[0].expand(shape), ends[1].expand(shape))
            result[ranged] = intervals.log_von_mises_mass(
                *ends, mean.expand(shape), kappa.expand(shape)
            )
        return result


class _Ordered:
    """The components of a `GaussianLaw` for one pattern: columns in the order o, r, f."""

    def __init__(self, law: GaussianLaw, pattern: Tensor) -> None:
        status = [int(pattern[j]) for j in law._line]
        places = [i for kind in (_GIVEN, _RANGED, _FREE) for i, s in enumerate(status) if s == kind]
        self.given = status.count(_GIVEN)
        self.ranged = range(self.given, self.given + status.count(_RANGED))
        self.columns = [law._line[i] for i in places]
        self.means = law._means[:, self.columns]
        rows = law._factors[:, places]
        self.factors = torch.linalg.cholesky(rows @ rows.mT)

    def log_mass(self, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of density and mass of each component, ``(K, n)``."""
        o, k = self.given, len(self.means)
        offset = y[:, self.columns[:o]] - self.means[:, None, :o]  # (K, n, o)
        factor = self.factors[:, :o, :o]
        z = torch.linalg.solve_triangular(factor, offset.mT, upper=False)  # (K, o, n)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        total: Tensor = -0.5 * (z * z).sum(1) - (log_det + 0.5 * o * _LOG_2PI)[:, None]
        for i in self.ranged:
            before = self.factors[:, i, :i].unsqueeze(1) @ z  # (K, 1, n)
            ends = self._ends(i, slice(None), before.squeeze(1), (low, high))
            total = total + intervals.log_normal_mass(*ends)
            if i + 1 in self.ranged:
                z = torch.cat([z, intervals.mean_normal(*ends).unsqueeze(1)], 1)
        return total.expand(k, len(y))

    def draw(
        self,
        y: Tensor,
        low: Tensor,
        high: Tensor,
        component: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return the columns of rows ``(n, p)``, and log-weights ``(n,)``."""
        o, n, p = self.given, len(y), len(self.columns)
        factor, mean = self.factors[component], self.means[component]
        z = torch.randn(n, p, dtype=y.dtype, generator=generator)
        offset = (y[:, self.columns[:o]] - mean[:, :o]).unsqueeze(-1)
        z[:, :o] = torch.linalg.solve_triangular(factor[:, :o, :o], offset, upper=False)[..., 0]
        expected, weight = z.clone(), y.new_zeros(n)
        for i in self.ranged:
            uniform = torch.rand(n, dtype=y.dtype, generator=generator)
            line = (factor[:, i, :i] * z[:, :i]).sum(-1)
            ends = self._ends(i, component, line, (low, high))
            z[:, i] = intervals.draw_normal(*ends, uniform)
            if i > o:  # of the first, both masses are one
                weight = weight + intervals.log_normal_mass(*ends)
                line = (factor[:, i, :i] * expected[:, :i]).sum(-1)
                ends = self._ends(i, component, line, (low, high))
                weight = weight - intervals.log_normal_mass(*ends)
            if i + 1 in self.ranged:
                expected[:, i] = intervals.mean_normal(*ends)
        values = mean + (factor @ z.unsqueeze(-1)).squeeze(-1)
        values[:, :o] = y[:, self.columns[:o]]
        return values, weight

    def _ends(
        self, i: int, component: Tensor | slice, line: Tensor, ends: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the ends of the standardised range of a column."""
        start = self.means[component, i]
        scale = self.factors[component, i, i]
        if isinstance(component, slice):
            start, scale = start.unsqueeze(-1), scale.unsqueeze(-1)
        low, high = ((end[:, self.columns[i]] - start - line) / scale for end in ends)
        return low, high


class StudentLaw(Law):
    """One component: independent Student t columns, uniform on circles."""

    def __init__(self, member: StudentMember) -> None:
        self._loc, self._scale = member.loc, member.scale
        self._circular = torch.tensor(member.circular)
        self._member = member

    def log_joint(self, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the log of density and mass, ``(n, 1)``."""
        a, b = ((end - self._loc) / self._scale for end in (low, high))
        arc = ((high - low) / (2 * math.pi)).log()
        mass = torch.where(self._circular, arc, intervals.log_student_mass(a, b))
        mass = torch.where(low.isnan(), 0.0, mass).sum(-1)
        return (self._member.log_prob(y) + mass).unsqueeze(-1)

    def draw(
        self,
        y: Tensor,
        low: Tensor,
        high: Tensor,
        component: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Draw the entries that are not given; return rows and log-weights."""
        del component
        ranged = ~low.isnan()
        a, b = ((end - self._loc) / self._scale for end in (low, high))
        a, b = torch.where(ranged, a, -math.inf), torch.where(ranged, b, math.inf)
        uniform = torch.rand(y.shape, dtype=y.dtype, generator=generator)
        on_line = self._loc + self._scale * intervals.draw_student(a, b, uniform)
        start = torch.where(ranged, low, -math.pi)
        turn = torch.where(ranged, high - low, 2 * math.pi)
        angle = torch.remainder(start + turn * uniform + math.pi, 2 * math.pi) - math.pi
        drawn = torch.where(self._circular, angle, on_line)
        return torch.where(y.isnan(), drawn, y), y.new_zeros(len(y))


def _status(y: Tensor, low: Tensor) -> Tensor:
    """Return whether each entry is free, given or ranged, ``(n, d)``."""
    given = torch.where(low.isnan(), _FREE, _RANGED)
    return torch.where(y.isnan(), given, _GIVEN)


def _patterns(status: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each pattern of entries, ``(d,)``, with its rows."""
    if not len(status) or bool((status == status[0]).all()):
        return [(row, torch.arange(len(status))) for row in status[:1]]
    if status.shape[1] < _DIGITS:  # sorting numbers is faster than sorting rows
        number = status @ 3 ** torch.arange(status.shape[1])
        _, index = number.unique(return_inverse=True)
        first = torch.zeros(int(index.max()) + 1, dtype=torch.long)
        unique = status[first.scatter_(0, index, torch.arange(len(status)))]
    else:
        unique, index = status.unique(dim=0, return_inverse=True)
    order = index.argsort(stable=True)
    split = order.split(torch.bincount(index, minlength=len(unique)).tolist())
    return list(zip(unique, split, strict=True))
