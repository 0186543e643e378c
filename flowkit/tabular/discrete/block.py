"""Discrete block: flags, categories and integers, each given the columns before it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from flowkit._checks import check_keys
from flowkit.errors import ArgumentError
from flowkit.nets import MLP
from flowkit.schema import Discrete
from flowkit.tabular.discrete.conditionals import (
    Conditional,
    conditional_of,
    describe,
    table_size,
)
from flowkit.tabular.stacking import stack
from flowkit.training import fit

# With fewer rows, columns are taken as independent.
_FEWEST_ROWS = 200
_STEPS = {"fast": 600, "default": 1500, "best": 4000}
_HIDDEN = (64, 64)
_CHUNK = 32_768


class DiscreteBlock(nn.Module):
    """``p(codes) = Π p(code_j | codes before j)``, exactly normalised.

    Each conditional is a mixture of two: the column's frequencies alone, and with the outputs of
    a network added. The weights are fitted to held-out rows, so the block is never much worse
    than independent columns.

    Args:
        columns: description of each code.
        tables: number of integers with a probability of their own, for each column.
        networks: whether there are networks.
    """

    shares: Tensor

    def __init__(self, columns: Sequence[Discrete], tables: Sequence[int], networks: bool) -> None:
        super().__init__()
        self.columns, self.tables = tuple(columns), tuple(tables)
        # The name stands in model files.
        self.laws = nn.ModuleList(map(conditional_of, self.columns, self.tables))
        widths = [conditional.width for conditional in self._conditionals()]
        self.context_features = sum(widths)
        before = [sum(widths[:j]) for j in range(len(widths))]
        self.networks = nn.ModuleDict()
        for j, conditional in enumerate(self._conditionals()):
            if networks and before[j] and conditional.parameters_per_row:
                # In float64, so that the score of a row does not depend on its batch.
                net = MLP(before[j], conditional.parameters_per_row, _HIDDEN).double()
                net.zero_output_()
                self.networks[str(j)] = net
        # Weight of the network in each column's conditional; the frequencies have the rest.
        self.register_buffer("shares", torch.zeros(len(self.columns), dtype=torch.float64))

    @classmethod
    def fit(
        cls,
        codes: np.ndarray,
        columns: Sequence[Discrete],
        weights: np.ndarray | None = None,
        *,
        seed: int = 0,
        effort: str = "default",
        networks: bool = True,
    ) -> "DiscreteBlock":
        """Fit to codes ``(n, J)``, with weights ``(n,)`` that count rows.

        Without networks the columns are independent.
        """
        w = np.ones(len(codes)) if weights is None else weights
        present = [column.present(codes) for column in columns]
        tables = [
            table_size(column, codes[p, j], w[p])
            for j, (column, p) in enumerate(zip(columns, present, strict=True))
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self = cls(columns, tables, networks=networks and w.sum() >= _FEWEST_ROWS)
        for j, conditional in enumerate(self._conditionals()):
            if present[j].any():
                conditional.fit(codes[present[j], j], w[present[j]])
        if len(self.networks):
            self._train(codes, weights, seed, _STEPS[effort])
        return self.eval()

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        """Return the log-probability of each row of codes ``(n, J)``, ``(n,)`` float64."""
        parts = [self._log_prob(codes[i : i + _CHUNK]) for i in range(0, len(codes), _CHUNK)]
        return np.concatenate([np.zeros(0), *parts])

    def sample(self, n: int, generator: torch.Generator) -> np.ndarray:
        """Draw ``n`` rows of codes, one column after the other."""
        parts = [self._sample(min(_CHUNK, n - i), generator) for i in range(0, n, _CHUNK)]
        return np.concatenate([np.zeros((0, len(self.columns)), dtype=np.int64), *parts])

    def context(self, codes: np.ndarray) -> np.ndarray:
        """Return features of codes ``(n, J)`` for the continuous part, ``(n, features)``."""
        return self._features(codes, len(self.columns))

    def mixed(
        self, j: int, features: Tensor, log_prob: Callable[[Tensor | None], Tensor]
    ) -> Tensor:
        """Return a log-probability of a column: by its frequencies and by its network, mixed.

        Args:
            j: the column.
            features: of the columns before, and perhaps of more, ``(n, features)``.
            log_prob: function of the outputs of the network; None stands for the frequencies.
        """
        plain, net = log_prob(None), self._network(j)
        if net is None:
            return plain
        with_network, share = log_prob(net(features[:, : net.in_features])), self.shares[j]
        return torch.logaddexp(plain + torch.log1p(-share), with_network + share.log())

    @torch.no_grad()
    def draw_column(self, j: int, features: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Draw a column given the columns before, ``(n,)``.

        Args:
            j: the column.
            features: of the columns before, ``(n, features)``.
            uniform: uniform numbers, ``(n, 4)``.
        """
        conditional, net = self._conditionals()[j], self._network(j)
        drawn = conditional.sample(len(features), None, uniform)
        if net is None:
            return drawn
        params = net(torch.from_numpy(features[:, : net.in_features]))
        with_network = conditional.sample(len(features), params, uniform)
        return np.where(uniform[:, 3] < float(self.shares[j]), with_network, drawn)

    def config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, ready for JSON."""
        return {
            "columns": [describe(column) for column in self.columns],
            "tables": list(self.tables),
            "networks": bool(len(self.networks)),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DiscreteBlock":
        """Return a block made from what `config` returned; its tensors are yet to be loaded.

        Raises:
            ArgumentError: the configuration describes none.
        """
        check_keys("discrete", config, ("columns", "tables", "networks"))
        try:
            columns = [Discrete(**column) for column in config["columns"]]
            return cls(columns, config["tables"], config["networks"])
        except (TypeError, ValueError) as error:
            raise ArgumentError("discrete", "a discrete block", str(error)) from error

    def _conditionals(self) -> list[Conditional]:
        return cast(list[Conditional], [*self.laws])

    def _features(self, codes: np.ndarray, columns: int) -> np.ndarray:
        """Return the features of the first columns of the codes."""
        parts = [np.zeros((len(codes), 0))]
        for j, conditional in enumerate(self._conditionals()[:columns]):
            features = conditional.features(codes[:, j])
            features[~self.columns[j].present(codes)] = 0.0
            parts.append(features)
        return np.concatenate(parts, axis=1)

    def _network(self, j: int) -> MLP | None:
        """Return the network of a column; its inputs are the features of the columns before."""
        networks = [net for key, net in self.networks.items() if key == str(j)]
        return cast(MLP, networks[0]) if networks else None

    def _scores(self, codes: Tensor, features: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return, of each column with a network, the score by frequencies, by it, and presence."""
        scores = []
        for j, conditional in enumerate(self._conditionals()):
            net = self._network(j)
            if net is None:
                continue
            params = net(features[:, : net.in_features])
            column, present = codes[:, j], self.columns[j].present(codes)
            scores.append(
                (conditional.log_prob(column, None), conditional.log_prob(column, params), present)
            )
        return scores

    def _train(self, codes: np.ndarray, weights: np.ndarray | None, seed: int, steps: int) -> None:
        features = torch.from_numpy(self.context(codes))
        order = np.random.default_rng(seed).permutation(len(codes))
        held_out = order[: max(len(codes) // 10, 50)]
        kept = order[len(held_out) :]
        w = np.ones(len(codes)) if weights is None else weights
        rows = [
            (torch.from_numpy(codes[part]), features[part], torch.from_numpy(w[part]))
            for part in (kept, held_out)
        ]
        trainer = _Trainer(self)
        fit(
            trainer,
            rows[0][0],
            context=rows[0][1],
            weights=rows[0][2],
            validation=rows[1],
            steps=steps,
            batch_size=512,
            learning_rate=2e-3,
            average=0.99,
            patience=8,
            validate_every=max(steps // 30, 10),
            seed=seed,
        )
        self.requires_grad_(False)
        with torch.no_grad():
            scores = self._scores(*rows[1][:2])
        for j, (plain, network, present) in zip(self.networks, scores, strict=True):
            both = torch.stack([plain, network], dim=1)[present].numpy()
            if len(both):
                share = stack(both, w[held_out][present.numpy()])[1]
                self.shares[int(j)] = float(share)

    @torch.no_grad()
    def _log_prob(self, codes: np.ndarray) -> np.ndarray:
        features = torch.from_numpy(self.context(codes))
        rows = torch.from_numpy(np.ascontiguousarray(codes))
        total = torch.zeros(len(rows), dtype=torch.float64)
        for j, conditional in enumerate(self._conditionals()):
            present = self.columns[j].present(rows)
            score = self.mixed(j, features, partial(conditional.log_prob, rows[:, j]))
            total += torch.where(present, score, 0.0)
        return total.numpy()

    @torch.no_grad()
    def _sample(self, n: int, generator: torch.Generator) -> np.ndarray:
        codes = np.zeros((n, len(self.columns)), dtype=np.int64)
        features = np.zeros((n, 0))
        for j, conditional in enumerate(self._conditionals()):
            uniform = torch.rand(n, 4, dtype=torch.float64, generator=generator).numpy()
            drawn = self.draw_column(j, features, uniform)
            present = self.columns[j].present(codes)
            codes[:, j] = np.where(present, drawn, 0)
            new = conditional.features(codes[:, j])
            new[~present] = 0.0
            features = np.concatenate([features, new], axis=1)
        return codes


class _Trainer(nn.Module):
    """The networks of a block, as a model for `flowkit.training.fit`."""

    def __init__(self, block: DiscreteBlock) -> None:
        super().__init__()
        self.networks = block.networks
        self._block = [block]  # in a list, to be no submodule

    def log_prob(self, codes: Tensor, features: Tensor) -> Tensor:
        """Return the score of each row but for columns without a network."""
        total = torch.zeros(len(codes), dtype=torch.float64)
        for _, score, present in self._block[0]._scores(codes, features):
            total = total + torch.where(present, score, 0.0)
        return total
