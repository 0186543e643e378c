"""Frey faces: 1,965 pictures of one face."""

from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet, Download, Pixels
from tabular_data.fetching import fetch

_FILE = Download(
    "frey/frey_rawface.mat",
    "https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
    "sha256:265a83a23adb081755cd3de375509828e690324d1d60f076b8ecebc840d59c64",
)
SHAPE = (28, 20)
STEPS = (
    "grey levels 0 to 255 as they are, images row by row",
    "shuffled by default_rng(0): 1,565 to train, 200 for validation, 200 for test",
)


def read(root: Path) -> DataSet:
    """Read the array ``ff`` of the Matlab file, ``(560, 1965)``."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = fetch(_FILE, root)
    try:
        faces = loadmat(path)["ff"].T
    except (MatReadError, KeyError, ValueError, TypeError) as error:
        raise DataError(str(path), "a Matlab file with ff", error) from error
    faces = faces[np.random.default_rng(0).permutation(len(faces))].astype(np.uint8)
    columns = tuple(f"row{i}_column{j}" for i in range(SHAPE[0]) for j in range(SHAPE[1]))
    pixels = Pixels(256, SHAPE)
    return DataSet(
        "frey", faces[:-400], faces[-400:-200], faces[-200:], columns, STEPS, pixels=pixels
    )


CARDS = (
    Card(
        "frey",
        "1,965 pictures of one face, 28 x 20 grey levels",
        read,
        "S. Roweis, cs.nyu.edu/~roweis/data.html",
        "not stated",
        "B. Frey, courtesy of S. Roweis",
        (_FILE,),
    ),
)
