"""Numbers of columns: what means and quantiles of draws are taken of."""

import numpy as np

from flowkit.schema import Column, Schema, codec


def has_numbers(column: Column) -> bool:
    """Return whether a column is of numbers or times, which have quantiles."""
    if not column.is_modelled:
        return False
    known = column.categories if column.kind == "categorical" else ()
    return all(isinstance(k, int | float) and not isinstance(k, bool) for k in known)


def numbers_of(schema: Schema, column: Column, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the numbers of a column, not rounded to its step, NaN where missing, ``(...)``.

    Args:
        schema: of the table.
        column: the column; of times the numbers are seconds.
        codes: ``(..., J)``.
        values: ``(..., d)``.
    """
    at = [j for j, d in enumerate(schema.discrete) if d.name == column.name]
    if column.kind == "categorical" or column.at_levels:
        known = column.atoms if column.at_levels else column.categories
        table = np.array([*known, np.nan, np.nan], dtype=np.float64)
        return np.asarray(table[codes[..., at[0]]])
    state = codes[..., at[0]] if column.has_flag else np.zeros(codes.shape[:-1], dtype=np.int64)
    if column.kind == "integer":
        x = codes[..., at[-1]].astype(np.float64)
    else:
        line = values[..., schema.continuous.index(column.name)]
        x = codec.from_line(column, line.ravel()).reshape(line.shape)
        for k, atom in enumerate(column.atoms):
            x = np.where(state == 1 + k, atom, x)
    return np.asarray(np.where(state == column.missing_state, np.nan, x))


def mean_of(column: Column, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of numbers ``(..., n)`` of a column, ``(...)``; NaN is left out."""
    here = ~np.isnan(x)
    w = np.where(here, weights, 0.0)
    total = np.maximum(w.sum(-1), 1e-300)
    if column.kind != "circular":
        return np.asarray((np.where(here, x, 0.0) * w).sum(-1) / total)
    assert column.period is not None  # noqa: S101  for the type checker
    turn = np.exp(2j * np.pi * np.where(here, x, 0.0) / column.period)
    angle = np.angle((turn * w).sum(-1))
    return np.asarray(np.remainder(angle / (2 * np.pi), 1.0) * column.period)


def rounded(column: Column, x: np.ndarray) -> np.ndarray:
    """Return numbers of a column as samples have them: on its step, and within its bounds."""
    if column.kind != "integer":
        return codec.from_numbers(column, x)
    numbers = np.rint(x).astype(np.int64)
    return codec.from_integers(column, numbers)
