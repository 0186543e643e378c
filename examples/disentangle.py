"""Disentangled latents: a VAE, a beta-VAE and a DIP-VAE of shapes in the plane.

Models are fitted to the same images, without factors, and scored with the known factors. Draws
traversals of the latents of each model.

    python examples/disentangle.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from flowkit.metrics import beta_vae_score, mig, sap
from flowkit.metrics.pictures import image_grid, save_image, traversals
from flowkit.training import fit
from flowkit.vae import VAE, dip, kl, networks, posterior
from tabular_data import shapes

LATENTS, SEED = 5, 0
# Ellipses without rotation vary in scale, x and y. The example takes about two minutes.
SIZES = (1, 6, 1, 32, 32)
MODELS = {
    "VAE": [kl()],
    "beta-VAE": [kl(beta=6.0)],
    "DIP-VAE-II": [kl(), dip("ii", lambda_od=20.0)],
}


def pictures(factors: np.ndarray) -> torch.Tensor:
    """Render factors within `SIZES`, with every other pixel of each side."""
    codes = factors.copy()
    codes[:, 0] = 1
    images = shapes.render(codes).reshape(-1, 64, 64)[:, ::2, ::2]
    return torch.from_numpy(images.reshape(len(codes), -1).copy()).float()


def factors(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=n) for size in SIZES], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    steps, points = (40, 40) if options.quick else (1_500, 400)
    x = pictures(factors(10_000, SEED))
    table = Table(title="scores with known factors: scale, x, y")
    for heading in ("model", "reconstruction, nats", "beta-VAE score", "SAP", "MIG"):
        table.add_column(heading, justify="right")
    for name, terms in MODELS.items():
        torch.manual_seed(SEED)
        nets = networks("mlp-300", (x.shape[1],), LATENTS)
        q = posterior("normal", LATENTS, context_features=nets.context_features)
        vae = VAE(nets.encoder, nets.decoder, q)
        history = fit(vae, x, terms=terms, steps=steps, batch_size=128, seed=SEED)
        reconstruction = np.mean(history.terms["vae"]["reconstruction"][-50:])

        @torch.no_grad()
        def represent(codes: np.ndarray, vae: VAE = vae) -> np.ndarray:
            return vae.represent(pictures(codes)).numpy()

        @torch.no_grad()
        def decode(z: np.ndarray, vae: VAE = vae) -> np.ndarray:
            return vae.likelihood.mean(vae.decode(torch.from_numpy(z).float())).numpy()

        train, test = factors(2_000, 1), factors(1_000, 2)
        z, z_test = represent(train), represent(test)
        score = beta_vae_score(represent, SIZES, pairs=16, train=points, test=points)
        separated = sap(z, train[:, [1, 3, 4]], z_test, test[:, [1, 3, 4]]).score
        gap = mig(z, train)
        table.add_row(
            name, f"{reconstruction:.1f}", f"{score:.2f}", f"{separated:.2f}", f"{gap:.2f}"
        )
        start = represent(factors(1, 3))[0]
        path = options.out / f"disentangle_{name.lower()}.png"
        save_image(image_grid(traversals(decode, start, (32, 32))), path)
    console.print(table)
    console.print(f"wrote traversals of the latents of each model to {options.out}")


if __name__ == "__main__":
    main()
