"""PixelGAN autoencoder of digits: unsupervised and semi-supervised clusters.

The code is one of thirty categories, shared by all pixels; the PixelCNN models local structure.
Clusters are assigned the majority label of their rows. A second model is trained with 100 labels.
The baseline is an adversarial autoencoder with independent pixels.

    python examples/pixelgan_clusters.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import tabular_data
from flowkit.flows import BernoulliLikelihood
from flowkit.gan import (
    AdversarialAutoencoder,
    Factorized,
    PixelGANAutoencoder,
    spectral_norm_,
)
from flowkit.metrics import cluster_error
from flowkit.metrics.pictures import image_grid, save_image
from flowkit.nets import MLP, PixelCNN
from flowkit.training import fit

SIDE, SEED = 8, 0
IMAGE = (1, SIDE, SIDE)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return grey levels in [0, 1], and labels."""
    data = tabular_data.load("digits")
    x = torch.from_numpy(np.asarray(data.train)).float() / 16
    return x.reshape(-1, *IMAGE), torch.from_numpy(np.asarray(data.labels["train"])).long()


def model(name: str, categories: int) -> AdversarialAutoencoder:
    torch.manual_seed(SEED)
    # Batch norm keeps all categories in use. Spectral normalisation bounds the critic, which
    # otherwise separates codes from the prior at once, and leaves the encoder without gradient.
    encoder = nn.Sequential(MLP(SIDE * SIDE, categories, (256, 256)), nn.BatchNorm1d(categories))
    critic = spectral_norm_(MLP(categories, 1, (256, 256)))
    grey = BernoulliLikelihood(stochastic=True)
    if name == "PixelGAN":
        pixels = PixelCNN(IMAGE, hidden=16, layers=1, reach=1, context_features=categories)
        return PixelGANAutoencoder(encoder, pixels, critic, likelihood=grey, categories=categories)
    net = MLP(categories, SIDE * SIDE, (256, 256))
    decoder = Factorized(net, IMAGE, codes=categories, likelihood=grey)
    return AdversarialAutoencoder(encoder, decoder, critic, categories=categories)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    x, labels = digits()
    settings = {
        "steps": 20 if options.quick else 900,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "seed": SEED,
    }
    table = Table(title=f"{len(x)} digits")
    for heading in ("decoder", "30 clusters, no label: error", "100 labels: error"):
        table.add_column(heading, justify="right")
    for name in ("PixelGAN", "factorized"):
        clusters = model(name, 30)
        fit(clusters, x, **settings)
        unsupervised = cluster_error(clusters.clusters(x).numpy(), labels.numpy())
        few = model(name, 10)
        fit(few, x[100:], labelled=(x[:100], labels[:100]), **settings)
        error = (few.clusters(x[100:]) != labels[100:]).double().mean().item()
        table.add_row(name, f"{unsupervised:.1%}", f"{error:.1%}")
        if name == "PixelGAN":
            sizes = clusters.clusters(x).bincount(minlength=30)
            codes = torch.eye(30)[sizes.argsort(descending=True)[:10]]
            drawn = [
                clusters.decode(codes, torch.Generator().manual_seed(seed)) for seed in range(8)
            ]
            grid = torch.stack(drawn).reshape(8, 10, SIDE, SIDE).numpy()
            save_image(image_grid(grid), options.out / "pixelgan_clusters.png", zoom=6)
    console.print(table)
    console.print(f"wrote {options.out / 'pixelgan_clusters.png'}: a column for each cluster")


if __name__ == "__main__":
    main()
