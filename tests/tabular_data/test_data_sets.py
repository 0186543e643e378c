"""Data sets: real files read whole, tiny files in exactly the formats of those out of reach."""

import gzip
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import tabular_data
from flowkit.errors import ArgumentError, DataError
from tabular_data.dataset import split_tail
from tabular_data.errors import ChecksumError, MissingDataError, UnknownDataSetError
from tabular_data.idx import read_idx
from tabular_data.pickles import read_frame
from tabular_data.sets import bsds300, gas, hepmass, miniboone, power

HOME = os.environ.get("TABULAR_DATA_HOME")
needs_data = pytest.mark.skipif(HOME is None, reason="TABULAR_DATA_HOME is not set")
SIZES = {
    "mnist": (50_000, 10_000, 10_000, 784),
    "fashion_mnist": (50_000, 10_000, 10_000, 784),
    "binarized_mnist": (50_000, 10_000, 10_000, 784),
    "frey": (1_565, 200, 200, 560),
    "miniboone-small": (2_956, 328, 3_648, 43),
    "power-raw": (38_844, 4_316, 4_795, 6),
    "adult": (29_305, 3_256, 16_281, 15),
    "california": (16_719, 1_857, 2_064, 10),
    "bank": (36_621, 4_069, 4_521, 17),
    "diamonds": (43_692, 4_854, 5_394, 10),
    "penguins": (279, 31, 34, 7),
    "abalone": (3_384, 376, 417, 9),
    "phoneme": (4_378, 486, 540, 6),
    "magic": (15_407, 1_711, 1_902, 11),
    "htru2": (14_499, 1_610, 1_789, 9),
    "uci-yacht": (250, 27, 31, 7),
    "uci-protein-tertiary-structure": (37_042, 4_115, 4_573, 10),
}


def keys(rows) -> set[bytes]:
    rows = np.ascontiguousarray(rows)
    return {row.tobytes() for row in rows}


@needs_data
@pytest.mark.parametrize("name", SIZES)
def test_real_files(name):
    found = tabular_data.load(name)
    sizes = (len(found.train), len(found.val), len(found.test), found.features)
    assert sizes == SIZES[name]
    assert found.card.source
    assert found.card.licence
    assert found.steps
    for labels, part in ((found.labels.get(p), getattr(found, p)) for p in found.labels):
        assert len(labels) == len(part)


@needs_data
@pytest.mark.parametrize("name", ["mnist", "miniboone-small", "uci-concrete", "frey", "power-raw"])
def test_no_row_is_in_two_parts_unless_the_source_repeats_it(name):
    found = tabular_data.load(name)
    train, val, test = (keys(part) for part in (found.train, found.val, found.test))
    # What UCI's concrete table has twice, two parts of a published split may share.
    allowed = 5 if name == "uci-concrete" else 0
    assert len(train & test) <= allowed
    assert len(train & val) <= allowed
    assert len(val & test) <= allowed


@needs_data
def test_published_splits_do_not_overlap():
    folder = Path(HOME) / "uci_regression"
    for table, (rows, _) in tabular_data.sets.uci_regression.TABLES.items():
        for split in range(5):
            train, test = (
                np.loadtxt(folder / table / "data" / f"index_{part}_{split}.txt").astype(int)
                for part in ("train", "test")
            )
            assert not set(train) & set(test)
            assert len(train) + len(test) == rows


@needs_data
def test_pixels_and_labels_of_mnist():
    found = tabular_data.load("mnist")
    assert found.train.dtype == np.uint8
    assert found.pixels.levels == 256
    assert np.bincount(found.labels["test"]).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    # The mean grey level of all training images, 33.32, is in every tutorial.
    both = (found.train.mean() * 5 + found.val.mean()) / 6
    assert both == pytest.approx(33.3184, abs=1e-3)


