"""Dequantisation of tables: rows as real numbers, for generators of continuous data."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flowkit._checks import check_finite_rows
from flowkit.errors import ShapeError
from flowkit.schema import Schema, Statistics, moments

_LOG_2PI = math.log(2 * math.pi)


class Rows(NamedTuple):
    """Rows as real numbers.

    Attributes:
        x: ``(n, width)`` float32, columns standardised. Integers with a range above a million may
            change in the round trip, because float32 has too few digits.
        log_slope: ``(n,)`` float64; its sum with a log-density of ``x`` is a log-density of the
            rows of the table.
    """

    x: Tensor
    log_slope: Tensor


class DequantizedTable:
    """Encoding of the rows of a table as standardised real numbers, with its inverse.

    Uniform noise is added to codes of the discrete block (flags, categories, integers). Values that
    are missing or at an atom are replaced by standard normal noise; their flag marks them. A
    density of the numbers is, in expectation over the noise, a lower bound on the log-probability
    of a row, in the units of `FlowDensity`. Without such columns the bound is exact.

    Args:
        schema: such as ``FlowDensity.schema_`` or ``Schema.infer(table)``.
        table: rows from which means and standard deviations are computed.

    Attributes:
        width: number of columns of the encoded rows.

    Raises:
        DataError: the table does not fit the schema; column and row are named.

    Reference: Theis, van den Oord and Bethge, *A note on the evaluation of generative models*,
    2016, section 3.1, for the noise.

    Example:
        >>> table = np.random.default_rng(0).normal(5, 3, size=(50, 2))
        >>> rows = DequantizedTable(Schema.infer(table), table)
        >>> x, log_slope = rows.encode(table)
        >>> bool(np.allclose(rows.decode(x), table, atol=1e-5))
        True
    """

    def __init__(self, schema: Schema, table: Any) -> None:
        self.schema = schema
        self._codes = len(schema.discrete)
        encoded = schema.encode(table)
        # At least the standard deviation of the noise, for a constant code.
        codes = moments(encoded.codes + 0.5, least=math.sqrt(1 / 12))
        both = np.concatenate([codes, moments(encoded.values)], axis=1)
        self._statistics = Statistics(*both)
        self.width = len(self._statistics.center)

    def encode(self, table: Any, *, seed: int = 0) -> Rows:
        """Return the rows of a table as real numbers, with noise of a seed.

        Raises:
            DataError: the table does not fit the schema; column and row are named.
        """
        encoded, rng = self.schema.encode(table), np.random.default_rng(seed)
        codes = encoded.codes + rng.random(encoded.codes.shape)
        x = replace(encoded, codes=codes).standardised(self._statistics)
        noise, absent = rng.normal(size=x.shape), np.isnan(x)
        x = np.where(absent, noise, x)
        slopes = np.where(absent, 0.5 * (noise**2 + _LOG_2PI), -np.log(self._statistics.scale))
        log_slope = slopes.sum(1) + encoded.log_jacobian
        return Rows(torch.from_numpy(x).float(), torch.from_numpy(log_slope))

    def decode(self, x: Tensor) -> Any:
        """Return numbers ``(n, width)`` as a table of the schema's library.

        Raises:
            DataError: a number is not finite; the row is named.
            ShapeError: another width.
        """
        if x.dim() != 2 or x.shape[1] != self.width:
            raise ShapeError("x", f"rows (n, {self.width})", tuple(x.shape))
        check_finite_rows("x", x)
        numbers = x.detach().double().cpu().numpy()
        numbers = numbers * self._statistics.scale + self._statistics.center
        codes = np.floor(numbers[:, : self._codes]).astype(np.int64)
        for j, column in enumerate(self.schema.discrete):
            low, high = (
                (column.least, column.upper) if column.kind == "integer" else (0, column.size - 1)
            )
            if low is not None:
                codes[:, j] = np.maximum(codes[:, j], low)
            if high is not None:
                codes[:, j] = np.minimum(codes[:, j], high)
        return self.schema.decode(codes, numbers[:, self._codes :])
