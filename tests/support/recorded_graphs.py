"""Compiled modules whose graphs a test may read."""

from collections.abc import Callable

import torch
from torch import nn
from torch._dynamo.backends.debugging import aot_eager


def compiled_with_graphs(module: nn.Module) -> tuple[Callable, list[str]]:
    """Return the module, compiled as one graph, and the list that its graphs' code is added to."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.code)
        return aot_eager(graph, inputs)

    return torch.compile(module, fullgraph=True, backend=backend), graphs
