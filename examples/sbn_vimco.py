"""Sigmoid belief network of digits, fitted with VIMCO and with NVIL.

Samples of bits carry no gradient. The baseline of VIMCO is computed from the other samples; that of
NVIL is a network. Draws both learning curves, and samples of both models.

    python examples/sbn_vimco.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console

import tabular_data
from flowkit.estimators import log_likelihood
from flowkit.metrics.pictures import image_grid, save_image
from flowkit.training import fit
from flowkit.vae import SigmoidBeliefNetwork

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIDE, SAMPLES, SEED = 8, 5, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    data = tabular_data.load("digits")
    train, test = (
        torch.from_numpy(np.asarray(part) > 7).float() for part in (data.train, data.test)
    )
    steps, draws = (100, 50) if options.quick else (4_000, 1_000)
    figure, axis = plt.subplots(figsize=(6, 4))
    dreams = [test[:12]]
    for objective in ("vimco", "nvil"):
        torch.manual_seed(SEED)
        model = SigmoidBeliefNetwork(SIDE * SIDE, (50, 50), mean=train.mean(0))
        history = fit(
            model,
            train,
            objective=objective,
            samples=SAMPLES,
            steps=steps,
            batch_size=64,
            learning_rate=3e-3,
            seed=SEED,
        )
        bound = -np.array(history.loss)
        window = max(steps // 50, 1)
        smooth = np.convolve(bound, np.ones(window) / window, "valid")
        axis.plot(smooth, label=objective)
        generator = torch.Generator().manual_seed(SEED)
        score = log_likelihood(model, test, samples=draws, generator=generator).value.mean()
        console.print(f"{objective}: {score:.2f} nats per held-out digit")
        dreams.append(model.sample(12, generator))
    axis.set_xlabel("step")
    axis.set_ylabel(f"bound of {SAMPLES} samples, nats")
    axis.legend()
    figure.tight_layout()
    figure.savefig(options.out / "sbn_curves.png", dpi=100)
    grid = torch.stack(dreams).reshape(-1, 12, SIDE, SIDE).numpy()
    save_image(image_grid(grid), options.out / "sbn_dreams.png", zoom=6)
    console.print(f"wrote sbn_curves.png and sbn_dreams.png to {options.out}")


if __name__ == "__main__":
    main()
