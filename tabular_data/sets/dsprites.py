"""dSprites: images of shapes with known factors of variation."""

from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet, Download, Pixels
from tabular_data.fetching import fetch

_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_FILE = Download(
    f"dsprites/{_NAME}", f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{_NAME}"
)
FACTORS = ("color", "shape", "scale", "orientation", "x", "y")
STEPS = (
    "black and white pixels as they are, images row by row",
    "no split: every combination of factors stands there once; labels are the factors' codes",
)


def read(root: Path) -> DataSet:
    """Read ``imgs`` and ``latents_classes``, but not the pickled metadata."""
    path = fetch(_FILE, root)
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, factors = archive["imgs"], archive["latents_classes"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(str(path), "npz with imgs and latents_classes", error) from error
    side = images.shape[-1]
    columns = tuple(f"row{i}_column{j}" for i in range(side) for j in range(side))
    rows = images.reshape(len(images), -1)
    return DataSet(
        "dsprites",
        rows,
        None,
        rows[:0],
        columns,
        STEPS,
        labels={"train": factors},
        pixels=Pixels(2, (side, side)),
    )


CARDS = (
    Card(
        "dsprites",
        "737,280 shapes of known factors, 64 x 64 in black and white",
        read,
        "DeepMind, github.com/google-deepmind/dsprites-dataset",
        "Apache-2.0",
        "L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, dSprites, 2017",
        (_FILE,),
    ),
)
