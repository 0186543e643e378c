"""Flow-GAN: the trade-off between likelihood and adversarial loss.

Trains a flow three times on breast-cancer measurements of scikit-learn: by likelihood, against a
critic, and by both. Prints exact log-likelihoods and distances of samples, and draws the curves of
negative log-likelihood and critic.

    python examples/flow_gan.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer

from flowkit.flows import real_nvp
from flowkit.gan import DequantizedTable, FlowGAN
from flowkit.metrics import energy_distance, sliced_wasserstein
from flowkit.nets import MLP
from flowkit.schema import Schema
from flowkit.training import fit

matplotlib.use("Agg")

SEED = 0
WEIGHTS = {"likelihood": (1.0, 0.0), "adversary": (0.0, 1.0), "both": (1.0, 1.0)}


def main() -> None:
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    table = load_breast_cancer().data[:, :10]  # the means of ten measurements
    rows = np.random.default_rng(SEED).permutation(table)
    train, test = rows[:400], rows[400:]
    space = DequantizedTable(Schema.infer(train), train)
    (x, _), (held_out, log_slope) = space.encode(train), space.encode(test)

    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    results = Table(title=f"{len(test)} held-out rows, in the units of the table")
    for heading in ("trained by", "log-likelihood", "sliced Wasserstein", "energy distance"):
        results.add_column(heading, justify="right")
    for name, (likelihood, adversarial) in WEIGHTS.items():
        torch.manual_seed(SEED)
        flow = real_nvp(space.width, layers=4, hidden=(64,))
        critic = MLP(space.width, 1, (128, 128))
        gan = FlowGAN(flow, critic, likelihood, adversarial_weight=adversarial, one_sided=True)
        history = fit(
            gan, x, steps=50 if options.quick else 800, batch_size=100, learning_rate=2e-3,
            seed=SEED,
        )  # fmt: skip
        drawn = gan.sample(4_000, torch.Generator().manual_seed(SEED))
        with torch.no_grad():
            nats = (gan.log_prob(held_out).double() + log_slope).mean()
        generator = torch.Generator().manual_seed(SEED)
        results.add_row(
            name,
            f"{nats:.2f}",
            f"{sliced_wasserstein(held_out, drawn, generator=generator):.3f}",
            f"{energy_distance(held_out, drawn):.4f}",
        )
        axes[0].plot(history.terms["generator"]["negative_log_likelihood"], label=name)
        axes[1].plot([-value for value in history.terms["critic"]["critic"]], label=name)
    axes[0].set(yscale="symlog", xlabel="step of the generator", title="negative log-likelihood")
    axes[1].set(xlabel="step of the critic", title="critic's estimate of the distance")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(options.out / "flow_gan.png", dpi=100)
    console.print(results)
    console.print(f"wrote {options.out / 'flow_gan.png'}")


if __name__ == "__main__":
    main()