@needs_data
def test_patches_of_photographs():
    found = bsds300.read_patches(Path(HOME))
    sizes = [len(part) for part in (found.train, found.val, found.test)]
    assert sizes == [1_000_000, 50_000, 250_000]  # those of the benchmark
    assert found.train.shape[1] == 63
    # A patch less its mean: the pixel that was dropped is minus the sum of the others.
    last = -found.train.sum(axis=1)
    assert np.abs(last).max() < 1
    assert np.abs(found.train).max() < 1


def test_split_of_the_last_tenths():
    for rows, sizes in (
        (2_049_280, (1_659_917, 184_435, 204_928)),
        (1_052_065, (852_174, 94_685, 105_206)),
        (36_488, (29_556, 3_284, 3_648)),
    ):
        parts = split_tail(np.arange(rows))
        assert tuple(map(len, parts)) == sizes
        assert np.array_equal(np.concatenate(parts), np.arange(rows))


RNG = np.random.default_rng(0)


def archive(root: Path) -> None:
    """Write files in exactly the form of MAF's archive."""
    folder = root / "maf" / "data"
    for name in ("power", "gas", "hepmass", "miniboone", "BSDS300"):
        (folder / name).mkdir(parents=True)
    rows = RNG.normal(size=(200, 8))
    np.save(folder / "power" / "data.npy", rows)
    np.save(folder / "miniboone" / "data.npy", RNG.normal(3, 2, (300, 43)))
    frame = pd.DataFrame(
        RNG.normal(size=(100, 5)), columns=pd.Index(["Time", "Meth", "Eth", "a", "b"], dtype=object)
    )
    frame["c"] = frame["b"] + 1e-3 * RNG.normal(size=100)  # one of b and c has to go
    frame["d"] = -frame["a"]  # signed: this one stays
    frame.to_pickle(folder / "gas" / "ethylene_CO.pickle")
    labels = RNG.integers(0, 2, (400, 1))
    values = RNG.normal(size=(400, 4))
    values[:6, 1] = -9.0
    labels[:6] = 1
    values[:9, 2] = 0.5  # repeats more, but is not the smallest
    for part, extra in (("train", ""), ("test", "0.0")):
        lines = ["label,f0,f1,f2,f3"]
        for label, row in zip(labels[:, 0], values, strict=True):
            end = f",{extra}" if extra else ""
            lines.append(",".join(map(str, [float(label), *row])) + end)
        (folder / "hepmass" / f"1000_{part}.csv").write_text("\n".join(lines) + "\n")
    with h5py.File(folder / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for part, n in (("train", 20), ("validation", 5), ("test", 7)):
            file[part] = RNG.normal(size=(n, 63))


@pytest.fixture
def root(tmp_path):
    archive(tmp_path)
    return tmp_path


def test_power_in_the_archive(root):
    found = tabular_data.load("power", root)
    assert (found.train.shape, found.val.shape, found.test.shape) == ((162, 6), (18, 6), (20, 6))
    # By hand, in the order that MAF's code has: shuffle, delete 3 then 1, noise in its own order.
    rows = np.load(root / "maf" / "data" / "power" / "data.npy")
    rng = np.random.RandomState(42)
    rng.shuffle(rows)
    rows = np.delete(rows, [1, 3], axis=1)
    rows[:, 1] += 0.01 * rng.rand(200)
    rows[:, 0] += 0.001 * rng.rand(200)
    rows[:, 2:5] += rng.rand(200, 3)
    expected = (rows - rows[:180].mean(0)) / rows[:180].std(0)
    assert found.test == pytest.approx(expected[180:], abs=1e-12)
    assert found.train == pytest.approx(expected[:162], abs=1e-12)


def test_gas_in_the_archive(root):
    found = tabular_data.load("gas", root)
    assert found.columns == ("a", "c", "d")
    every = np.concatenate([found.train, found.val, found.test])
    assert every.mean(0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert every.std(0, ddof=1) == pytest.approx(np.ones(3))


def test_hepmass_in_the_archive(root):
    found = tabular_data.load("hepmass", root)
    assert found.columns == ("f0", "f2", "f3")
    n = len(found.train) + len(found.val)
    assert len(found.test) == n  # signal only, of the same rows
    assert len(found.val) == n // 10
    fitted = np.concatenate([found.train, found.val])
    assert fitted.mean(0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert fitted.std(0, ddof=1) == pytest.approx(np.ones(3))
    assert found.test == pytest.approx(fitted)


def test_miniboone_in_the_archive(root):
    found = tabular_data.load("miniboone", root)
    assert (len(found.train), len(found.val), len(found.test)) == (243, 27, 30)
    fitted = np.concatenate([found.train, found.val])
    assert fitted.mean(0) == pytest.approx(np.zeros(43), abs=1e-12)
    assert fitted.std(0) == pytest.approx(np.ones(43))
    rows = np.load(root / "maf" / "data" / "miniboone" / "data.npy")
    order = np.argsort(rows[-30:, 0])
    assert np.array_equal(np.argsort(found.test[:, 0]), order)  # not shuffled


def test_bsds300_in_the_archive(root):
    found = tabular_data.load("bsds300", root)
    assert (len(found.train), len(found.val), len(found.test)) == (20, 5, 7)
    (root / "maf" / "data" / "BSDS300" / "BSDS300.hdf5").write_bytes(b"no HDF5 at all")
    with pytest.raises(DataError, match=r"BSDS300\.hdf5"):
        tabular_data.load("bsds300", root)


def test_raw_power_skips_what_is_missing(tmp_path):
    lines = [
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;a;b;c",
        "16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000",
        "16/12/2006;17:25:00;?;?;?;?;?;?;",
        "16/12/2006;00:01:00;5.360;0.436;233.630;23.000;0.000;1.000;16.000",
    ]
    (tmp_path / "raw.txt").write_text("\n".join(lines) + "\n")
    rows = power.read_raw(tmp_path / "raw.txt")
    assert rows.shape == (2, 8)
    assert rows[:, 7].tolist() == [17 * 60 + 24, 1]
    assert rows[0, :2].tolist() == [4.216, 0.418]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_frames_come_out_of_pickles(tmp_path, protocol):
    frame = pd.DataFrame(RNG.normal(size=(9, 2)), columns=pd.Index(["a", "b"], dtype=object))
    path = tmp_path / "frame.pickle"
    path.write_bytes(pickle.dumps(frame, protocol=protocol))
    assert read_frame(path).equals(frame)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"frame\.pickle"):
        read_frame(path)


class Evil:
    """What a pickle can do."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("wrapped", [False, True])
def test_pickles_can_do_nothing_else(tmp_path, wrapped):
    marker, path = tmp_path / "done", tmp_path / "evil.pickle"
    evil = Evil(marker)
    path.write_bytes(pickle.dumps(pd.DataFrame({"a": [evil]}) if wrapped else evil))
    with pytest.raises(DataError, match="is not permitted in a pickled frame|frame"):
        read_frame(path)
    assert not marker.exists()
    for call in (b"cbuiltins\neval\n(V1\ntR.", b"cnumpy\nload\n(V1\ntR.", b"c__main__\nx\n."):
        path.write_bytes(call)
        with pytest.raises(DataError, match="is not permitted in a pickled frame"):
            read_frame(path)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_files(tmp_path):
    images = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(images)))
    assert np.array_equal(read_idx(path), images)
    for bad in (gzip.compress(idx(images))[:-9], gzip.compress(idx(images)[:-1]), b"text"):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"images\.gz"):
            read_idx(path)


def test_cifar_and_dsprites_in_their_formats(tmp_path):
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        RNG.integers(0, 10, (4, 3073), dtype=np.uint8).tofile(folder / f"{name}.bin")
    found = tabular_data.load("cifar10", tmp_path)
    assert (found.train.shape, found.val.shape, found.test.shape) == (
        (18, 3072),
        (2, 3072),
        (4, 3072),
    )
    assert found.labels["train"].max() < 10
    path = tmp_path / "dsprites" / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    path.parent.mkdir()
    images = RNG.integers(0, 2, (6, 64, 64), dtype=np.uint8)
    np.savez(path, imgs=images, latents_classes=np.zeros((6, 6), int), metadata=Evil(tmp_path))
    found = tabular_data.load("dsprites", tmp_path)  # the pickle inside is left alone
    assert np.array_equal(found.train.reshape(6, 64, 64), images)


def test_unknown_names_and_missing_files(tmp_path):
    with pytest.raises(UnknownDataSetError, match="mnist.*'minst'"):
        tabular_data.load("minst")
    with pytest.raises(MissingDataError, match="UCI's raw file"):
        tabular_data.load("power-raw", tmp_path)
    with pytest.raises(MissingDataError, match="by hand"):
        tabular_data.load("abalone", tmp_path)
    with pytest.raises(MissingDataError, match="photographs"):
        tabular_data.load("bsds300-patches", tmp_path)
    assert len(tabular_data.names()) == len(set(tabular_data.names())) > 40


def test_truncated_archive(tmp_path):
    (tmp_path / "maf").mkdir()
    path = tmp_path / "maf" / "data.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        noise = tmp_path / "noise"
        noise.write_bytes(RNG.bytes(10_000))
        tar.add(noise, "data/power/data.npy")
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(ChecksumError, match=r"data\.tar\.gz cannot be unpacked"):
        tabular_data.load("power", tmp_path)
    assert {p.name for p in (tmp_path / "maf").iterdir()} == {"data.tar.gz"}


def test_command_line(tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "tabular_data", *words]
        return subprocess.run(command, capture_output=True, text=True)

    assert "fashion_mnist" in run("list").stdout
    assert "10.5281/zenodo.1161203" in run("describe", "gas").stdout
    assert "108 train" in run("fetch", "iris").stdout
    failed = run("fetch", "abalone", "--root", str(tmp_path))
    assert failed.returncode == 3
    assert "by hand" in failed.stderr


def test_quirks_by_their_names():
    """Counts that a change of preprocessing would change."""
    assert "signed" in " ".join(gas.STEPS)
    rows = np.arange(60.0).reshape(20, 3)
    rows[:6, 0] = 0.0
    rows[:9, 1] = 30.0
    assert hepmass.first_value_repeats(rows).tolist() == [True, False, False]
    assert miniboone.prepare(RNG.normal(size=(36_488, 43))).train.shape == (29_556, 43)


@needs_data
@pytest.mark.parametrize("task", ["two_moons", "gaussian_linear", "gaussian_mixture", "slcp"])
def test_reference_draws_of_posteriors(task):
    import torch
    from recipes.inference import TASKS

    first, last = (tabular_data.load(f"sbibm-{task}", observation=k) for k in (1, 10))
    known = TASKS[task]()
    assert first.train.shape == (10_000, known.parameters)
    assert not np.array_equal(first.train, last.train)
    x = torch.from_numpy(first.labels["observation"]).float()
    draws = torch.from_numpy(first.train).float()
    # They lie where the posterior does: far more likely than draws of the prior.
    here = known.log_posterior(x, draws)
    assert here.isfinite().float().mean() > 0.99
    prior = known.log_posterior(x, known.prior(1000))
    assert here[here.isfinite()].mean() > prior[prior.isfinite()].mean() + 1
    if task == "gaussian_linear":
        assert np.allclose(first.train.mean(0), first.labels["observation"] / 2, atol=0.02)
        assert np.allclose(first.train.var(0), 0.05, atol=0.005)
    with pytest.raises(ArgumentError, match="^observation: expected"):
        tabular_data.load(f"sbibm-{task}", observation=11)


def test_an_option_that_a_data_set_has_not_is_refused():
    with pytest.raises(ArgumentError, match="^options: expected an option of iris .*, got 'split'"):
        tabular_data.load("iris", split=2)
    with pytest.raises(ArgumentError, match="^options: expected .*, got 'table'"):
        tabular_data.load("uci-yacht", table="energy")
