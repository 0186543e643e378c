"""Sampling time of a PixelCNN, with cached activations and with a full pass for each pixel.

    python benchmarks/pixels.py [--quick]

Both samplers of a PixelCNN of 28 x 28 bits alternate, with the same noise, and must draw the same
bits. Times are processor time on one thread. One pass over an image is a lower bound of the time of
any sampler of the network. Writes benchmarks/results/pixels.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from speed.machine import machine
from torch import Tensor

from flowkit.flows import PixelDistribution
from flowkit.nets import PixelCNN

RESULTS = Path(__file__).parent / "results" / "pixels.md"
SEED, SIDE = 0, 28
SIZES = {1: 3, 16: 1}  # images at once, and how often they are drawn naively


def naively(images: PixelDistribution, n: int, generator: torch.Generator) -> Tensor:
    """Draw with a full pass of the network for each pixel."""
    drawn = torch.zeros(n, *images.event_shape)
    with torch.no_grad():
        for i in range(images.event_shape[1]):
            for j in range(images.event_shape[2]):
                params = images.net(drawn)[:, :, 0, i, j].t()
                drawn[:, 0, i, j] = images.likelihood.sample(params, generator)
    return drawn


def seconds(function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return processor time and result of a call."""
    begin = time.process_time()
    result = function()
    return time.process_time() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small images, no results are written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    side = 6 if options.quick else SIDE
    torch.manual_seed(SEED)
    images = PixelDistribution(PixelCNN((1, side, side), hidden=32, layers=5))
    images.sample(1)
    lines = []
    for n, times in SIZES.items():
        found: dict[str, list[float]] = {"kept": [], "naive": [], "pass": []}
        for repetition in range(times):

            def generator(seed: int = repetition) -> torch.Generator:
                return torch.Generator().manual_seed(seed)

            for _ in range(5):  # short, so oftener
                spent, kept = seconds(lambda: images.sample(n, generator=generator()))  # noqa: B023
                found["kept"].append(spent)
                with torch.no_grad():
                    found["pass"].append(seconds(lambda: images.net(kept))[0])  # noqa: B023
            spent, naive = seconds(lambda: naively(images, n, generator()))  # noqa: B023
            found["naive"].append(spent)
            if not torch.equal(kept, naive):
                raise SystemExit("the two draw other bits")
        one, other, floor = (statistics.median(found[name]) for name in ("kept", "naive", "pass"))
        line = f"| {n} | {other:.2f} | {one:.3f} | {other / one:.0f} | {floor:.4f} |"
        lines.append(line)
        print(line, flush=True)
    if not options.quick:
        about = machine()
        RESULTS.write_text(
            "# Images pixel by pixel\n\n"
            f"Seed {SEED}, torch {torch.__version__}, one thread, {about['cpu']}, "
            f"{about['system']}, {about['cores']} cores that others use too, "
            f"{date.today().isoformat()}. Made by `benchmarks/pixels.py`.\n"
            "A gated PixelCNN of 28 x 28 bits, five layers of 32 features that see two pixels "
            "further each.\nMedians of processor time in seconds; the two samplers took turns and "
            "drew the same bits.\n\n"
            "| images at once | a pass for each pixel | what is known is kept | ratio | "
            "one pass in all |\n| --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
