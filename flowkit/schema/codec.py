"""Encoding of one column: values as numbers on the whole line, or as codes, and back."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flowkit.errors import DataError
from flowkit.schema import unseen
from flowkit.schema.columns import Column
from flowkit.schema.precision import float_of, rounded_within, step_of
from flowkit.schema.series import Series
from flowkit.schema.steps import rounded

if TYPE_CHECKING:
    from flowkit.transforms import ElementwiseTransform

# Families of series that can be a real column; times of day and durations in seconds.
_NUMBERS = ("float", "integer", "boolean", "clock", "duration")


def series_of(column: Column, values: np.ndarray, missing: np.ndarray) -> Series:
    """Return a column of a table from its values, in the type that it had in the fit."""
    return Series(  # what is built goes by the dtype, not by the family
        column.name,
        column.kind,
        column.dtype,
        values,
        missing,
        zone=column.zone,
        levels=column.levels,
        ordered=column.ordered,
    )


def check_finite(series: Series, rows_from: int) -> None:
    """Raise at the first value that is infinite, or too large to compute with."""
    if series.family != "float":
        return
    bad = (np.abs(series.values) > 1e150) & ~series.missing
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        where = f"column {series.name!r}, row {rows_from + i}"
        raise DataError(
            where,
            "a finite number of at most 1e150 (NaN if missing, no infinity)",
            series.values[i],
        )


def categories(column: Column, series: Series, on_unknown: str, rows_from: int) -> np.ndarray:
    """Return the code of each value: its index among the categories.

    Missing values have the next code, and unseen ones the code after that.
    """
    known = column.categories
    if known and not isinstance(known[0], str) and series.family != "text":
        keys = np.array(known, dtype=np.float64)
        values: np.ndarray = series.values.astype(np.float64)
    else:
        keys, values = np.array([str(k) for k in known]), series.values.astype(str)
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], values).clip(max=len(keys) - 1)
    code = order[place]
    unseen = (keys[code] != values) & ~series.missing
    if unseen.any() and on_unknown == "raise":
        i = int(np.flatnonzero(unseen)[0])
        where = f"column {column.name!r}, row {rows_from + i}"
        raise DataError(where, "a category that the fit has seen", repr(series.values[i]))
    code = np.where(series.missing, len(known), code)
    return np.where(unseen, len(known) + column.missing, code)


def from_categories(column: Column, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the categories of codes, and which of them are missing."""
    values = np.empty(len(column.categories) + column.missing, dtype=object)
    values[: len(column.categories)] = column.categories
    return values[codes], codes == len(column.categories)


def integers(column: Column, series: Series, rows_from: int) -> np.ndarray:
    """Return whole numbers, 0 where they are missing."""
    if series.missing.all():
        return np.zeros(len(series.missing), dtype=np.int64)
    if series.family not in ("integer", "float", "boolean", "period"):
        _refuse(column, series, rows_from, "an integer")
    values = np.where(series.missing, 0, series.values)
    broken = (values != np.round(values)) | (np.abs(values) > 2**53)
    if broken.any():
        i = int(np.flatnonzero(broken)[0])
        raise DataError(
            f"column {column.name!r}, row {rows_from + i}", "an integer within 2**53", values[i]
        )
    return values.astype(np.int64)


def from_integers(column: Column, codes: np.ndarray) -> np.ndarray:
    """Return integers rounded to the step of their column, but for sentinels."""
    if column.step is None or column.at_levels:
        return codes
    far = np.isin(codes, [value for value, _ in column.sentinels])
    return np.where(far, codes, rounded(codes, column.step).astype(np.int64))


def running(column: Column, rows_from: int, n: int) -> np.ndarray:
    """Return the running numbers of ``n`` identifiers, as text in a column of text."""
    numbers = np.arange(rows_from + 1, rows_from + n + 1)
    is_number = step_of(column.dtype) is not None or "float" in column.dtype.lower()
    return numbers if is_number else numbers.astype(str).astype(object)


