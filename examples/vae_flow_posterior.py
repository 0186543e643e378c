"""Flow posteriors of variational autoencoders, compared with Gaussian posteriors.

Trains two autoencoders of scikit-learn's digits, with a Gaussian and with a flow as posterior.
Prints the log-likelihood of held-out digits. Draws, for one digit, the true posterior of the two
latents, the flow posterior, and the best Gaussian.

    python examples/vae_flow_posterior.py [--quick] [--out DIR]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tabular_data
from flowkit.estimators import log_likelihood
from flowkit.flows import BernoulliLikelihood, Flow, StandardNormal
from flowkit.metrics.pictures import density_beside, image_grid, save_image
from flowkit.training import fit
from flowkit.transforms import LULinear
from flowkit.vae import VAE, fit_posterior, kl, networks, posterior

matplotlib.use("Agg")

LATENTS, SIDE, SEED = 2, 8, 0


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return grey levels in [0, 1] of training and test digits."""
    data = tabular_data.load("digits")
    train, test = (torch.from_numpy(np.asarray(part)).float() for part in (data.train, data.test))
    return train / 16, test / 16


def model(name: str) -> VAE:
    torch.manual_seed(SEED)
    nets = networks("mlp-300", (SIDE * SIDE,), LATENTS)
    options = {"layers": 4, "hidden": (64,)} if name == "iaf" else {}
    q = posterior(name, LATENTS, context_features=nets.context_features, **options)
    return VAE(nets.encoder, nets.decoder, q, likelihood=BernoulliLikelihood(stochastic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    train, test = digits()
    generator = torch.Generator().manual_seed(SEED)
    bits = torch.bernoulli(test, generator=generator)
    steps, samples = (100, 50) if options.quick else (4_000, 1_000)
    table = Table(title=f"{len(bits)} held-out digits, nats per digit")
    for heading in ("posterior", "ELBO", "log-likelihood", "difference"):
        table.add_column(heading, justify="right")
    models = {}
    for name in ("normal", "iaf"):
        vae = models[name] = model(name)
        fit(vae, train, terms=[kl(warm_up=steps // 4)], steps=steps, batch_size=128, seed=SEED)
        with torch.no_grad():
            bound = vae.log_weights(bits, 50, generator).mean()
        score = log_likelihood(vae, bits, samples=samples, generator=generator).value.mean()
        table.add_row(name, f"{bound:.2f}", f"{score:.2f}", f"{score - bound:.2f}")
    console.print(table)

    draws = [vae.sample(10, torch.Generator().manual_seed(SEED)) for vae in models.values()]
    rows = [bits[:10], *(vae.reconstruct(bits[:10], generator) for vae in models.values()), *draws]
    grid = torch.stack(rows).reshape(-1, 10, SIDE, SIDE).numpy()
    save_image(image_grid(grid), options.out / "vae_digits.png", zoom=6)

    vae, x = models["iaf"], bits[:1]

    def of_arrays(log_density: Callable[[torch.Tensor], torch.Tensor]) -> Callable:
        return lambda z: log_density(torch.from_numpy(z).float()).detach().numpy()

    def true(z: torch.Tensor) -> torch.Tensor:
        params = vae.decode(z, (SIDE * SIDE,))
        return vae.likelihood.log_prob(x, params).sum(-1) + vae.prior.log_prob(z)

    with torch.no_grad():
        context = vae.encode(x)
        z = vae.draw(x, 500, generator).z.squeeze(1)
    low, high = (z.quantile(q, dim=0) for q in (0.005, 0.995))
    pad = 0.5 * (high - low)
    box = [float(edge) for j in range(2) for edge in (low[j] - pad[j], high[j] + pad[j])]
    # A linear map of a standard normal is a Gaussian of any covariance.
    gaussian = Flow(LULinear(LATENTS), StandardNormal(LATENTS))
    fitted = fit_posterior(true, gaussian, steps=steps // 8, learning_rate=1e-2, seed=SEED)
    density_beside(
        {
            "true posterior": of_arrays(true),
            "flow posterior": of_arrays(lambda z: vae.posterior.log_prob(z, context)),
            "best Gaussian of this digit": of_arrays(fitted.log_prob),
        },
        tuple(box),
        options.out / "vae_posterior.png",
    )
    console.print(f"wrote vae_digits.png and vae_posterior.png to {options.out}")


if __name__ == "__main__":
    main()
