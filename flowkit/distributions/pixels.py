"""Images with conditional distributions of pixels from a PixelCNN."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowkit._checks import check_context, check_event
from flowkit._dtypes import at_least_float32
from flowkit.distributions.likelihoods import Likelihood, likelihood_named
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError
from flowkit.nets import PixelCNN


class PixelDistribution(Base):
    """Images ``(channels, height, width)``: each scalar is conditional on the preceding scalars.

    Args:
        net: a `PixelCNN` with the number of outputs of the likelihood.
        likelihood: likelihood of a scalar, or its name: "bernoulli" for bits, "categorical" or
            "logistic" for levels 0 to 255.

    ``log_prob`` costs one pass of the network. ``sample`` costs about one pass in total, as the
    network's results for a pixel are kept. Samples carry no gradients.

    Raises:
        ArgumentError: ``net`` is not a `PixelCNN`, or has another number of outputs.

    Reference: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*, 2016.

    Example:
        >>> images = PixelDistribution(PixelCNN((1, 6, 6), hidden=8, layers=2))
        >>> images.sample((3,)).shape
        torch.Size([3, 1, 6, 6])
        >>> images.log_prob(torch.zeros(5, 1, 6, 6)).shape
        torch.Size([5])
    """

    has_rsample = False

    def __init__(self, net: PixelCNN, likelihood: str | Likelihood = "bernoulli") -> None:
        if not isinstance(net, PixelCNN):
            raise ArgumentError("net", "a PixelCNN", type(net).__name__)
        super().__init__(tuple(net.image), context_features=net.context_features)
        self.likelihood = likelihood_named(likelihood)
        if net.outputs != self.likelihood.outputs:
            expected = f"a PixelCNN with outputs={self.likelihood.outputs} for this likelihood"
            raise ArgumentError("net", expected, f"outputs={net.outputs}")
        self.net = net
        self._like = self._like.to(next(net.parameters()))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-probability of images ``(*batch, C, H, W)`` as ``(*batch,)``."""
        check_event("z", z, self.event_shape)
        params = self.net(self.likelihood.features(z), context)
        params = at_least_float32(params.movedim(z.dim() - 3, 0))  # the parameters come first
        return self.likelihood.log_prob(z, params).flatten(z.dim() - 3).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images ``(*sample_shape, *context_batch, C, H, W)``, pixel after pixel."""
        shape, context = self._flat(sample_shape, context)
        drawn = self._like.new_zeros(torch.Size(shape).numel(), *self.event_shape)
        inputs = torch.zeros_like(drawn)  # the same images as inputs of the network
        for channel, row, column, params in self.net.sweep(inputs, context):
            value = self.likelihood.sample(params, generator)
            drawn[:, channel, row, column] = value
            inputs[:, channel, row, column] = self.likelihood.features(value)
        return drawn.reshape(*shape, *self.event_shape)

    def observe(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images that the likelihood scores: ``x``, or draws given ``x``."""
        return self.likelihood.observe(x, generator)

    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless rows are images with valid values for the likelihood."""
        check_event("data", x, tuple(self.event_shape))
        check_context(context, self.context_features)
        self.likelihood.check(x)
