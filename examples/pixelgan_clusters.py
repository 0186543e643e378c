"""A PixelGAN autoencoder of digits: clusters without a label, and with a handful of them.

The code is one of thirty categories, told to every pixel alike; what the pixels nearby tell, it
need not say. Clusters are named by the labels of their rows; then 100 labels join the training. An
adversarial autoencoder whose decoder knows no pixel of another stands beside it.

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
    """Return grey levels between 0 and 1, and which digit each is."""
    found = tabular_data.load("digits")
    x = torch.from_numpy(np.asarray(found.train)).float() / 16
    return x.reshape(-1, *IMAGE), torch.from_numpy(np.asarray(found.labels["train"])).long()


def model(name: str, categories: int) -> AdversarialAutoencoder:
    torch.manual_seed(SEED)
    # Batch norm at the end keeps every category in use; a critic without bounds would tell codes
    # from the prior's at a glance, and the encoder nothing.
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
            found = clusters.clusters(x)
            codes = torch.eye(30)[found.bincount(minlength=30).argsort(descending=True)[:10]]
            drawn = [
                clusters.decode(codes, torch.Generator().manual_seed(seed)) for seed in range(8)
            ]
            grid = torch.stack(drawn).reshape(8, 10, SIDE, SIDE).numpy()
            save_image(image_grid(grid), options.out / "pixelgan_clusters.png", zoom=6)
    console.print(table)
    console.print(f"wrote {options.out / 'pixelgan_clusters.png'}: a column for each cluster")


if __name__ == "__main__":
    main()
