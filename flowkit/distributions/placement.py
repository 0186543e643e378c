"""Standardisation placed in a flow: before its transform, and before its embedding."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.transforms import Standardize
from flowkit.transforms.standardize import Standardized, leading


class StandardizedEmbedding(nn.Module):
    """Standardisation of a context, followed by an optional embedding.

    Args:
        standardize: the map of the context.
        embedding: module for the standardised context, or None.

    Example:
        >>> embedding = StandardizedEmbedding(Standardize([5.0], [2.0]))
        >>> embedding(torch.tensor([[9.0]]))
        tensor([[2.]])
    """

    def __init__(self, standardize: Standardize, embedding: nn.Module | None = None) -> None:
        super().__init__()
        self.standardize = standardize
        self.embedding = embedding

    def forward(self, context: Tensor) -> Any:
        """Return the embedding of the standardised context."""
        context = self.standardize(context)[0]
        return context if self.embedding is None else self.embedding(context)


def place(flow: Any, data: Standardize | None, context: Standardize | None) -> None:
    """Put maps at the start of a flow's transform and in front of its embedding."""
    if data is not None:
        flow.transform = Standardized(flow.transform, data)
    if context is not None:
        flow.embedding = StandardizedEmbedding(context, flow.embedding)
    _describe(flow)


def unplace(flow: Any, *, data: bool = True, context: bool = True) -> None:
    """Remove the maps of `place`, if there are any."""
    if data and has_data(flow):
        flow.transform = flow.transform.plain
    if context and has_context(flow):
        flow.embedding = flow.embedding.embedding
    _describe(flow)


def has_data(flow: Any) -> bool:
    """Return whether a map was placed at the start of the transform."""
    return isinstance(flow.transform, Standardized)


def has_context(flow: Any) -> bool:
    """Return whether a map was placed in front of the embedding."""
    return isinstance(flow.embedding, StandardizedEmbedding)


def place_blank(flow: Any, *, data: bool, context: int) -> None:
    """Place identity maps, before a state dict is loaded.

    Args:
        flow: the flow.
        data: whether to place a map of the rows.
        context: width of the context if a map of the context is placed, or else 0.
    """
    like = next(flow.parameters(), torch.empty(0))

    def blank(features: int) -> Standardize:
        return Standardize(like.new_zeros(features), like.new_ones(features))

    place(flow, blank(flow.features) if data else None, blank(context) if context else None)


def follow_state(flow: Any, state: Mapping[str, Any], prefix: str) -> None:
    """Place and remove maps of a flow to match a state dict, before it is loaded."""
    if not any(name.startswith(f"{prefix}transform.") for name in state):
        return  # the state of a part of the flow
    fixed, others = leading(flow.transform.plain if has_data(flow) else flow.transform)
    key = f"transform.transforms.{len(fixed)}.mean"
    is_layer = not has_data(flow) and others and key in flow.state_dict()  # not placed
    data, context = f"{prefix}{key}" in state, state.get(f"{prefix}embedding.standardize.mean")
    unplace(flow, data=not data, context=context is None)
    place_blank(
        flow,
        data=data and not has_data(flow) and not is_layer,
        context=0 if context is None or has_context(flow) else len(context),
    )


def _describe(flow: Any) -> None:
    """Record the placed maps in the configuration of a named flow."""
    config = vars(flow).get("_config")
    if config is not None:
        config.pop("standardized", None)
        placed = {"data": has_data(flow), "context": has_context(flow)}
        if any(placed.values()):
            config["standardized"] = placed
