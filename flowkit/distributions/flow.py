"""A flow: a transform and a base distribution."""

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
    """The distribution of ``x`` whose image under the transform follows the base.

    ``log p(x) = log p_base(z) + log|det dz/dx|`` with ``z, logabsdet = transform(x)``.

    Args:
        transform: maps data to latent. A module that is no flowkit `Transform` but has nflows'
            ``forward`` and ``inverse`` works too.
        base: a distribution over the latent; another flow is one.
        embedding: a module that the context goes through first, once per row; its output has the
            transform's ``context_features``. Of a `Transform`, such as `Standardize`, that is
            the value.
        context_features: width of the context that a foreign transform takes, which it does not
            say itself; 0 for none.

    ``log_prob`` costs the transform's ``forward``, ``sample`` its ``inverse``. `standardize`,
    which `flowkit.training.fit` calls, puts a `Standardize` at the start of the transform, and
    one in front of the embedding. ``log_prob`` then takes rows and contexts in float64 too,
    whatever the dtype of the flow. ``load_state_dict`` adds or removes both, as the state has
    them.

    Raises:
        ArgumentError: no transform, no base, or an embedding that is no module.
        ShapeError: transform and base differ in event shape, or an embedding that is a
            `Transform` and the context in width.
        ContextError: transform and base ask for contexts of different widths, or there is an
            embedding for a context that nobody asks for.

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
            raise ContextError("base", "a flow without an embedding; give it to this one", "one")
        asked = {transform.context_features, base.context_features} - {0}
        if len(asked) > 1:
            raise ContextError("base", f"context_features of {transform.context_features}", asked)
        if embedding is not None:
            check_called("embedding", embedding, "f(context)", 1)
        if embedding is not None and not asked:
            raise ContextError("embedding", "a transform or base with context_features", "none")
        if isinstance(embedding, Transform) and tuple(embedding.event_shape) != (*asked,):
            got = tuple(embedding.event_shape)
            raise ShapeError("embedding", f"a map of the {max(asked)} context_features", got)
        super().__init__(tuple(transform.event_shape), context_features=max(asked, default=0))
        self.transform = transform
        self.base = base
        self.embedding = embedding

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``x`` in nats.

        Args:
            x: ``(*batch, *event_shape)``.
            context: ``(*batch, context_features)`` or broadcasting with ``x``; given exactly
                when the flow asks for it.

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
            sample_shape: how many draws, for each row of the context.
            context: ``(*context_batch, context_features)``, when the flow asks for it.
            generator: where to draw from; torch's global one by default.

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
        """Draw points as `sample` does, and return their log-densities for no further pass."""
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

    # Below, `context` has been through the embedding.

    def _embed(self, context: Tensor | None) -> Tensor | None:
        if self.embedding is not None:
            if context is None:
                raise ContextError("context", "a tensor for the embedding", None)
            embedded = self.embedding(context)
            context = embedded[0] if isinstance(self.embedding, Transform) else embedded
            if not isinstance(context, Tensor):
                got = f"{type(self.embedding).__name__} with a {type(context).__name__}"
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
    """Whether an embedding is none, or standardises only."""
    if isinstance(embedding, StandardizedEmbedding):
        embedding = embedding.embedding
    return isinstance(embedding, Standardize | None)
