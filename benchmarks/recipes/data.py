"""Data of the rows: training batches, validation and test rows."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

import tabular_data
from flowkit.images import PixelMap

CLASSES = 10
_ROWS_FOR_MOMENTS = 10_000
_ROWS_TO_CHOOSE_BY = 10_000


@dataclass(frozen=True)
class Data:
    """Training, validation and test rows.

    Attributes:
        train: rows, or levels of pixels; each batch adds new noise to levels.
        val: rows, with fixed noise.
        test: rows, with fixed noise.
        labels: one-hot classes of train and val, if there are any.
        pixels: map of levels to numbers.
        part: the part of the original data.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    labels: tuple[Tensor, Tensor] | None = None
    pixels: PixelMap | None = None
    part: str = ""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of training columns, noise included."""
        rows = self.train
        if self.pixels is not None:
            generator = torch.Generator().manual_seed(0)
            rows = self.pixels.encode(rows[:_ROWS_FOR_MOMENTS], generator=generator)
        mean, deviation = rows.double().mean(0), rows.double().std(0)
        return mean.float(), deviation.float()


def _images(name: str, pixels: PixelMap) -> Data:
    found = tabular_data.load(name)
    generator = torch.Generator().manual_seed(0)
    val, test = (
        pixels.encode(torch.from_numpy(np.array(part)), generator=generator).float()
        for part in (found.val, found.test)
    )
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(found.labels[p].astype(np.int64)), CLASSES)
        for p in ("train", "val")
    ]
    train = torch.from_numpy(np.array(found.train)).float()
    return Data(train, val, test, (one_hot[0].float(), one_hot[1].float()), pixels, found.part)


def _rows(name: str, split: int) -> Data:
    found = tabular_data.load(name, **({"split": split} if name.startswith("uci-") else {}))
    train, val, test = (
        torch.from_numpy(np.asarray(part)).float() for part in (found.train, found.val, found.test)
    )
    return Data(train, val[:_ROWS_TO_CHOOSE_BY], test, part=found.part)


@cache
def load(name: str, split: int = 0) -> Data:
    """Return data by name; if there are several published splits, by number of the split."""
    if name == "logit-mnist":
        return _images("mnist", PixelMap(squeeze=1e-6))
    if name in ("mnist", "fashion_mnist"):
        return _images(name, PixelMap())
    return _rows(name, split)
