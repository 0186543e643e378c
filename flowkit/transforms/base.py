"""Transforms: the contract `Transform`, and `Identity`, `Inverse` and `Chain`."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowkit._checks import check_context, check_count, check_event, check_type, common_context
from flowkit.errors import ArgumentError


class Transform(nn.Module, ABC):
    """An invertible map that returns its value and its exact log-determinant in one call.

    ``forward`` goes from data to latent, the direction of densities; ``inverse`` from latent to
    data, the direction of sampling. A subclass writes both and promises that

    - ``x`` is ``(*batch, *event_shape)`` with zero or more batch dimensions; the value has the same
      shape, ``logabsdet`` is ``(*batch,)``;
    - ``context`` is ``(*batch, context_features)`` or broadcasts to that shape; a context is given
      exactly when ``context_features`` is positive, and unconditional layers ignore it;
    - the ``logabsdet`` of ``inverse`` is that of the inverse map, the negative of ``forward``'s;
    - dtype and device follow the input and the parameters;
    - checks read shapes, dtypes and devices, but no values; shapes and numbers of steps do not
      depend on values, so that ``torch.compile(fullgraph=True)`` works;
    - a row with a NaN gives NaN in that row only; in ``eval()`` the result of a row does not depend
      on other rows.

    `flowkit.testing.check_transform` verifies these promises.

    Args:
        event_shape: shape of one point; an integer for a vector.
        context_features: width of the context, 0 for none.
        constant_logabsdet: whether the log-determinant is the same for every ``x``.
    """

    def __init__(
        self,
        event_shape: int | tuple[int, ...],
        *,
        context_features: int = 0,
        constant_logabsdet: bool = False,
    ) -> None:
        super().__init__()
        sizes = (event_shape,) if isinstance(event_shape, int) else event_shape
        self.event_shape = torch.Size(check_count("features", size) for size in sizes)
        self.context_features = check_count("context_features", context_features, minimum=0)
        self.constant_logabsdet = constant_logabsdet

    @property
    def features(self) -> int:
        """Number of scalars in one point."""
        return math.prod(self.event_shape)

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent: return ``z`` and ``log|det dz/dx|``."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data: return ``x`` and ``log|det dx/dz|``."""

    @property
    def law(self) -> str | None:
        """Name of the law of independent latents that `log_density` assumes, or None."""
        return None

    def matches(self, base: object) -> bool:
        """Return whether `log_density` gives the density of a flow with this base."""
        return self.law is not None and self.law == getattr(base, "law", None)

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``x`` if its image follows `law`, ``(*batch,)``.

        The result equals that of `forward` and the density of the law, at a lower cost. `Flow`
        calls this method if the base has the same law.
        """
        raise NotImplementedError

    def check_input(self, argument: str, x: Tensor, context: Tensor | None) -> None:
        """Raise unless ``x``, called ``argument`` in errors, and ``context`` fit.

        Raises:
            ShapeError, DtypeError: ``x`` or ``context`` is not a floating-point tensor of the
                right last dimensions.
            ContextError: a context is missing, or given although ``context_features`` is 0.
        """
        check_event(argument, x, self.event_shape)
        check_context(context, self.context_features)

    def _needed(self, context: Tensor | None) -> Tensor | None:
        """Return the context if the transform is conditional, or else None."""
        return context if self.context_features else None

    def zero_logabsdet(self, x: Tensor) -> Tensor:
        """Return the log-determinant of a volume-preserving map: zeros of shape ``(*batch,)``."""
        return x.new_zeros(x.shape[: x.dim() - len(self.event_shape)])


def check_transform_type(argument: str, value: object, hint: str = "") -> None:
    """Raise unless ``value`` is a `Transform`.

    Raises:
        ArgumentError: ``value`` is not a `Transform`.
    """
    if isinstance(value, Transform):
        return
    if isinstance(getattr(value, "transform", None), Transform):
        hint = "; pass the transform of a flow as flow.transform"
    check_type(argument, value, Transform, f"a Transform{hint}")


class Identity(Transform):
    """The identity map.

    Args:
        features: number of features.

    Example:
        >>> z, logabsdet = Identity(3)(torch.ones(2, 3))
        >>> logabsdet
        tensor([0., 0.])
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, constant_logabsdet=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``x`` and zeros."""
        self.check_input("x", x, None)
        return x, self.zero_logabsdet(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``z`` and zeros."""
        self.check_input("z", z, None)
        return z, self.zero_logabsdet(z)


