"""Peers: a Gaussian mixture and a kernel estimate of scikit-learn, and a flow of zuko."""

from collections.abc import Callable
from typing import Any

import numpy as np
from densities.methods import METHODS, Standardised

# A kernel estimate keeps its rows: no more of them, as in `densities/methods.py`.
_KERNELS = 10_000


class Mixture:
    """`sklearn.mixture.GaussianMixture` of 10 components, other arguments at their defaults."""

    measures = ("fit", "score", "sample")

    def fit(self, x: np.ndarray) -> None:
        from sklearn.mixture import GaussianMixture

        self.mean, self.std = x.mean(0), x.std(0) + 1e-12
        mixture = GaussianMixture(10, random_state=0)
        self.mixture = mixture.fit((x - self.mean) / self.std)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        return self.mixture.score_samples((x - self.mean) / self.std) - np.log(self.std).sum()

    def sample(self, n: int) -> np.ndarray:
        return self.mixture.sample(n)[0] * self.std + self.mean


class Kernel(Standardised):
    """`sklearn.neighbors.KernelDensity` of bandwidth 0.3, on at most 10,000 rows."""

    measures = ("score",)

    def __init__(self) -> None:
        from sklearn.neighbors import KernelDensity

        super().__init__(KernelDensity(bandwidth=0.3))

    def fit(self, x: np.ndarray) -> "Kernel":
        super().fit(x[:_KERNELS])
        return self


def _zuko() -> Any:
    density = METHODS["zuko-nsf"]()
    density.measures = ("fit", "score")
    return density


PEERS: dict[str, Callable[[], Any]] = {"mixture": Mixture, "kde": Kernel, "zuko-nsf": _zuko}
