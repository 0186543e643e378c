"""Expectation-maximisation of a Gaussian mixture with weights, absent entries and angles."""

import math
import warnings

import numpy as np
import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)
_MAX_CONCENTRATION = 500.0
# Rows of patterns rarer than the commonest ones are left out of the fit, never out of the score.
_PATTERNS = 24


def patterns(present: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each pattern of present entries, ``(d,)``, with its rows."""
    if bool(present.all()):
        return [(present.new_ones(present.shape[1]), torch.arange(len(present)))]
    unique, index = present.unique(dim=0, return_inverse=True)
    order = index.argsort(stable=True)
    split = order.split(torch.bincount(index, minlength=len(unique)).tolist())
    return list(zip(unique, split, strict=True))


class MixtureEM:
    """EM of a Gaussian mixture, with covariances shrunk towards the one within components.

    The shrinkage is a prior of ``p + 2`` rows: a component of few rows cannot collapse. After
    `run`, the attributes `shares`, `means`, `covariances`, `directions` and `concentrations` are
    the parameters of the K components.

    Args:
        y: rows ``(n, d)``, NaN where absent.
        weights: ``(n,)``.
        line: the columns that are not circular.
        angle: the circular columns.
        components: number of components K.
        seed: random seed of the start.
    """

    def __init__(
        self,
        y: np.ndarray,
        weights: np.ndarray,
        line: list[int],
        angle: list[int],
        components: int,
        seed: int,
    ) -> None:
        present = ~np.isnan(y)
        groups = patterns(torch.from_numpy(present))
        groups.sort(key=lambda group: -len(group[1]))
        rows = np.concatenate([g[1].numpy() for g in groups[:_PATTERNS]])
        rows.sort()
        self.y, self.w = y[rows], weights[rows]
        self.groups = [(p.numpy(), r.numpy()) for p, r in patterns(torch.from_numpy(present[rows]))]
        self.line, self.angle, self.k = line, angle, components
        self.x = self.y[:, line]
        self.theta = self.y[:, angle]
        p = len(line)
        centre = _nan_average(self.x, self.w)
        self.filled = np.where(np.isnan(self.x), centre, self.x)
        self.pooled = np.cov(self.filled.T, aweights=self.w, bias=True).reshape(p, p)
        self.pooled += 1e-6 * np.eye(p)
        posterior = self._start(np.random.default_rng(seed))
        self.covariances = np.repeat(self.pooled[None], components, 0)
        self.prior = self.pooled
        self._extra = np.zeros((components, p, p))
        self._imputed = np.repeat(self.filled[None], components, 0) if self._missing() else None
        self._maximise(posterior)

    def _missing(self) -> bool:
        return bool(np.isnan(self.x).any())

    def _start(self, rng: np.random.Generator) -> np.ndarray:
        """Return hard responsibilities: k-means from a few drawn centres, k-means++."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        features = self.filled / np.sqrt(np.diag(self.pooled))
        theta = np.nan_to_num(self.theta)
        points = np.column_stack([features, np.cos(theta), np.sin(theta)])
        if self.k == 1:
            return np.ones((len(points), 1))
        if len(points) > 20_000:
            chosen = rng.choice(len(points), 20_000, replace=False)
        else:
            chosen = np.arange(len(points))
        means = KMeans(self.k, n_init=1, max_iter=15, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():  # fewer clusters than asked for are no harm
            warnings.simplefilter("ignore", ConvergenceWarning)
            means.fit(points[chosen], sample_weight=self.w[chosen])
        hard: np.ndarray = np.eye(self.k)[means.predict(points)]
        return hard

    def run(self, steps: int) -> None:
        """Take at most so many steps; end earlier where the log-likelihood has stopped rising."""
        last = -math.inf
        for _ in range(steps):
            log_joint = self._log_joint()
            top = log_joint.max(1, keepdims=True)
            joint = np.exp(log_joint - top)
            total = joint.sum(1, keepdims=True)
            score = float(np.average(np.log(total[:, 0]) + top[:, 0], weights=self.w))
            if score - last < 2e-4:
                break
            last = score
            self._maximise(joint / total)

    def _log_joint(self) -> np.ndarray:
        """Return log weight and density, ``(n, K)``; impute what is missing on the way."""
        out = np.tile(np.log(self.shares), (len(self.x), 1))
        p = len(self.line)
        for present, rows in self.groups:
            kept = np.flatnonzero(present[self.line])
            gone = np.flatnonzero(~present[self.line])
            if len(kept):
                x = self.x[np.ix_(rows, kept)]
                part = self.covariances[:, kept[:, None], kept]
                factors = np.linalg.cholesky(part)
                precision = np.linalg.inv(factors)  # (K, q, q) lower
                log_det = -np.log(np.diagonal(precision, axis1=1, axis2=2)).sum(1)
                for k in range(self.k):
                    z = (x - self.means[k, kept]) @ precision[k].T
                    out[rows, k] -= 0.5 * (z * z).sum(1) + log_det[k] + 0.5 * len(kept) * _LOG_2PI
            if len(gone) and self._imputed is not None:
                for k in range(self.k):
                    cross = self.covariances[k][np.ix_(gone, kept)]
                    gain = cross @ precision[k].T @ precision[k] if len(kept) else np.zeros((p, 0))
                    fill = self.means[k, gone]
                    if len(kept):
                        fill = fill + (x - self.means[k, kept]) @ gain.T
                    self._imputed[k][np.ix_(rows, gone)] = fill
            for i, j in enumerate(self.angle):
                if present[j]:
                    kappa = self.concentrations[:, i]
                    cosine = np.cos(self.theta[rows, i, None] - self.directions[:, i])
                    out[rows] += kappa * (cosine - 1) - _LOG_2PI - np.log(_i0e(kappa))
        return out

    def _maximise(self, posterior: np.ndarray) -> None:
        r = posterior * self.w[:, None]
        p, n = len(self.line), self.w.sum()
        counts = r.sum(0)
        self.shares = (counts + 1.0) / (n + self.k)
        means = np.empty((self.k, p))
        scatter = np.empty((self.k, p, p))
        for k in range(self.k):
            x = self.x if self._imputed is None else self._imputed[k]
            means[k] = (r[:, k] @ x) / (counts[k] + 1e-10) if counts[k] > 1e-8 else x.mean(0)
            offset = x - means[k]
            scatter[k] = (offset * r[:, k, None]).T @ offset
        if self._imputed is not None:
            for present, rows in self.groups:
                kept = np.flatnonzero(present[self.line])
                gone = np.flatnonzero(~present[self.line])
                if len(gone) == 0:
                    continue
                weight = r[rows].sum(0)
                for k in range(self.k):
                    c = self.covariances[k]
                    conditional = c[np.ix_(gone, gone)]
                    if len(kept):
                        cross = c[np.ix_(gone, kept)]
                        inner = np.linalg.solve(c[np.ix_(kept, kept)], cross.T)
                        conditional = conditional - cross @ inner
                    scatter[k][np.ix_(gone, gone)] += weight[k] * conditional
        self.means = means
        # Towards the covariance within components, and a little towards its diagonal.
        within = (scatter.sum(0) + 1e-3 * np.eye(p)) / (n + 1)
        shared = 0.9 * within + 0.1 * np.diag(np.diag(within)) + 1e-6 * np.eye(p)
        strength = (p + 2.0) if self.k > 1 else 1.0
        self.covariances = (scatter + strength * shared) / (counts + strength)[:, None, None]
        self._maximise_angles(r)

    def _maximise_angles(self, r: np.ndarray) -> None:
        a = len(self.angle)
        self.directions, self.concentrations = np.zeros((self.k, a)), np.zeros((self.k, a))
        for i in range(a):
            here = ~np.isnan(self.theta[:, i])
            resultant = r[here].T @ np.exp(1j * self.theta[here, i])
            # One more row, spread over the circle, keeps a lone angle from infinity.
            length = np.abs(resultant) / (r[here].sum(0) + 1.0)
            self.directions[:, i] = np.angle(resultant)
            self.concentrations[:, i] = concentration(length)


def concentration(length: np.ndarray) -> np.ndarray:
    """Return the von Mises concentration whose mean resultant length that is, by Newton steps."""
    length = np.clip(length, 0.0, 0.9995)
    kappa: np.ndarray = length * (2 - length**2) / (1 - length**2)
    from scipy.special import i1e

    for _ in range(5):
        ratio = i1e(kappa) / _i0e(kappa)
        slope = 1 - ratio**2 - np.where(kappa > 1e-6, ratio / np.maximum(kappa, 1e-6), 0.5)
        kappa = np.clip(kappa - (ratio - length) / np.maximum(slope, 1e-9), 0, _MAX_CONCENTRATION)
    return kappa


def _i0e(kappa: np.ndarray) -> np.ndarray:
    from scipy.special import i0e

    result: np.ndarray = i0e(kappa)
    return result


def _nan_average(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    here = ~np.isnan(x)
    total = (here * w[:, None]).sum(0)
    mean: np.ndarray = (np.nan_to_num(x) * w[:, None]).sum(0) / np.maximum(total, 1e-300)
    return mean
