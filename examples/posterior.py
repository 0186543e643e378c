"""Variational posterior: a flow fitted to an unnormalised density.

The density, two crescents in a box, is the posterior of a well-known task of simulation-based
inference. Prints diagnostics of the fit, and draws true and fitted density.

    python examples/posterior.py [--quick] [--out DIR]
"""

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console

from flowkit.flows import Flow, StandardLogistic, nsf
from flowkit.metrics.pictures import density_beside
from flowkit.transforms import Chain, Interval
from flowkit.vae import fit_posterior

matplotlib.use("Agg")

SEED = 0
OBSERVED = torch.tensor([0.0, 0.0])


def log_posterior(theta: torch.Tensor) -> torch.Tensor:
    """Return ``log p(theta | x)`` up to a constant, with a uniform prior on [-1, 1]²."""
    place = torch.stack([-theta.sum(-1).abs(), theta[..., 1] - theta[..., 0]], -1) / math.sqrt(2)
    u = OBSERVED - place - torch.tensor([0.25, 0.0])
    r = torch.linalg.vector_norm(u, dim=-1).clamp(min=1e-6)
    log_density = -0.5 * ((r - 0.1) / 0.02).square() - r.log()
    return torch.where(u[..., 0] > 0, log_density, log_density - 50 * u[..., 0].abs())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    spline = nsf(2, layers=6, hidden=(64, 64), bins=12, bound=5.0, coupling=True)
    flow = Flow(Chain(Interval(2, -1.0, 1.0), spline.transform), StandardLogistic(2))
    steps = 60 if options.quick else 1_500
    # The ELBO misses parts of the thin crescents; importance-weighted draws do not.
    posterior = fit_posterior(
        log_posterior,
        flow,
        objective="reweighted_wake_sleep",
        steps=steps,
        anneal=steps // 2,
        learning_rate=2e-3,
        seed=SEED,
    )
    Console().print(str(posterior.diagnostics))

    def learned(theta: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return posterior.log_prob(torch.from_numpy(theta).float()).numpy()

    def true(theta: np.ndarray) -> np.ndarray:
        return log_posterior(torch.from_numpy(theta).float()).numpy()

    draws = posterior.sample(2_000, resample=True, generator=torch.Generator().manual_seed(SEED))
    first, second = draws.mean(0).tolist()
    Console().print(f"mean of 2,000 draws: {first:+.3f}, {second:+.3f}")
    path = options.out / "posterior.png"
    density_beside({"true": true, "flow": learned}, (-0.7, 0.7, -0.7, 0.7), path)
    Console().print(f"wrote {path}")


if __name__ == "__main__":
    main()
