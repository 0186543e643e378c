"""Flows: a transform and a base distribution."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import (
    check_broadcast,
    check_called,
    check_context,
    check_event,
    kind_of,
)
from flowkit.distributions.base import (
    Distribution,
    TorchDistribution,
    check_distribution_type,
    sample_part,
)
from flowkit.distributions.foreign import Foreign
from flowkit.distributions.placement import StandardizedEmbedding, follow_state
from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.transforms import Standardize, Transform
from flowkit.transforms.standardize import Standardized


class Flow(Distribution):
    """The distribution of ``x`` if ``transform(x)`` follows the base.

    ``log p(x) = log p_base(z) + log|det dz/dx|`` with ``z, logabsdet = transform(x)``.

    Args:
        transform: maps data to latent: a `Transform`, or another module with the ``forward`` and
            ``inverse`` of nflows.
        base: a distribution over the latent, such as another flow.
        embedding: a module for the context, applied once per row; its output has the transform's
            ``context_features``. If it is a `Transform`, such as `Standardize`, only the value
            is used.
        context_features: width of the context of a transform of another library; 0 for none.

    ``log_prob`` costs the transform's ``forward``, ``sample`` its ``inverse``. `standardize`,
    which `flowkit.training.fit` calls, puts a `Standardize` at the start of the transform, and
    another in front of the embedding. Afterwards ``log_prob`` also takes float64 rows and contexts,
    for every dtype of the flow. ``load_state_dict`` adds or removes these maps to match the state.

    Raises:
        ArgumentError: the transform, the base or the embedding has a wrong type.
        ShapeError: transform and base differ in event shape, or the width of the context differs
            from that of an embedding which is a `Transform`.
        ContextError: transform and base have different context widths, or an embedding is given
            although neither takes a context.

    Example:
        >>> from flowkit.flows import StandardNormal
        >>> from flowkit.transforms import LULinear
        >>> flow = Flow(LULinear(2), StandardNormal(2))
        >>> flow.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
        >>> flow.sample((10, 3)).shape
        torch.Size([10, 3, 2])
    """

    def __init__(
        self,
        transform: nn.Module,
        base: Distribution,
        *,
        embedding: nn.Module | None = None,
        context_features: int = 0,
    ) -> None:
        check_distribution_type("base", base)
        if not isinstance(transform, Transform):
            if not isinstance(transform, nn.Module) or not hasattr(transform, "inverse"):
                expected = "a Transform, or another library's with forward and inverse"
                raise ArgumentError("transform", expected, kind_of(transform))
            transform = Foreign(
                transform, tuple(base.event_shape), context_features=context_features
            )
        if transform.event_shape != base.event_shape:
            raise ShapeError(
                "base", f"event shape {tuple(transform.event_shape)}", tuple(base.event_shape)
            )
        if not _keeps_width(getattr(base, "embedding", None)):
            raise ContextError(
                "base", "expected a flow without an embedding; give the embedding to the outer Flow"
            )
        widths = {transform.context_features, base.context_features} - {0}
        if len(widths) > 1:
            expected = f"context_features of {transform.context_features}, as in the transform"
            raise ContextError("base", expected, base.context_features)
        if embedding is not None:
            check_called("embedding", embedding, "f(context)", 1)
        if embedding is not None and not widths:
            expected = "None, as neither transform nor base takes a context"
            raise ContextError("embedding", expected, kind_of(embedding))
        if isinstance(embedding, Transform) and tuple(embedding.event_shape) != (*widths,):
            expected = f"event shape ({max(widths)},), the width of the context"
            raise ShapeError("embedding", expected, tuple(embedding.event_shape))
        super().__init__(tuple(transform.event_shape), context_features=max(widths, default=0))
        self.transform = transform
        self.base = base
        self.embedding = embedding

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``x`` in nats.

        Args:
            x: ``(*batch, *event_shape)``.
            context: ``(*batch, context_features)`` or broadcasting with ``x``; given exactly
                when ``context_features`` is positive.

        Returns:
            ``(*batch,)``.

        Raises:
            ShapeError, DtypeError, ContextError: ``x`` or ``context`` does not fit.
        """
        return self._log_prob(x, self._embed(context))

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw points, with gradients to the parameters and the context.

        Args:
            sample_shape: shape of the draws for each row of the context.
            context: ``(*context_batch, context_features)``, if the flow is conditional.
            generator: source of the noise; torch's global generator by default.

        Returns:
            ``(*sample_shape, *context_batch, *event_shape)``.
        """
        return self._sample(sample_shape, self._embed(context), generator)[0]

    def sample_and_log_prob(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw points as `sample` does, and return their log-densities without a further pass."""
        context = self._embed(context)
        x, z, logabsdet = self._sample(sample_shape, context, generator)
        return x, self._base_log_prob(z, context) - logabsdet

    def as_distribution(
        self, context: Tensor | None = None, *, validate_args: bool | None = None
    ) -> TorchDistribution:
        """Return the flow, given the context, as a `torch.distributions.Distribution`.

        The embedding is evaluated once. The batch shape is that of ``context``.
        """
        if self.embedding is None:
            return super().as_distribution(context, validate_args=validate_args)
        plain = Flow(self.transform, self.base)
        return plain.as_distribution(self._embed(context), validate_args=validate_args)

    # In the methods below, `context` is already embedded.

    def _embed(self, context: Tensor | None) -> Tensor | None:
        if self.embedding is not None:
            if context is None:
                raise ContextError("context", "a tensor for the embedding", None)
            embedded = self.embedding(context)
            context = embedded[0] if isinstance(self.embedding, Transform) else embedded
            if not isinstance(context, Tensor):
                got = f"{type(self.embedding).__name__} that returns a {type(context).__name__}"
                raise DtypeError("embedding", "a module that returns a tensor", got)
        check_context(context, self.context_features)
        if context is not None:
            self._check_dtype("context", context)
        return context

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        self._check_point(x, context)
        in_transform = context if self.transform.context_features else None
        if self.transform.matches(self.base):
            return self.transform.log_density(x, in_transform)
        z, logabsdet = self.transform(x, in_transform)
        log_prob: Tensor = self._base_log_prob(z, context) + logabsdet
        return log_prob

    def _sample(
        self,
        sample_shape: int | Sequence[int],
        context: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = sample_part(self.base, sample_shape, context, generator)
        context = context if self.transform.context_features else None
        x, logabsdet = self.transform.inverse(z, context)
        return x, z, logabsdet

    def _base_log_prob(self, z: Tensor, context: Tensor | None) -> Tensor:
        log_prob: Tensor = self.base.log_prob(z, context if self.base.context_features else None)
        return log_prob

    def _check_point(self, x: Tensor, context: Tensor | None) -> None:
        check_event("x", x, self.event_shape)
        if context is not None:
            check_broadcast(
                "context", context.shape[:-1], x.shape[: x.dim() - len(self.event_shape)]
            )
        if x.dtype != torch.float64 or not isinstance(self.transform, Standardized):
            self._check_dtype("x", x)

    def _check_dtype(self, argument: str, tensor: Tensor) -> None:
        parameter = next(self.parameters(), None)
        if parameter is not None and parameter.dtype != tensor.dtype:
            raise DtypeError(argument, f"the dtype of the flow, {parameter.dtype}", tensor.dtype)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        follow_state(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _keeps_width(embedding: nn.Module | None) -> bool:
    """Return whether an embedding is None, or only standardises the context."""
    if isinstance(embedding, StandardizedEmbedding):
        embedding = embedding.embedding
    return isinstance(embedding, Standardize | None)
