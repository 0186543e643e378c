"""Incremental evaluation of a staircase network: one input at a time, each hidden unit once.

The units of a MADE are sorted by degree. So the units that depend on the first k inputs alone are
the first rows of every layer. An inverse computes its inputs one after the other and need not run
the network anew for each: each input completes a few rows of every layer. All the steps together
cost about one pass of the network.

Values are kept feature first, ``(units, batch)``: then the new units of a layer are contiguous
memory, and so are the units that they see.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

# Steps of a block. Within a block, every step multiplies by the few columns that the block itself
# completes; earlier columns are multiplied in one large product, at the machine's best rate.
BLOCK = 8


class Layer:
    """One layer of a sweep: `finish` turns ``pre``, bias and sources' products, into ``post``.

    Args:
        ends: ``ends[k]`` units depend on the first k inputs alone.
        pre: ``(units, batch)``; starts as the bias and collects the products.
        post: ``(units, batch)``, what other layers read; may be ``pre`` itself. Finite from the
            start, as each value is multiplied by zero before it is complete.

    Attributes:
        pre_at, post_at: the rows of ``pre`` and ``post`` that step k completes, for each k.
        finish: called with the layer and k, turns ``pre_at[k]``, now complete, into ``post_at[k]``.
    """

    def __init__(self, ends: Sequence[int], pre: Tensor, post: Tensor) -> None:
        self.ends = ends
        self.sizes = [ends[0], *(b - a for a, b in pairwise(ends))]
        self.pre, self.post = pre, post
        self.pre_at = self.at_steps(pre)
        self.post_at = self.pre_at if post is pre else self.at_steps(post)
        self.finish: Callable[[Layer, int], None] | None = None
        self._sources: list[tuple[Layer, Tensor]] = []
        # Of each source: the weights of every step of the block, and what they multiply.
        self._terms: list[tuple[Sequence[Tensor], Tensor]] = []

    @classmethod
    def of_outputs(cls, values: Tensor, count: int) -> "Layer":
        """Return the layer of outputs, as many rows for each of ``count`` steps."""
        each = len(values) // count
        return cls(range(each, len(values) + 1, each), values, values)

    def reads(self, source: "Layer", weight: Tensor) -> None:
        """Add ``weight (units, units of source)`` times the values of ``source``.

        The weight is a staircase: zero where a unit would read a unit that is completed later.
        """
        self._sources.append((source, weight))

    def at_steps(self, rows: Tensor) -> Sequence[Tensor]:
        """Split a tensor by its rows into what step 0, 1, ... completes."""
        pieces: tuple[Tensor, ...] = torch.split(rows[: self.ends[-1]], self.sizes)
        return pieces

    def open_block(self, first: int, last: int) -> None:
        """Add the products completed before step ``first``; split those until step ``last``."""
        start, stop = self.before(first), self.ends[last]
        self._terms = []
        if start == stop:
            return
        pre, sizes = self.pre[start:stop], self.sizes[first : last + 1]
        for source, weight in self._sources:
            complete, later = source.before(first), source.ends[last]
            rows = weight[start:stop]
            if complete:
                torch.addmm(pre, rows[:, :complete], source.post[:complete], out=pre)
            if later > complete:
                weights = torch.split(rows[:, complete:later], sizes)
                self._terms.append((weights, source.post[complete:later]))

    def advance(self, k: int, step: int) -> None:
        """Complete the units of step k, which is number ``step`` of its block."""
        if self.sizes[k] == 0:
            return
        pre = self.pre_at[k]
        for weights, values in self._terms:
            torch.addmm(pre, weights[step], values, out=pre)
        if self.finish is not None:
            self.finish(self, k)

    def before(self, k: int) -> int:
        """Return the number of units that are complete before step k."""
        return self.ends[k - 1] if k else 0


class Inputs(Layer):
    """The layer of inputs, of which k are complete before step k.

    Args:
        values: ``(units, batch)``, to be filled in by the caller; finite from the start.
        count: number of inputs; each has the same number of units.
    """

    def __init__(self, values: Tensor, count: int) -> None:
        super().__init__(range(0, len(values) + 1, len(values) // count), values, values)

    def before(self, k: int) -> int:
        """Return the number of values that are complete before step k."""
        return self.ends[k]


class Sweep:
    """A network whose layers advance as its inputs are completed.

    Args:
        layers: each after its sources, which may be `Inputs` that the caller fills in, first to
            last. The last layer holds the outputs, some for every step.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self._first = 0

    @property
    def outputs(self) -> Tensor:
        """All outputs, ``(units, batch)``; complete after the last step."""
        return self.layers[-1].post

    def advance(self, k: int) -> Tensor:
        """Return the outputs that depend on the first ``k`` inputs, and not on k - 1 alone.

        To be called with k = 0, 1, 2, ... once the values of input k - 1 are filled in.
        """
        output = self.layers[-1]
        if k % BLOCK == 0:
            self._first = k
            last = min(k + BLOCK, len(output.ends)) - 1
            for layer in self.layers:
                layer.open_block(k, last)
        for layer in self.layers:
            layer.advance(k, k - self._first)
        return output.post_at[k]


def ends_of(degrees: Sequence[int], count: int) -> list[int]:
    """Return how many of the sorted degrees are at most k, for k = 0 .. count - 1."""
    return [bisect_right(degrees, k) for k in range(count)]
