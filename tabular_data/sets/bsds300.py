"""BSDS300: 8 x 8 grey patches of photographs."""

from pathlib import Path

import numpy as np

from flowkit.errors import DataError
from tabular_data.dataset import Card, DataSet
from tabular_data.errors import MissingDataError
from tabular_data.sets.maf_archive import ARCHIVE, CITATION, LICENCE, member

SIDE = 8
COLUMNS = tuple(f"x{j}" for j in range(SIDE * SIDE - 1))
STEPS = ("the archive's splits: patches (grey + u) / 256 less their mean, the last pixel dropped",)
PATCH_STEPS = (
    "photographs turned grey; patches of 8 x 8 pixels at random places, equally from each",
    "(grey + u) / 256 with u uniform on [0, 1)",
    "each patch less its mean, the last pixel dropped",
    "training photographs for training and validation, test photographs for test",
)
# Numbers of the benchmark, from 200 training and 100 test photographs.
PATCHES = {"train": 1_000_000, "val": 50_000, "test": 250_000}


def read(root: Path) -> DataSet:
    """Read the HDF5 file of MAF's archive."""
    import h5py

    path = member(root, "BSDS300/BSDS300.hdf5")
    try:
        with h5py.File(path, "r") as file:
            train, val, test = (file[part][()] for part in ("train", "validation", "test"))
    except (OSError, KeyError) as error:
        raise DataError(str(path), "HDF5 with train, validation and test", error) from error
    return DataSet("bsds300", train, val, test, COLUMNS, STEPS)


def read_patches(root: Path) -> DataSet:
    """Cut patches from the photographs: the distribution of the benchmark, but another draw."""
    rng = np.random.default_rng(0)
    photographs = {part: _photographs(root, part) for part in ("train", "test")}
    parts = {
        part: cut(photographs["test" if part == "test" else "train"], n, rng)
        for part, n in PATCHES.items()
    }
    return DataSet(
        "bsds300-patches",
        parts["train"],
        parts["val"],
        parts["test"],
        COLUMNS,
        PATCH_STEPS,
        part="a new draw of patches",
    )


def cut(photographs: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``n`` patches, preprocessed as in the benchmark, float32 ``(n, 63)``."""
    kept = np.empty((n, SIDE * SIDE - 1), np.float32)
    chosen = rng.integers(len(photographs), size=n)
    for k, photograph in enumerate(photographs):
        where = np.flatnonzero(chosen == k)
        row, column = (rng.integers(size - SIDE + 1, size=len(where)) for size in photograph.shape)
        patches = np.lib.stride_tricks.sliding_window_view(photograph, (SIDE, SIDE))[row, column]
        values = (patches + rng.random(patches.shape)).reshape(len(where), -1) / 256
        kept[where] = (values - values.mean(axis=1, keepdims=True))[:, :-1]
    return kept


def _photographs(root: Path, part: str) -> list[np.ndarray]:
    from PIL import Image

    folder = root / "bsds300" / "images" / part
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise MissingDataError(
            f"{folder} contains no photographs. Place those of BSDS300 there: "
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/"
        )
    photographs = []
    for path in paths:
        with Image.open(path) as image:
            photographs.append(np.asarray(image.convert("L")))
    return photographs


CARDS = (
    Card(
        "bsds300",
        "patches of photographs, as in MAF's archive",
        read,
        "Berkeley segmentation dataset; MAF's archive",
        LICENCE,
        CITATION,
        (ARCHIVE,),
    ),
    Card(
        "bsds300-patches",
        "patches cut anew from the photographs of BSDS300",
        read_patches,
        "Berkeley segmentation dataset",
        "for non-commercial research and education",
        "D. Martin, C. Fowlkes, D. Tal and J. Malik, A database of human segmented natural images, "
        "2001",
    ),
)
