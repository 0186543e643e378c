"""Evaluating a staircase network one input at a time, each hidden unit once.

The units of a MADE are sorted by degree, so what the first k inputs decide is the first so many
rows of every layer. An inverse that finds its inputs one after the other need not run the network
anew for each: it advances every layer by the few rows that the newest input has completed. All the
steps together cost about one pass of the network.

Values are kept feature first, ``(units, batch)``: then a layer's new units are contiguous memory,
and so is all that they see.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# Inputs between two catch-ups. Within a block of so many, the products of one step are thin and
# far from the machine's best rate; what came before the block is multiplied in one fat product.
BLOCK = 16


class Layer:
    """One layer of a sweep: ``post = finish(pre)``, ``pre`` being a bias and the sources' products.

    Args:
        ends: ``ends[k]`` units depend on the first k inputs alone.
        pre: ``(units, batch)``; starts as the bias and collects the products.
        post: ``(units, batch)``, what other layers read; may be ``pre`` itself.

    Attributes:
        pre_at, post_at: the rows of ``pre`` and ``post`` that step k completes, for each k.
        finish: called with k, turns ``pre_at[k]``, now complete, into ``post_at[k]``.
    """

    def __init__(self, ends: Sequence[int], pre: Tensor, post: Tensor) -> None:
        self.ends = ends
        self.pre, self.post = pre, post
        self.pre_at = self.at_steps(pre)
        self.post_at = self.pre_at if post is pre else self.at_steps(post)
        self.sources: list[_Source] = []
        self.finish: Callable[[int], None] | None = None
        self.taken = 0  # units that those who read this layer have taken in, up to their block

    @classmethod
    def of_inputs(cls, values: Tensor, count: int) -> "Layer":
        """Return the layer of ``count`` inputs, ``values`` having the same rows for each."""
        each = len(values) // count
        return cls(range(0, len(values) + 1, each), values, values)

    @classmethod
    def of_outputs(cls, values: Tensor, count: int) -> "Layer":
        """Return the layer of outputs, as many rows for each of ``count`` steps."""
        each = len(values) // count
        return cls(range(each, len(values) + 1, each), values, values)

    def reads(self, source: "Layer", weight: Tensor) -> None:
        """Add ``weight (units, units of source)`` times what ``source`` says."""
        self.sources.append(_Source(source, weight, self.at_steps(weight)))

    def at_steps(self, rows: Tensor) -> Sequence[Tensor]:
        """Split a tensor by its rows into what step 0, 1, ... completes."""
        sizes = [self.ends[0], *(b - a for a, b in pairwise(self.ends))]
        pieces: tuple[Tensor, ...] = torch.split(rows[: self.ends[-1]], sizes)
        return pieces


class _Source(NamedTuple):
    layer: Layer
    weight: Tensor
    weight_at: Sequence[Tensor]


class Sweep:
    """A network whose layers advance as its inputs become known.

    Args:
        inputs: the layer of inputs, whose values the caller fills in, first to last.
        layers: the others, each after its sources. The last one holds the outputs.
    """

    def __init__(self, inputs: Layer, layers: Sequence[Layer]) -> None:
        self.inputs = inputs
        self.layers = layers

    @property
    def outputs(self) -> Tensor:
        """All outputs, ``(units, batch)``; complete after the last step."""
        return self.layers[-1].post

    def advance(self, k: int) -> Tensor:
        """Return the outputs that depend on the first ``k`` inputs, and not on k - 1 alone.

        To be called with k = 0, 1, 2, ... once the values of input k - 1 are filled in.
        """
        if k and k % BLOCK == 0:
            self._catch_up(k)
        for layer in self.layers:
            pre = layer.pre_at[k]
            if len(pre) == 0:
                continue
            for source, _, weight_at in layer.sources:
                new = source.ends[k] - source.taken
                if new:
                    weight = weight_at[k].narrow(1, source.taken, new)
                    torch.addmm(pre, weight, source.post.narrow(0, source.taken, new), out=pre)
            if layer.finish is not None:
                layer.finish(k)
        return self.layers[-1].post_at[k]

    def _catch_up(self, k: int) -> None:
        """Give what is known before step ``k`` to the units of the steps k to k + BLOCK - 1."""
        self.inputs.taken = self.inputs.ends[k]
        for layer in self.layers:
            layer.taken = layer.ends[k - 1]
        for layer in self.layers:
            start, stop = layer.ends[k - 1], layer.ends[min(k + BLOCK, len(layer.ends)) - 1]
            pre = layer.pre[start:stop]
            for source, weight, _ in layer.sources:
                known = source.taken
                if start < stop and known:
                    torch.addmm(pre, weight[start:stop, :known], source.post[:known], out=pre)


def ends_of(degrees: Sequence[int], count: int) -> list[int]:
    """Return how many of the sorted degrees are at most k, for k = 0 .. count - 1."""
    return [bisect_right(degrees, k) for k in range(count)]
