"""Variational ladder autoencoder of digits: features of each ladder.

Fits a model with ladders of three depths, and prints the KL of each ladder in nats. Draws rows with
varied latents of one ladder and fixed latents of the others.

    python examples/ladder.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import tabular_data
from flowkit.flows import BernoulliLikelihood
from flowkit.metrics.pictures import image_grid, save_image
from flowkit.training import fit
from flowkit.vae import LadderVAE, kl

SIDE, SEED = 8, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    x = torch.from_numpy(np.asarray(tabular_data.load("digits").train)).float() / 16
    torch.manual_seed(SEED)
    ladder = LadderVAE(
        (1, SIDE, SIDE),
        groups=(2, 2, 2),
        channels=(32, 64),
        hidden=(256,),
        likelihood=BernoulliLikelihood(stochastic=True),
    )
    steps = 100 if options.quick else 4_000
    terms = [kl(warm_up=steps // 2)]
    history = fit(ladder, x, terms=terms, steps=steps, batch_size=128, seed=SEED)
    table = Table(title="nats per digit, over the last 50 steps")
    terms_of = history.terms["vae"]
    for term in terms_of:
        table.add_column(term, justify="right")
    table.add_row(*(f"{np.mean(values[-50:]):.2f}" for values in terms_of.values()))
    console.print(table)

    axis = torch.linspace(-2, 2, 7)
    plane = torch.cartesian_prod(axis, axis)
    generator = torch.Generator().manual_seed(SEED)
    rest = torch.randn(ladder.latents, generator=generator)
    pages = [
        image_grid(ladder.vary(group, rest, plane).reshape(7, 7, SIDE, SIDE).numpy())
        for group in range(len(ladder.groups))
    ]
    gap = np.ones((len(pages[0]), 4))
    save_image(
        np.concatenate([pages[0], gap, pages[1], gap, pages[2]], 1),
        options.out / "ladder.png",
        zoom=4,
    )
    console.print(f"wrote {options.out / 'ladder.png'}: the ladder next to the data is on the left")


if __name__ == "__main__":
    main()
