"""Likelihood of table rows: one conditional distribution for each column."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._dtypes import at_least_float32
from flowkit._noise import normal, uniform
from flowkit.distributions import Likelihood
from flowkit.distributions.logistic import log_logistic_mass
from flowkit.errors import DataError
from flowkit.schema import Encoded, Schema, Statistics, moments

_LOG_2PI = math.log(2 * math.pi)
# Bounds of log-scales of standardised columns; the density of repeated values is unbounded.
_NARROWEST, _WIDEST = -6.0, 4.0


class TableLikelihood(Likelihood):
    """Likelihood of the rows of a table; columns are independent given the latents.

    Flags and categories are categorical. Integers have the mass of a logistic distribution within
    1/2; a bound has the mass of the whole tail. Continuous columns, mapped to the line by the
    schema and standardised, are normal. Values that are missing or at an atom contribute only their
    flag. Log-probabilities are in the units of the table, as those of `FlowDensity` are.

    Args:
        schema: schema of the table, such as ``FlowDensity.schema_`` or ``Schema.infer(table)``.
        table: rows from which means and standard deviations of the columns are computed.

    Attributes:
        width: width of an encoded row.
        seen: number of features of a row, the width of the encoder's input.
        decoded: number of outputs that a decoder must return for a row.

    Raises:
        DataError: the table does not fit the schema; column and row are named.

    Example:
        >>> from flowkit.training import fit
        >>> from flowkit.vae import VAE, networks, posterior
        >>> rows = np.random.default_rng(0).normal(size=(200, 3)).round(2)
        >>> likelihood = TableLikelihood(Schema.infer(rows), rows)
        >>> nets = networks("mlp-small", (likelihood.seen,), 2, decoded=likelihood.decoded)
        >>> q = posterior("normal", 2, context_features=nets.context_features)
        >>> vae = VAE(nets.encoder, nets.decoder, q, likelihood=likelihood)
        >>> history = fit(vae, likelihood.encode(rows), steps=5)
        >>> likelihood.decode(vae.sample(4)).shape
        (4, 3)
    """

    outputs = 1  # the number of parameters differs by column, so `decoded` counts them

    def __init__(self, schema: Schema, table: Any) -> None:
        super().__init__()
        self.schema = schema
        encoded = schema.encode(table)
        # A category has one more state, for values that are not in the table.
        self._states = [
            d.size + (d.kind == "categorical") if d.kind != "integer" else 0
            for d in schema.discrete
        ]
        self._n_codes, self._n_values = len(schema.discrete), len(schema.continuous)
        self.width = self._n_codes + 2 * self._n_values + 1
        sizes = [states or 2 for states in self._states]
        self.decoded = sum(sizes) + 2 * self._n_values
        self.seen = sum(states or 1 for states in self._states) + 2 * self._n_values
        self._ends = np.cumsum(sizes).tolist()
        codes, means = encoded.codes.astype(np.float64), []
        codes[~self._codes_present(encoded.codes)] = np.nan
        for name, values in (("codes", codes), ("values", encoded.values)):
            mean, scale = moments(values.astype(np.float64))
            means.append(mean)
            self.register_buffer(f"{name}_scale", torch.from_numpy(scale).float())
        # Rows contain differences from a column's middle, because dates in seconds have more digits
        # than float32. Middles of integers are integers; those of categories are 0.
        whole = np.array([not states for states in self._states], dtype=bool)
        middle = np.where(whole, means[0].round(), 0.0) if len(whole) else means[0]
        # Stored as int64 bits, which a conversion of the module's dtype does not round.
        bits = torch.from_numpy(np.concatenate([middle, means[1]]).view(np.int64))
        self.register_buffer("middle_bits", bits)
        self.register_buffer("codes_mean", torch.from_numpy(means[0] - middle).float())

    middle_bits: Tensor
    codes_mean: Tensor
    codes_scale: Tensor
    values_scale: Tensor

    @property
    def _middles(self) -> np.ndarray:
        return self.middle_bits.cpu().numpy().view(np.float64)

    def encode(self, table: Any) -> Tensor:
        """Return rows ``(n, width)``: codes, values on the line, presence mask, log-Jacobian.

        Integers and values are differences from the middle of their column.

        Raises:
            DataError: the table does not fit the schema; column and row are named.
        """
        return self._rows(self.schema.encode(table))

    def decode(self, rows: Tensor) -> Any:
        """Return rows ``(n, width)`` as a table of the schema's library."""
        x = rows.detach().double().cpu().numpy()
        k, d = self._n_codes, self._n_values
        x = x[:, : k + d] + self._middles
        return self.schema.decode(x[:, :k].round().astype(np.int64), x[:, k:])

    def features(self, x: Tensor) -> Tensor:
        """Return one-hot codes, standardised numbers (0 where absent) and the presence mask."""
        codes, values, present, _ = self._split(x)
        parts = []
        for j, states in enumerate(self._states):
            code = codes[..., j]
            if states:
                parts.append(F.one_hot(code.long().clamp(max=states - 1), states).to(x.dtype))
            else:
                standard = (code - self.codes_mean[j]) / self.codes_scale[j]
                parts.append(
                    torch.where(self.schema.discrete[j].present(codes), standard, 0.0).unsqueeze(-1)
                )
        standard = values / self.values_scale
        parts += [torch.where(present > 0, standard, 0.0), present]
        return torch.cat(parts, -1)

    def arrange(self, out: Tensor, batch: Sequence[int], event_shape: Sequence[int]) -> Tensor:
        """Return a decoder's outputs as ``(1, *batch, decoded)``."""
        del event_shape
        self._check_outputs(out, self.decoded)
        return at_least_float32(out).reshape(1, *batch, self.decoded)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the log-probability of each column and the log-Jacobian, ``(*batch, columns)``."""
        codes, values, present, log_jacobian = self._split(x)
        discrete, continuous = self._parts(params[0])
        terms = [self._log_code(codes, j, part) for j, part in enumerate(discrete)]
        mean, log_scale = continuous
        u = (values / self.values_scale - mean) * (-log_scale).exp()
        log_density = -0.5 * (u * u + _LOG_2PI) - log_scale - self.values_scale.log()
        terms += torch.where(present > 0, log_density, 0.0).unbind(-1)
        terms.append(log_jacobian.expand(log_density.shape[:-1]))
        return torch.stack(terms, -1)

    def mean(self, params: Tensor) -> Tensor:
        """Return rows of the most probable codes and the mean numbers, ``(*batch, width)``."""
        discrete, (mean, _) = self._parts(params[0])
        codes = [
            part[..., : self.schema.discrete[j].size].argmax(-1).to(mean.dtype)
            if states
            else self._bounded(part[..., 0] * self.codes_scale[j] + self.codes_mean[j], j)
            for j, (states, part) in enumerate(zip(self._states, discrete, strict=True))
        ]
        return self._joined(codes, mean)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(*batch, width)``; only categories of the table are drawn."""
        discrete, (mean, log_scale) = self._parts(params[0].detach())
        shape = mean.shape[:-1]

        codes = []
        for j, part in enumerate(discrete):
            if self._states[j]:
                known = part[..., : self.schema.discrete[j].size]
                cumulative = known.softmax(-1).cumsum(-1)[..., :-1]
                u = uniform((*shape, 1), mean, generator)
                codes.append((u > cumulative).sum(-1).to(mean.dtype))
            else:
                at, log_s = part.unbind(-1)
                noise = torch.logit(uniform(shape, mean, generator).clamp(1e-6, 1 - 1e-6))
                value = (at + log_s.clamp(_NARROWEST, _WIDEST).exp() * noise) * self.codes_scale[j]
                codes.append(self._bounded(value + self.codes_mean[j], j))
        drawn = mean + log_scale.exp() * normal(mean.shape, mean, generator)
        return self._joined(codes, drawn)

    def check(self, x: Tensor) -> None:
        """Raise unless rows have the width of `encode` and lie within the bounds of all columns.

        Raises:
            DataError: another width, or a value on or outside a bound; the row is named.
        """
        if x.dim() != 2 or x.shape[1] != self.width:
            raise DataError("data", f"rows (n, {self.width}), as encode returns", tuple(x.shape))
        self._refuse(x, ~x.isfinite(), "a finite number, within the bounds of the column")

    def _rows(self, encoded: Encoded) -> Tensor:
        middles = self._middles
        offsets = encoded.standardised(Statistics(middles, np.ones(len(middles))))
        present = np.concatenate([self._codes_present(encoded.codes), encoded.present], axis=1)
        parts = [
            np.where(present, offsets, 0.0),
            encoded.present,
            encoded.log_jacobian[:, None],
        ]
        rows = np.concatenate([part.astype(np.float64) for part in parts], axis=1)
        return torch.from_numpy(rows).to(self.values_scale.dtype)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return codes, values, presence mask and log-Jacobian ``(*batch,)``."""
        sizes = [self._n_codes, self._n_values, self._n_values, 1]
        codes, values, present, log_jacobian = x.split(sizes, -1)
        return codes, values, present, log_jacobian.squeeze(-1)

    def _parts(self, out: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """Return the outputs of each code, and means and log-scales of the values."""
        starts = [0, *self._ends]
        discrete = [out[..., a:b] for a, b in pairwise(starts)]
        mean, log_scale = out[..., starts[-1] :].chunk(2, -1)
        return discrete, (mean, log_scale.clamp(_NARROWEST, _WIDEST))

    def _log_code(self, codes: Tensor, j: int, part: Tensor) -> Tensor:
        code = codes[..., j]
        if self._states[j]:
            at = code.long().clamp(max=self._states[j] - 1).expand(part.shape[:-1])
            return part.log_softmax(-1).gather(-1, at.unsqueeze(-1)).squeeze(-1)
        lower, upper = self._bounds(j)
        mean, log_scale = part.unbind(-1)
        inverse = (-log_scale.clamp(_NARROWEST, _WIDEST)).exp()
        half = 0.5 / self.codes_scale[j]
        v = (code - self.codes_mean[j]) / self.codes_scale[j] - mean
        low, high = (v - half) * inverse, (v + half) * inverse
        # Not high - low, which is inexact if a column has millions of values.
        width = (2 * half * inverse).clamp(min=torch.finfo(low.dtype).tiny)
        at_lower = None if lower is None else code <= lower
        at_upper = None if upper is None else code >= upper
        mass = log_logistic_mass(low, high, width, at_lower, at_upper)
        return torch.where(self.schema.discrete[j].present(codes), mass, 0.0)

    def _bounds(self, j: int) -> tuple[float | None, float | None]:
        """Return the bounds of an integer, hard or soft, as differences from the middle."""
        column, middle = self.schema.discrete[j], float(self._middles[j])
        lower = None if column.least is None else column.least - middle
        upper = None if column.upper is None else column.upper - middle
        return lower, upper

    def _bounded(self, code: Tensor, j: int) -> Tensor:
        """Round to integers within the bounds of the column."""
        lower, upper = self._bounds(j)
        code = code.round()
        return code if lower is None and upper is None else code.clamp(lower, upper)

    def _codes_present(self, codes: np.ndarray) -> np.ndarray:
        """Return the presence mask of codes, ``(n, codes)``; flags and categories are present."""
        present = [column.present(codes) for column in self.schema.discrete]
        return np.stack(present, axis=1) if present else np.ones(codes.shape, dtype=bool)

    def _joined(self, codes: list[Tensor], standard: Tensor) -> Tensor:
        values = standard * self.values_scale
        present = torch.ones_like(values)
        for j, flag in enumerate(self.schema.flag_of):
            if flag is not None:
                present[..., j] = (codes[flag] == 0).to(values.dtype)
        values = torch.where(present > 0, values, 0.0)
        log_jacobian = torch.zeros_like(values[..., :1])
        first = torch.stack(codes, -1) if codes else values[..., :0]
        return torch.cat([first, values, present, log_jacobian], -1)
