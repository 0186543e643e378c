"""Methods of density estimation, each with common tuning.

Methods are fitted to standardised rows, with a tenth for validation. The log-determinant of the
standardisation is added, so that scores have the units of the table.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Protocol

import numpy as np


class Density(Protocol):
    """A density with `fit` and log-densities of rows."""

    def fit(self, x: np.ndarray) -> object: ...

    def score_samples(self, x: np.ndarray) -> np.ndarray: ...


class Standardised:
    """A density of rows, by a density of standardised rows."""

    def __init__(self, inner: Density) -> None:
        self.inner = inner

    def fit(self, x: np.ndarray) -> "Standardised":
        self.mean, self.std = x.mean(0), x.std(0) + 1e-12
        self.inner.fit((x - self.mean) / self.std)
        return self

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return self.inner.score_samples((x - self.mean) / self.std) - np.log(self.std).sum()


def _held_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k = max(len(x) // 10, 20)
    return x[k:], x[:k]


class Gaussian:
    """A Gaussian with full covariance."""

    def fit(self, x: np.ndarray) -> None:
        self.mean = x.mean(0)
        covariance = np.cov(x.T).reshape(x.shape[1], -1)
        self.root = np.linalg.cholesky(covariance + 1e-9 * np.eye(x.shape[1]))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        z = np.linalg.solve(self.root, (x - self.mean).T)
        constant = 0.5 * len(z) * np.log(2 * np.pi) + np.log(self.root.diagonal()).sum()
        return -0.5 * (z * z).sum(0) - constant


class Mixture:
    """Gaussian mixture of scikit-learn; components and covariance type by validation score."""

    def fit(self, x: np.ndarray) -> None:
        from sklearn.mixture import GaussianMixture

        train, held_out = _held_out(x)
        options = {"random_state": 0, "reg_covar": 1e-5, "max_iter": 200}
        scores = {}
        for kind in ("full", "diag"):
            for k in (1, 2, 3, 5, 8, 12, 20, 40):
                if 5 * k <= len(train):
                    candidate = GaussianMixture(k, covariance_type=kind, **options)
                    scores[k, kind] = candidate.fit(train).score(held_out)
        k, kind = max(scores, key=scores.__getitem__)
        self.mixture = GaussianMixture(k, covariance_type=kind, n_init=2, **options).fit(x)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return self.mixture.score_samples(x)


class Kernel:
    """Kernel estimate of scikit-learn; bandwidth by validation score, at most 10,000 rows."""

    def fit(self, x: np.ndarray) -> None:
        from sklearn.neighbors import KernelDensity

        x = x[:10_000]
        train, held_out = _held_out(x)
        widths = np.geomspace(0.02, 1.0, 14)
        scores = [KernelDensity(bandwidth=h).fit(train).score(held_out) for h in widths]
        self.kernel = KernelDensity(bandwidth=widths[int(np.argmax(scores))]).fit(x)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return self.kernel.score_samples(x)


class ZukoFlow:
    """A flow of zuko, with the training loop of zuko's tutorials and early stopping.

    Adam at 1e-3, batches of 256, gradients clipped at 5, at most 400 epochs, patience of 20 epochs.
    """

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def fit(self, x: np.ndarray) -> None:
        import torch

        torch.manual_seed(0)
        train, held_out = (torch.tensor(part, dtype=torch.float32) for part in _held_out(x))
        flow = self.make(x.shape[1])
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
        best, stale, state = -np.inf, 0, deepcopy(flow.state_dict())
        for _ in range(400):
            for rows in torch.randperm(len(train)).split(256):
                loss = -flow().log_prob(train[rows]).mean()
                if not loss.isfinite():
                    continue
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                optimizer.step()
            with torch.no_grad():
                score = flow().log_prob(held_out).mean().item()
            stale += 1
            if score > best:
                best, stale, state = score, 0, deepcopy(flow.state_dict())
            if stale >= 20:
                break
        flow.load_state_dict(state)
        self.flow = flow.eval()

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        import torch

        rows = torch.tensor(x, dtype=torch.float32)
        with torch.no_grad():
            parts = [self.flow().log_prob(part) for part in rows.split(4096)]
        return torch.cat(parts).double().numpy()


def _zuko_nsf(features: int) -> Any:
    from zuko.flows import NSF

    return NSF(features, transforms=3, hidden_features=(64, 64))


def _zuko_maf(features: int) -> Any:
    from zuko.flows import MAF

    return MAF(features, transforms=5, hidden_features=(128, 128))


def _flowkit() -> Density:
    from flowkit import FlowDensity

    return FlowDensity(random_state=0)


METHODS: dict[str, Callable[[], Density]] = {
    "gaussian": lambda: Standardised(Gaussian()),
    "mixture": lambda: Standardised(Mixture()),
    "kde": lambda: Standardised(Kernel()),
    "zuko-nsf": lambda: Standardised(ZukoFlow(_zuko_nsf)),
    "zuko-maf": lambda: Standardised(ZukoFlow(_zuko_maf)),
    "flowkit": _flowkit,
}
