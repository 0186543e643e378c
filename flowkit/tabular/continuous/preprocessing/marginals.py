"""Marginal maps: each column by itself; scale, skew and tails first, then its rounding grid."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from flowkit._training_mode import needs_plain_torch
from flowkit.schema.statistics import asinh_scaled, location_and_scale, weighted_quantiles
from flowkit.tabular.continuous.preprocessing.grids import RoundingGrid, find_grid
from flowkit.transforms import ElementwiseTransform

# Knots of the quantiles that the shape of a column is fitted to.
_QUANTILES = 256
# If a column has more values, its shape is fitted to so many at random. Their mean has a standard
# error of 0.3 per cent of the scale. A map need not be closer, because its derivative is exact.
_ROWS = 100_000


class Marginals(ElementwiseTransform):
    """Per column: ``t = asinh((x - center) / width)``, its rounding grid smoothed, standardised.

    The asinh is nearly linear for a large ``width`` and nearly a logarithm for a small one, so it
    absorbs skew and heavy tails. The second map is piecewise linear: see `grids`. Everything is
    computed in float64, one column at a time; absent entries (NaN) stay absent.

    Args:
        features: number of columns d.
        knots: number of knots of the piecewise linear maps, 0 if no column has a grid.

    A circular column is left as it is.
    """

    center: Tensor
    width: Tensor
    edges: Tensor
    images: Tensor
    mean: Tensor
    scale: Tensor
    curved: Tensor

    def __init__(self, features: int, knots: int = 0) -> None:
        super().__init__(features)
        self.knots = knots
        zeros = torch.zeros(features, dtype=torch.float64)
        for name in ("center", "mean"):
            self.register_buffer(name, zeros.clone())
        for name in ("width", "scale"):
            self.register_buffer(name, zeros + 1)
        self.register_buffer("curved", torch.zeros(features, dtype=torch.bool))
        for name in ("edges", "images"):
            # Unused knots are infinite: no value lies beyond them.
            self.register_buffer(name, torch.full((features, knots), torch.inf).double())

    def config(self) -> dict[str, int]:
        """Return the arguments of the constructor."""
        return {"features": self.features, "knots": self.knots}

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        weights: np.ndarray,
        circular: np.ndarray,
        *,
        curved: bool = True,
        grids: bool = True,
    ) -> "Marginals":
        """Fit to rows ``(n, d)`` with weights ``(n,)``.

        Centre, width, mean and scale are those of 100,000 values at random, if there are more.

        Args:
            values: the rows, NaN where absent.
            weights: their weights, positive.
            circular: which columns are angles, ``(d,)``.
            curved: whether to fit skew and tails; a straight line otherwise.
            grids: whether to look for rounding grids.
        """
        d = values.shape[1]
        center, width, mean, scale = np.zeros(d), np.ones(d), np.zeros(d), np.ones(d)
        fitted_grids: list[RoundingGrid | None] = [None] * d
        bent = np.zeros(d, dtype=bool)
        for j in range(d):
            here = ~np.isnan(values[:, j])
            x, w = values[here, j], weights[here]
            if circular[j] or len(x) == 0:
                continue
            every_x, every_w = x, w
            if len(x) > _ROWS:
                some = np.random.default_rng(j).choice(len(x), _ROWS, replace=False)
                x, w = x[some], w[some]
            center[j], width[j] = location_and_scale(x, w)
            if curved:
                bent[j] = True
                center[j], width[j] = _johnson(x, w, center[j], width[j])
            t = _bend(x, center[j], width[j], bent[j])
            mean[j], scale[j] = np.average(t, weights=w), 1.0
            if grids:
                spread = max(float(np.sqrt(np.average((t - mean[j]) ** 2, weights=w))), 1e-12)
                c, s, b = center[j], width[j], bent[j]
                grid = find_grid(
                    every_x, every_w, partial(_bend, center=c, width=s, curved=b), spread
                )
                if grid is not None:
                    fitted_grids[j] = grid
                    t = np.interp(t, grid.edges, grid.images) + _beyond(t, grid)
            mean[j] = np.average(t, weights=w)
            spread = float(np.sqrt(np.average((t - mean[j]) ** 2, weights=w)))
            scale[j] = spread if spread > 1e-9 * (1 + abs(mean[j])) else 1.0
        self = cls(d, max((len(f.edges) for f in fitted_grids if f is not None), default=0))
        for j, grid in enumerate(fitted_grids):
            if grid is not None:
                self.edges[j, : len(grid.edges)] = torch.from_numpy(grid.edges)
                self.images[j, : len(grid.edges)] = torch.from_numpy(grid.images)
        for name, array in (("center", center), ("width", width), ("mean", mean), ("scale", scale)):
            getattr(self, name).copy_(torch.from_numpy(array))
        self.curved.copy_(torch.from_numpy(bent))
        return self

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(n, d)``; an absent entry stays absent, and its log-derivative has no meaning."""
        u = (x - self.center) / self.width
        size = u.abs()  # in place of sqrt(1 + u²) where u*u would overflow
        root = torch.maximum(size.clamp(max=1e100).square().add(1).sqrt(), size)
        # By logarithms asinh is three times as fast, but a value on an edge may change its cell.
        t = torch.where(self.curved, torch.asinh(u), u)
        log_slope = torch.where(self.curved, -root.log(), 0.0) - self.width.log()
        if self.knots:
            t, piece = self._piecewise_linear(t, self.edges, self.images)
            log_slope = log_slope + piece.log()
        log_slope = log_slope - self.scale.log()
        return (t - self.mean) / self.scale, log_slope

    def unmap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map back."""
        x = self.restore(z)
        return x, -self.map(x)[1]

    def restore(self, z: Tensor) -> Tensor:
        """Map back without the log-derivative, which samples do not need."""
        t = z * self.scale + self.mean
        if self.knots:
            t, _ = self._piecewise_linear(t, self.images, self.edges)
        u = torch.where(self.curved, torch.sinh(t.clamp(-700, 700)), t)
        return u * self.width + self.center

    def _piecewise_linear(self, t: Tensor, knots: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the piecewise linear map at ``t``, slope 1 beyond the ends, and its slope."""
        shape, t = t.shape, t.reshape(-1, self.features).T.contiguous()  # (d, n)
        # Beyond the last knot, and before the first, the map is a shift.
        slopes = F.pad(images.diff() / knots.diff(), (0, 1)).nan_to_num(1.0)
        slopes = torch.where(slopes > 0, slopes, 1.0)
        has_grid = knots.isfinite().sum(-1) > 1  # (d,)
        everywhere = needs_plain_torch()  # then no column can be chosen by its values
        moved, slope = list(t.unbind()), list(torch.ones_like(t).unbind())
        for j in range(self.features) if everywhere else has_grid.nonzero().flatten().tolist():
            index = torch.searchsorted(knots[j], t[j].nan_to_num(0.0), right=True) - 1
            left = index.clamp(min=0)
            slope[j] = torch.where((index < 0) | ~has_grid[j], 1.0, slopes[j][left])
            image = images[j][left] + slope[j] * (t[j] - knots[j][left])
            moved[j] = torch.where(has_grid[j], image, t[j])
        return torch.stack(moved, -1).reshape(shape), torch.stack(slope, -1).reshape(shape)


