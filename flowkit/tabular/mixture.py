"""A Gaussian mixture that takes weights, missing entries and angles; fitted by EM."""

import math
import warnings

import numpy as np
import torch
from torch import Tensor, nn

_LOG_2PI = math.log(2 * math.pi)
_MAX_CONCENTRATION = 500.0
# Rows of patterns rarer than the commonest ones are left out of the fit, never out of the score.
_PATTERNS = 24


class MixtureMember(nn.Module):
    """A mixture of full Gaussians; on circular columns each component is a product of von Mises.

    Args:
        features: number of columns d.
        components: number of components K.
        circular: which columns are angles, ``(d,)``.

    Missing entries (NaN) are integrated out, exactly.
    """

    kind = "mixture"
    log_weights: Tensor
    means: Tensor
    factors: Tensor
    concentrations: Tensor

    def __init__(self, features: int, components: int, circular: list[bool]) -> None:
        super().__init__()
        self.features, self.components, self.circular = features, components, list(circular)
        self._line = [j for j in range(features) if not circular[j]]
        self._angle = [j for j in range(features) if circular[j]]
        p, k = len(self._line), components
        zeros = torch.zeros(k, features, dtype=torch.float64)
        self.register_buffer("log_weights", torch.full((k,), -math.log(k), dtype=torch.float64))
        self.register_buffer("means", zeros)
        # Lower triangular L with covariance L Lᵀ.
        self.register_buffer("factors", torch.eye(p, dtype=torch.float64).repeat(k, 1, 1))
        self.register_buffer("concentrations", zeros[:, : len(self._angle)].clone())

    def config(self) -> dict[str, object]:
        """Return the arguments that make it again."""
        return {
            "features": self.features,
            "components": self.components,
            "circular": self.circular,
        }

    @classmethod
    def fit(
        cls,
        y: np.ndarray,
        weights: np.ndarray,
        components: int,
        circular: np.ndarray,
        *,
        seed: int = 0,
        steps: int = 100,
    ) -> "MixtureMember":
        """Fit to rows ``(n, d)``, NaN where absent, of columns of unit scale."""
        self = cls(y.shape[1], components, [bool(c) for c in circular])
        em = _EM(y, weights, self._line, self._angle, components, seed)
        em.run(steps)
        self.log_weights.copy_(torch.from_numpy(np.log(em.shares)))
        self.means[:, self._line] = torch.from_numpy(em.means)
        self.means[:, self._angle] = torch.from_numpy(em.directions)
        self.factors.copy_(torch.linalg.cholesky(torch.from_numpy(em.covariances)))
        self.concentrations.copy_(torch.from_numpy(em.concentrations))
        return self

    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""
        del context
        result = y.new_empty(len(y))
        for present, rows in patterns(~y.isnan()):
            result[rows] = self._component_log_prob(y[rows], present).logsumexp(-1)
        return result

    def _component_log_prob(self, y: Tensor, present: Tensor) -> Tensor:
        """Return log weight and density of each component, ``(n, K)``, one pattern of entries."""
        total = self.log_weights.expand(len(y), -1)
        line = [i for i, j in enumerate(self._line) if present[j]]
        if line:
            columns = [self._line[i] for i in line]
            factors = _marginal_factors(self.factors, line)
            offset = (y[:, columns] - self.means[:, None, columns]).mT  # (K, p, n)
            z = torch.linalg.solve_triangular(factors, offset, upper=False)
            log_det = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            constant = 0.5 * len(line) * _LOG_2PI + log_det
            total = total + (-0.5 * (z * z).sum(1) - constant[:, None]).T
        for i, j in enumerate(self._angle):
            if present[j]:
                kappa = self.concentrations[:, i]
                # i0e is I0 without its exponential growth.
                constant = _LOG_2PI + torch.special.i0e(kappa).log()
                cosine = torch.cos(y[:, j, None] - self.means[:, j])
                total = total + kappa * (cosine - 1) - constant
        return total

    def sample(self, present: Tensor, context: Tensor | None, rng: np.random.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""
        del context
        n = len(present)
        shares = self.log_weights.exp().numpy()
        chosen = torch.from_numpy(rng.choice(self.components, n, p=shares / shares.sum()))
        y = torch.empty(n, self.features, dtype=torch.float64)
        if self._line:
            noise = torch.from_numpy(rng.standard_normal((n, len(self._line))))
            for k in range(self.components):
                rows = (chosen == k).nonzero().squeeze(-1)
                moved = self.means[k, self._line] + noise[rows] @ self.factors[k].T
                y[rows.unsqueeze(-1), torch.tensor(self._line)] = moved
        for i, j in enumerate(self._angle):
            kappa = self.concentrations[chosen, i].numpy()
            angle = rng.vonmises(self.means[chosen, j].numpy(), kappa)
            y[:, j] = torch.from_numpy(angle)
        return y.masked_fill(~present, torch.nan)


def patterns(present: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each pattern of present entries, ``(d,)``, with its rows."""
    if bool(present.all()):
        return [(present.new_ones(present.shape[1]), torch.arange(len(present)))]
    unique, index = present.unique(dim=0, return_inverse=True)
    order = index.argsort(stable=True)
    split = order.split(torch.bincount(index, minlength=len(unique)).tolist())
    return list(zip(unique, split, strict=True))


def _marginal_factors(factors: Tensor, kept: list[int]) -> Tensor:
    """Return the Cholesky factors of the covariance of some columns."""
    if len(kept) == factors.shape[-1]:
        return factors
    rows = factors[:, kept]
    marginal: Tensor = torch.linalg.cholesky(rows @ rows.mT)
    return marginal


class _EM:
    """Expectation-maximisation, with covariances shrunk towards what the components share.

    The shrinkage is a prior of ``p + 2`` rows of covariance a tenth of the shared one in
    volume-per-component terms: it keeps a component that holds few rows from collapsing.
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
        responsibilities = self._start(np.random.default_rng(seed))
        self.covariances = np.repeat(self.pooled[None], components, 0)
        self.prior = self.pooled
        self._extra = np.zeros((components, p, p))
        self._imputed = np.repeat(self.filled[None], components, 0) if self._missing() else None
        self._maximise(responsibilities)

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

    def _maximise(self, responsibilities: np.ndarray) -> None:
        r = responsibilities * self.w[:, None]
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
