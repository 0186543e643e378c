"""Amortised parameters: a learned vector, plus a linear function of the context."""

from torch import Tensor, nn

from flowkit.nets.linear import Linear


class Amortised(nn.Module):
    """A learned vector of parameters, plus a linear function of the context if there is one.

    Args:
        start: initial parameters ``(n,)``, for every context.
        context_features: width of the context, 0 for none.
    """

    def __init__(self, start: Tensor, context_features: int = 0) -> None:
        super().__init__()
        self.free = nn.Parameter(start.clone())
        self.linear = Linear(context_features, len(start), bias=False) if context_features else None
        if self.linear is not None:
            self.linear.zero_()

    def forward(self, context: Tensor | None = None) -> Tensor:
        """Return the parameters, ``(n,)`` or ``(*batch, n)``."""
        if self.linear is None or context is None:
            return self.free
        result: Tensor = self.free + self.linear(context)
        return result