def _bend(x: np.ndarray, center: float, width: float, curved: bool) -> np.ndarray:
    return asinh_scaled(x, center, width) if curved else (x - center) / width


def _beyond(t: np.ndarray, grid: RoundingGrid) -> np.ndarray:
    """Return how far each point lies beyond the ends, where `np.interp` is flat."""
    beyond: np.ndarray = np.minimum(t - grid.edges[0], 0) + np.maximum(t - grid.edges[-1], 0)
    return beyond


def _johnson(x: np.ndarray, w: np.ndarray, middle: float, unit: float) -> tuple[float, float]:
    """Return centre and width of the asinh that makes the column most nearly normal.

    It is the likelihood of Johnson's SU law, with the normal's mean and variance profiled out.
    """
    q = (weighted_quantiles(x, w, (np.arange(_QUANTILES) + 0.5) / _QUANTILES) - middle) / unit

    def parts(p: np.ndarray) -> tuple[float, float]:
        return float(np.clip(p[0], -6, 6)), float(np.exp(np.clip(p[1], -4, 4)))

    def loss(p: np.ndarray) -> float:
        center, width = parts(p)
        u = (q - center) / width
        return float(
            np.log(np.arcsinh(u).std() + 1e-6) + 0.5 * np.log1p(u * u).mean() + np.log(width)
        )

    starts = ((0.0, 4.0), (0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (-1.0, -2.0), (1.0, -2.0))
    best = min((np.array(s) for s in starts), key=loss)
    optimum = minimize(
        loss, best, method="Nelder-Mead", options={"maxiter": 150, "xatol": 1e-3, "fatol": 1e-4}
    ).x
    # A curve that does not pay for its two parameters is replaced by a line.
    if loss(optimum) > loss(np.array([0.0, 4.0])) - 0.003:
        optimum = np.array([0.0, 4.0])
    center, width = parts(optimum)
    return middle + unit * center, unit * width
