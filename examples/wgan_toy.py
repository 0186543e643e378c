"""Wasserstein GANs in the plane: coverage of modes, contour lines and slopes of critics.

Trains a GAN and a WGAN with gradient penalty on 25 Gaussians, eight Gaussians and a swiss roll.
Prints the number of covered modes, and draws samples over contour lines of the critic. In the last
figure, data and samples are two parallel lines. With their distance, the generator's gradient
vanishes for the GAN critic, but not for the Wasserstein critic.

    python examples/wgan_toy.py [--quick] [--out DIR]
"""

import argparse
import math
from pathlib import Path

import matplotlib
import torch
from rich.console import Console
from rich.table import Table

from flowkit.gan import GAN, WGAN, Generator, networks, slopes
from flowkit.metrics import energy_distance, modes_held
from flowkit.metrics.pictures import surface
from flowkit.nets import MLP
from flowkit.training import fit

matplotlib.use("Agg")

SEED, SPREAD = 0, 0.05


def grid(n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from 25 Gaussians on a grid with spacing 1."""
    centres = torch.randint(5, (n, 2), generator=generator) - 2.0
    return centres + SPREAD * torch.randn(n, 2, generator=generator)


def ring(n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from eight Gaussians on a circle."""
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    return 2 * centres + SPREAD * torch.randn(n, 2, generator=generator)


def roll(n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw from a swiss roll."""
    angle = math.pi * (1 + 3 * torch.rand(n, generator=generator))
    x = torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / 6
    return x + SPREAD * torch.randn(n, 2, generator=generator)


def modes_of(name: str) -> torch.Tensor | None:
    if name == "25 Gaussians":
        axis = torch.arange(5) - 2.0
        return torch.cartesian_prod(axis, axis)
    if name == "8 Gaussians":
        angle = torch.arange(8) * (math.pi / 4)
        return 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return None


def disjoint(quick: bool, out: Path) -> None:
    """Plot the gradients that two critics give the generator, by the distance of the supports."""
    import matplotlib.pyplot as plt

    apart = torch.linspace(0.5, 4, 3 if quick else 6)
    gradients: dict[str, list[float]] = {"GAN": [], "Wasserstein": []}
    for distance in apart.tolist():
        real = torch.rand(2_000, 2) * torch.tensor([0.0, 1.0])
        fake = real + torch.tensor([distance, 0.0])

        class Line(torch.nn.Module):
            """Points of the other line, without parameters."""

            def forward(self, z: torch.Tensor) -> torch.Tensor:
                height = torch.distributions.Normal(0, 1).cdf(z)
                return torch.cat([torch.full_like(height, distance), height], 1)  # noqa: B023

        for name in gradients:
            torch.manual_seed(SEED)
            critic = MLP(2, 1, (64, 64))
            gan = (
                GAN(Generator(Line(), 1), critic)
                if name == "GAN"
                else WGAN(Generator(Line(), 1), critic, one_sided=True)
            )
            fit(gan, real, steps=60 if quick else 400, batch_size=256, learning_rate=5e-3)
            # The gradient of the generator's loss, not of the score. For the loss of the first
            # GAN, log(1 - D), this gradient vanishes if the critic is confident.
            score = critic(fake).detach().squeeze(1)
            factor = torch.sigmoid(score) if name == "GAN" else torch.ones(())
            gradients[name].append((factor * slopes(critic, fake)).mean().item())
    figure, axis = plt.subplots(figsize=(5, 4))
    for name, values in gradients.items():
        axis.plot(apart, values, marker="o", label=name)
    axis.set(xlabel="distance of the two lines", ylabel="gradient at the generator", yscale="log")
    axis.legend()
    figure.tight_layout()
    figure.savefig(out / "wgan_slopes.png", dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    table = Table(title="5,000 samples of each")
    for heading in ("data", "model", "modes", "near a mode", "energy distance", "critic's slope"):
        table.add_column(heading, justify="right")
    distributions = {
        "25 Gaussians": (grid, 6_000),
        "8 Gaussians": (ring, 1_000),
        "swiss roll": (roll, 1_000),
    }
    for name, (draw, steps) in distributions.items():
        generator = torch.Generator().manual_seed(SEED)
        x, test = draw(50_000, generator), draw(5_000, generator)
        for model in ("GAN", "WGAN-GP"):
            torch.manual_seed(SEED)
            nets = networks("mlp", (2,), 2, widths=(128, 128, 128))
            wasserstein = {"penalty": 0.1, "one_sided": True, "critic_steps": 2}
            gan = GAN(*nets) if model == "GAN" else WGAN(*nets, **wasserstein)
            # Adversarial training oscillates; a decaying rate and averaged weights damp that.
            fit(
                gan,
                x,
                steps=40 if options.quick else steps,
                batch_size=256,
                learning_rate=1e-3,
                schedule="cosine",
                average=0.999,
                seed=SEED,
            )
            drawn, modes = gan.sample(5_000, generator), modes_of(name)
            kept = ("", "")
            if modes is not None:
                held = modes_held(drawn, modes, 3 * SPREAD)
                kept = (f"{held.modes} of {len(modes)}", f"{held.near:.0%}")
            table.add_row(
                name,
                model,
                *kept,
                f"{energy_distance(test, drawn):.4f}",
                f"{gan.estimate(test, generator).slope:.2f}",
            )
            file = f"{name}_{model}".lower().replace(" ", "_").replace("-", "_")
            surface(
                lambda p: gan.critic(torch.from_numpy(p).float()).detach().numpy(),  # noqa: B023
                (-3, 3, -3, 3),
                options.out / f"wgan_{file}.png",
                clouds={"data": test[:1_000].numpy(), model: drawn[:1_000].numpy()},
            )
    console.print(table)
    disjoint(options.quick, options.out)
    console.print(f"wrote samples over contour lines, and wgan_slopes.png, to {options.out}")


if __name__ == "__main__":
    main()