def levels(column: Column, series: Series, rows_from: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the code of each number, its index among the levels, and a log-density.

    Missing values have the next code, and numbers off the levels the code after that. The
    log-density is that of a number off the levels, given that it is off them; 0 for the others.
    """
    read = integers if column.kind == "integer" else numbers
    x = read(column, series, rows_from)
    atoms = np.array(column.atoms)
    order = np.argsort(atoms)
    place = order[np.searchsorted(atoms[order], x).clip(max=len(atoms) - 1)]
    off = (atoms[place] != x) & ~series.missing
    code = np.where(series.missing, len(atoms), place)
    log_density = np.zeros(len(x))
    log_density[off] = off_levels(column, x[off].astype(np.float64))
    return np.where(off, len(atoms) + column.missing, code), log_density


def from_levels(column: Column, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels of codes, and which of them are missing."""
    x = np.append(column.atoms, column.atoms[0])[codes]
    values = x.astype(np.int64) if column.kind == "integer" else from_numbers(column, x)
    return values, codes == len(column.atoms)


def off_levels(column: Column, x: np.ndarray) -> np.ndarray:
    """Return the log-density of numbers off the levels, given that they are off them.

    The distribution is broad, around the levels and as wide as they are. Around a single level,
    the width is the level's size.
    """
    atoms = np.array(column.atoms)
    if column.kind == "integer":
        place = _place(atoms)
        on_levels = np.exp(unseen.log_mass(atoms, *place)).sum()
        mass: np.ndarray = unseen.log_mass(x, *place) - np.log1p(-on_levels)
        return mass
    line, log_slope = to_line(column, x)
    if column.kind == "circular":
        return log_slope - math.log(2 * math.pi)
    on_line, inside = to_line(column, atoms)
    density: np.ndarray = log_slope + unseen.log_density(line, *_place(on_line[inside > -np.inf]))
    return density


def _place(levels: np.ndarray) -> tuple[float, float]:
    """Return the middle and the scale of levels, 0 and 1 of none."""
    if not len(levels):
        return 0.0, 1.0
    return float(levels.mean()), float(levels.std() or abs(levels[0]) or 1.0)


def numbers(column: Column, series: Series, rows_from: int) -> np.ndarray:
    """Return the numbers of a continuous column as float64."""
    expected = ("time",) if column.kind == "datetime" else _NUMBERS
    if series.missing.all():  # whatever type a column without values has
        return np.full(len(series.missing), np.nan)
    if series.family not in expected:
        _refuse(column, series, rows_from, "a time" if column.kind == "datetime" else "a number")
    return series.values.astype(np.float64)


def _refuse(column: Column, series: Series, rows_from: int, expected: str) -> None:
    """Raise an error that names the first wrong value."""
    for i, value in enumerate(series.values):
        if not series.missing[i] and not _is_number(value):
            where = f"column {column.name!r}, row {rows_from + i}"
            raise DataError(where, f"{expected}, as it is {column.kind}", repr(value))
    raise DataError(f"column {column.name!r}", expected, f"{series.dtype} values")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def spread(column: Column, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return numbers spread evenly within their resolution, but not beyond bounds."""
    if column.resolution is None:
        return x
    noisy = x + column.resolution * (rng.random(len(x)) - 0.5)
    inside = to_line(column, noisy)[1] > -np.inf
    result: np.ndarray = np.where(inside, noisy, x)
    return result


def bounds(column: Column) -> tuple[float, ...]:
    """Return the hard bounds of a column, at most two."""
    if column.kind == "positive":
        return (0.0,)
    return tuple(b for b in (column.lower, column.upper) if b is not None)


def support_of(column: Column) -> "ElementwiseTransform":
    """Return the map from the values of a continuous column to the whole line, or to an angle."""
    from flowkit.transforms import Circular, Interval  # tables are read without torch

    if column.kind == "circular":
        assert column.period is not None  # noqa: S101  for the type checker: Column has checked
        return Circular(1, column.period, start=-column.period / 2)
    return Interval(1, 0.0 if column.kind == "positive" else column.lower, column.upper)


def to_line(column: Column, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map values to the whole line; return them and the logarithm of the derivative.

    Outside of the bounds, and on them, the logarithm is ``-inf``: there is no density.
    """
    if column.kind in ("real", "datetime"):
        return x, np.zeros(len(x))
    import torch

    values = torch.from_numpy(x.astype(np.float64)).unsqueeze(-1)
    value, log_derivative = support_of(column).map(values)
    return value.squeeze(-1).numpy(), log_derivative.squeeze(-1).numpy()


def from_line(column: Column, value: np.ndarray) -> np.ndarray:
    """Invert `to_line`; angles come back in ``[0, period)``."""
    if column.kind in ("real", "datetime"):
        return value.copy()
    import torch

    x, _ = support_of(column).unmap(torch.from_numpy(value).unsqueeze(-1))
    values: np.ndarray = x.squeeze(-1).numpy()
    return values if column.period is None else np.remainder(values, column.period)


def from_numbers(column: Column, x: np.ndarray) -> np.ndarray:
    """Return numbers in the dtype of the column, on its step and within its bounds.

    Atoms are unchanged.
    """
    free = ~np.isin(x, column.atoms)
    if column.step is not None:
        x = np.where(free, _on_step(column, x), x)
    if column.kind == "datetime":
        return x
    dtype, step = float_of(column.dtype), step_of(column.dtype)
    most = float(np.finfo(dtype).max)
    cast: np.ndarray = x.clip(-most, most).astype(dtype)
    if column.kind in ("positive", "bounded"):
        lower, upper = 0.0 if column.kind == "positive" else column.lower, column.upper
        if step is not None:
            return np.where(free, rounded_within(x, step, lower, upper), x)
        if lower is not None:
            edge = np.nextafter(dtype(lower), dtype(np.inf))
            cast = np.where(free & (cast <= lower), edge, cast)
        if upper is not None:
            edge = np.nextafter(dtype(upper), dtype(-np.inf))
            cast = np.where(free & (cast >= upper), edge, cast)
    return cast


def _on_step(column: Column, x: np.ndarray) -> np.ndarray:
    """Return numbers rounded to the step of their column, within its bounds."""
    assert column.step is not None  # noqa: S101  for the type checker
    near = rounded(x, column.step)
    if column.kind == "circular":
        assert column.period is not None  # noqa: S101
        return np.where(near >= column.period, 0.0, near)
    lower = 0.0 if column.kind == "positive" else column.lower
    if lower is not None:
        near = np.where(near <= lower, rounded(near + column.step, column.step), near)
    if column.upper is not None:
        near = np.where(near >= column.upper, rounded(near - column.step, column.step), near)
    return near
