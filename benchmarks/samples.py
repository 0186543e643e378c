"""Samples of image models: predictions of a classifier, pictures, and inpainting.

    python benchmarks/samples.py [--rows NAME ...] [--work DIR]

Models are those trained by `papers.py`, read from its work folder. The classifier is a small
convolutional network trained on MNIST, with a required accuracy of 98 % on test images. Writes
benchmarks/results/samples.{json,md,png}.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np
import papers
import torch
from recipes.data import CLASSES, load
from recipes.densities import trained_flow
from recipes.rows import ROWS
from speed.machine import machine
from torch import Tensor, nn

import tabular_data
from flowkit.images import inpaint

_SAMPLES, _SHOWN, _SIDE = 1_000, 10, 28
_ROWS = ["NICE, MNIST", "MADE-MoG, logit-MNIST", "MAF (5), logit-MNIST"]
_ASCENT = 2_000
_CONFIDENT, _GOOD = 0.9, 0.98


def classifier(epochs: int = 3) -> tuple[nn.Module, float]:
    """Train a network on MNIST digits; return the network and its accuracy on test images."""
    torch.manual_seed(0)
    found = tabular_data.load("mnist")
    x, y = _inputs(found.train), torch.from_numpy(found.labels["train"].astype(np.int64))
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = net(_inputs(found.test)).argmax(1).numpy() == found.labels["test"]
    return net.eval(), float(right.mean())


def _inputs(levels: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(np.array(levels)).float().reshape(-1, 1, _SIDE, _SIDE) / 255


def judge(net: nn.Module, levels: Tensor) -> dict[str, float | list[float]]:
    """Return the share of confident predictions, and the shares of predicted classes."""
    with torch.no_grad():
        probability = net(_inputs(levels)).softmax(1)
    sure, label = probability.max(1)
    shares = torch.bincount(label, minlength=CLASSES).double() / len(label)
    entropy = -(shares * shares.clamp(min=1e-12).log()).sum()
    return {
        "confident": float((sure > _CONFIDENT).double().mean()),
        "classes": [round(float(share), 4) for share in shares],
        "balance": float(entropy / np.log(CLASSES)),
    }


def main() -> None:
    """Classify and draw samples of the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=_ROWS)
    parser.add_argument("--work", type=Path, default=papers.WORK)
    options = parser.parse_args()
    net, accuracy = classifier()
    if accuracy < _GOOD:
        raise SystemExit(f"the classifier is right on {accuracy:.2%} only")
    real = torch.from_numpy(np.array(tabular_data.load("mnist").test[:_SAMPLES]))
    results = {"classifier": accuracy, "machine": machine(), "date": date.today().isoformat()}
    results["rows"] = {"test images": judge(net, real)}
    pictures = [real[:_SHOWN]]
    for recipe in (r for r in ROWS if r.row in options.rows):
        data = load(recipe.data)
        flow = trained_flow(recipe, papers.work_of(recipe, options.work))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            levels = data.pixels.decode(flow.sample((_SAMPLES,), generator=generator))
        results["rows"][recipe.row] = judge(net, levels)
        pictures.append(levels[:_SHOWN])
        if recipe.model == "nice":
            pictures += _inpainted(flow, data, generator)
        print(recipe.row, results["rows"][recipe.row], flush=True)
    (papers.RESULTS / "samples.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(pictures, papers.RESULTS / "samples.png")
    (papers.RESULTS / "samples.md").write_text(_report(results))


def _inpainted(flow: nn.Module, data: object, generator: torch.Generator) -> list[Tensor]:
    """Return test images without the lower half, and with the lower half drawn by the flow."""
    x = data.test[:_SHOWN]
    known = (torch.arange(_SIDE * _SIDE) // _SIDE) < _SIDE // 2
    blank = torch.where(known, x, 0.0)
    # In each pixel's own deviations, as the flow inside has them; unknown pixels begin as noise.
    low, high, z = ((part - flow.mean) / flow.deviation for part in (0.0, 1.0, x))
    z = torch.where(known, z, torch.randn(x.shape, generator=generator))
    filled = inpaint(flow.flow, z, known, low=low, high=high, steps=_ASCENT, generator=generator)
    return [data.pixels.decode(part) for part in (blank, flow.mean + flow.deviation * filled)]


def _draw(pictures: list[Tensor], path: Path) -> None:
    from matplotlib.image import imsave

    rows = [row.reshape(-1, _SIDE, _SIDE).permute(1, 0, 2).reshape(_SIDE, -1) for row in pictures]
    image = torch.cat(rows).repeat_interleave(2, 0).repeat_interleave(2, 1)
    imsave(path, image.numpy(), cmap="gray", vmin=0, vmax=255)


def _report(results: dict) -> str:
    lines = [
        "# Samples of the image models",
        "",
        f"{results['machine']['cpu']}, {results['date']}, seed 0: `python benchmarks/samples.py`.",
        f"A classifier that is right on {results['classifier']:.2%} of MNIST's test images labels",
        "1,000 images of each: the share it gives more than 0.9 to one class, and the entropy of",
        "its labels as a share of that of ten equal classes.",
        "",
        "![From above: test images; samples of each row; of NICE also half images, and filled in]"
        "(samples.png)",
        "",
        "| images | above 0.9 | balance |",
        "| --- | --- | --- |",
    ]
    for name, row in results["rows"].items():
        lines.append(f"| {name} | {row['confident']:.3f} | {row['balance']:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
