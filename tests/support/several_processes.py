"""A fit of several processes, for a test: ``torchrun several_processes.py OUT``."""

import json
import os
import sys
from pathlib import Path

import torch

from flowkit.flows import maf
from flowkit.training import fit


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, generator=generator)
    x[:, 1] += x[:, 0] ** 2
    return x, torch.rand(300, generator=generator)


def run(**options):
    """Fit, and return the loss curve, the validations, and log-densities."""
    x, weights = data()
    flow = maf(3, layers=2, hidden=(16,))
    # 65 rows cannot be shared out evenly.
    settings = {"steps": 40, "batch_size": 65, "validate_every": 10, "learning_rate": 0.01}
    history = fit(flow, x, weights=weights, validation=0.3, average=0.9, **settings, **options)
    return history.loss, history.validation, flow.log_prob(x).tolist()


def main(out: Path) -> None:
    rank = int(os.environ["RANK"])
    torch.manual_seed(rank)  # each starts from other weights; those of the first count
    results = run(checkpoint=out.with_suffix(".safetensors"), checkpoint_every=9)
    if rank == 0:
        out.write_text(json.dumps(results))

    def die(state) -> None:
        if state.step == 7 and rank == 1:
            os._exit(3)

    run(callbacks=[die])
    out.write_text("a fit went on without one of its processes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
