"""Shapes of known factors."""

import numpy as np
import pytest

import tabular_data
from flowkit.errors import ArgumentError, DtypeError, ShapeError
from tabular_data import shapes


def test_the_grid_is_that_of_dsprites():
    assert shapes.SIZES == (3, 6, 40, 32, 32)
    assert shapes.TOTAL == 737_280
    codes = shapes.factors_of(np.arange(shapes.TOTAL))
    assert len(np.unique(codes, axis=0)) == shapes.TOTAL
    assert codes.min(0).tolist() == [0] * 5
    assert (codes.max(0) + 1).tolist() == list(shapes.SIZES)


def test_pictures_are_bits_that_touch_no_edge_and_hold_one_shape():
    rng = np.random.default_rng(0)
    x = shapes.render(shapes.sample_factors(3000, rng))
    assert x.dtype == np.uint8
    assert set(np.unique(x)) == {0, 1}
    images = x.reshape(-1, 64, 64)
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
    assert border.sum() == 0
    assert (x.sum(1) > 30).all()


def test_each_factor_does_what_it_says():
    base = np.array([[0, 3, 7, 16, 16]])

    def vary(factor, values):
        codes = np.repeat(base, len(values), axis=0)
        codes[:, factor] = values
        return shapes.render(codes).reshape(-1, 64, 64).astype(float)

    def centres(images):
        rows, columns = np.arange(64)[:, None], np.arange(64)
        mass = images.sum((1, 2))
        return (images * columns).sum((1, 2)) / mass, (images * rows).sum((1, 2)) / mass

    across, down = centres(vary(3, range(32)))
    assert np.allclose(np.diff(across), 32 / 31, atol=0.35)
    assert np.ptp(down) < 0.5
    across, down = centres(vary(4, range(32)))
    assert np.allclose(np.diff(down), 32 / 31, atol=0.35)
    area = vary(1, range(6)).sum((1, 2))
    assert np.allclose(area / area[-1], (0.5 + 0.1 * np.arange(6)) ** 2, atol=0.06)
    turns = vary(2, range(40))
    assert np.allclose(turns.sum((1, 2)), turns.sum((1, 2)).mean(), rtol=0.12)
    assert np.array_equal(turns[0], turns[10])  # a square, turned by a quarter
    assert not np.array_equal(turns[0], turns[5])
    three = vary(0, range(3))
    assert len({image.tobytes() for image in three}) == 3


def test_hearts_tell_every_rotation():
    codes = np.array([[2, 5, r, 16, 16] for r in range(40)])
    assert len(np.unique(shapes.render(codes), axis=0)) == 40


def test_pictures_depend_on_their_codes_alone():
    codes = shapes.sample_factors(2100, np.random.default_rng(0))
    whole = shapes.render(codes)
    assert np.array_equal(whole[1500:1510], shapes.render(codes[1500:1510]))
    index = np.random.default_rng(1).integers(shapes.TOTAL, size=700)
    parts = list(shapes.stream(index, chunk=300))
    assert [len(p) for p, _ in parts] == [300, 300, 100]
    joined = np.concatenate([p for p, _ in parts])
    assert np.array_equal(joined, shapes.render(shapes.factors_of(index)))
    first, first_codes = next(shapes.stream())
    assert np.array_equal(first_codes, shapes.factors_of(np.arange(10_000)))
    assert len(first) == 10_000


def test_a_draw_as_a_data_set():
    found = tabular_data.load("shapes2d", rows=500, seed=3)
    assert (len(found.train), len(found.val), len(found.test)) == (500, 50, 50)
    codes = np.concatenate([found.labels[part] for part in ("train", "val", "test")])
    assert len(np.unique(codes, axis=0)) == 600  # no picture twice
    assert np.array_equal(shapes.render(found.labels["val"]), found.val)
    again = tabular_data.load("shapes2d", rows=500, seed=3)
    other = tabular_data.load("shapes2d", rows=500, seed=4)
    assert np.array_equal(found.train, again.train)
    assert not np.array_equal(found.train, other.train)
    with pytest.raises(ArgumentError, match="^rows: expected"):
        tabular_data.load("shapes2d", rows=0)
    with pytest.raises(ArgumentError, match="^rows: expected at most"):
        tabular_data.load("shapes2d", rows=700_000)
    with pytest.raises(ArgumentError, match="^options: expected .* shapes2d .*, got 'side'"):
        tabular_data.load("shapes2d", side=32)


def test_codes_that_are_none_are_named():
    with pytest.raises(ShapeError, match=r"^factors: expected codes \(n, 5\)"):
        shapes.render(np.zeros((3, 4), dtype=int))
    with pytest.raises(DtypeError, match="^factors: expected integers"):
        shapes.render(np.zeros((3, 5)))
    with pytest.raises(ArgumentError, match="^factors, row 1: expected a scale from 0 to 5, got 6"):
        shapes.render(np.array([[0, 0, 0, 0, 0], [0, 6, 0, 0, 0]]))