class Inverse(Transform):
    """A transform with its two directions swapped: IAF is ``Inverse(MaskedAutoregressive(...))``.

    Args:
        transform: the transform to swap. Weights are shared, not copied. The costs of the two
            directions are swapped too.

    Raises:
        ArgumentError: ``transform`` is not a transform.

    Reference: Kingma et al., *Improved variational inference with inverse autoregressive flow*,
    2016.

    Example:
        >>> from flowkit.transforms import LULinear
        >>> layer = LULinear(3)
        >>> x = torch.randn(5, 3)
        >>> torch.equal(Inverse(layer)(x)[0], layer.inverse(x)[0])
        True
    """

    def __init__(self, transform: Transform) -> None:
        check_transform_type("transform", transform)
        super().__init__(
            tuple(transform.event_shape),
            context_features=transform.context_features,
            constant_logabsdet=transform.constant_logabsdet,
        )
        self.transform = transform

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x`` through the inverse of the transform."""
        context = self._needed(context)
        self.check_input("x", x, context)
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``z`` through the transform."""
        context = self._needed(context)
        self.check_input("z", z, context)
        z, logabsdet = self.transform(z, context)
        return z, logabsdet


class Chain(Transform):
    """A composition of transforms; the first one is nearest to the data.

    Args:
        transforms: at least one transform. All have one event shape, and the conditional ones have
            one context width. Only the conditional ones get the context.

    The cost of a direction is the sum of the costs of its members.

    Raises:
        ArgumentError: there are no transforms, an argument has another type, or event shapes or
            context widths differ.

    Example:
        >>> from flowkit.transforms import LULinear, Reverse
        >>> chain = Chain(LULinear(3), Reverse(3))
        >>> z, logabsdet = chain(torch.randn(5, 3))
        >>> x, _ = chain.inverse(z)
    """

    def __init__(self, *transforms: Transform) -> None:
        if not transforms:
            raise ArgumentError("transforms", "at least one transform", "none")
        for i, transform in enumerate(transforms):
            hint = "; unpack a list as Chain(*layers)" * isinstance(transform, list | tuple)
            check_transform_type(f"transforms[{i}]", transform, hint)
        shapes = {tuple(t.event_shape) for t in transforms}
        if len(shapes) > 1:
            raise ArgumentError("transforms", "equal event shapes", sorted(shapes))
        super().__init__(
            shapes.pop(),
            context_features=common_context("transforms", (t.context_features for t in transforms)),
            constant_logabsdet=all(t.constant_logabsdet for t in transforms),
        )
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x`` through the transforms, first to last."""
        context = self._needed(context)
        self.check_input("x", x, context)
        logabsdet = self.zero_logabsdet(x)
        for transform in self._members():
            x, term = transform(x, context if transform.context_features else None)
            logabsdet = logabsdet + term
        return x, logabsdet

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map ``z`` through the inverses of the transforms, last to first."""
        context = self._needed(context)
        self.check_input("z", z, context)
        logabsdet = self.zero_logabsdet(z)
        for transform in reversed(self._members()):
            z, term = transform.inverse(z, context if transform.context_features else None)
            logabsdet = logabsdet + term
        return z, logabsdet

    @property
    def law(self) -> str | None:
        """The law of the last transform."""
        return self._members()[-1].law

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``x`` through all transforms but the last, and evaluate the density of the last."""
        context = self._needed(context)
        self.check_input("x", x, context)
        *others, last = self._members()
        log_density: Tensor | float = 0.0
        for transform in others:
            x, term = transform(x, context if transform.context_features else None)
            log_density = log_density + term
        return log_density + last.log_density(x, context if last.context_features else None)

    def _members(self) -> list[Transform]:
        return [*self.transforms]
