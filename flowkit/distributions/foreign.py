"""Transforms of other libraries with the signature of nflows, for use in a flowkit `Flow`."""

import torch
from torch import Tensor, nn

from flowkit.transforms import Transform


class Foreign(Transform):
    """A module with nflows' ``forward`` and ``inverse``, limited to batches ``(N, D)``.

    Args:
        module: returns (value, logabsdet) from ``forward(x, context)`` and
            ``inverse(z, context)``.
        event_shape: shape of one point.
        context_features: width of the context of the module, 0 for none.

    Each direction costs as much as that of the module.

    Example:
        >>> from flowkit.transforms import LULinear
        >>> z, logabsdet = Foreign(LULinear(3), (3,))(torch.randn(5, 4, 3))
        >>> z.shape, logabsdet.shape
        (torch.Size([5, 4, 3]), torch.Size([5, 4]))
    """

    def __init__(
        self, module: nn.Module, event_shape: tuple[int, ...], *, context_features: int = 0
    ) -> None:
        super().__init__(event_shape, context_features=context_features)
        self.module = module

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        self.check_input("x", x, context)
        return self._flattened("forward", x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        self.check_input("z", z, context)
        return self._flattened("inverse", z, context)

    def _flattened(
        self, direction: str, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        batch = x.shape[: x.dim() - len(self.event_shape)]
        if context is not None:
            batch = torch.broadcast_shapes(batch, context.shape[:-1])
            context = context.expand(*batch, -1).reshape(-1, self.context_features)
        rows = x.expand(*batch, *self.event_shape).reshape(-1, *self.event_shape)
        z, logabsdet = getattr(self.module, direction)(rows, context)
        return z.reshape(*batch, *self.event_shape), logabsdet.reshape(batch)
