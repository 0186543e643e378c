"""Fits that are killed and taken up again, for the tests of checkpoints.

As a program: ``python resumable.py FOLDER`` runs each of them and kills it at the steps it names.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # which an optimiser imports: here once for every child
from torch import nn

from flowkit.flows import maf
from flowkit.training import Batch, History, Step, fit, fit_many

# At which steps each fit is killed; checkpoints are written every 7.
KILLED = {"plain": (30,), "everything": (13, 41), "two_steps": (14, 20), "many": (24,)}


class Noisy(nn.Module):
    """Two steps that share parameters, an optimiser of its own, dropout, and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    def training_steps(self, scale: float = 1.0) -> dict[str, Step]:
        def loss(batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
            noise = scale * torch.randn(batch.x.shape, generator=generator)
            return {
                "square": (self.net(batch.x + noise) - batch.x).square().mean(),
                "size": 0.01 * self.net[0].weight.square().sum(),
            }

        return {
            "often": Step(self.parameters(), loss),
            "seldom": Step(
                self.net[2].parameters(),
                lambda batch, generator: {"a": -loss(batch, generator)["square"]},
                every=3,
                optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
            ),
        }


def run(name: str, **options) -> tuple[list[nn.Module], list[History]]:
    """Run the fit of that name, in float64 where rounding would show."""
    torch.manual_seed(0)
    x = torch.randn(50, 2)
    options = {"checkpoint_every": 7, "batch_size": 16, "learning_rate": 0.02, **options}
    if name == "plain":
        model = maf(2, layers=1, hidden=(8,))
        return [model], [fit(model, x, steps=45, **options)]
    if name == "everything":
        model = maf(2, layers=2, hidden=(8,), batch_norm=True)
        settings = {"average": 0.8, "patience": 16, "validate_every": 2, "validation": 0.3}
        return [model], [fit(model, x, steps=60, weights=torch.rand(50), **settings, **options)]
    if name == "two_steps":
        model = Noisy()
        return [model], [fit(model, x, steps=31, scale=0.5, validation=x[:9], **options)]
    models = [maf(2, layers=1, hidden=(8,)) for _ in range(2)]
    return models, fit_many(models, x, steps=31, validation=0.2, validate_every=4, **options)


def main(folder: Path) -> None:
    for name, steps in KILLED.items():
        for kill_at in steps:
            if (child := os.fork()) == 0:

                def kill(state, kill_at=kill_at) -> None:
                    if state.step == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)

                run(name, checkpoint=folder / name, callbacks=[kill])
                os._exit(0)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, (name, kill_at)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
