"""Generators: models whose samples carry gradients, such as flows, and networks of latents."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkit._checks import check_called, check_context, check_count, check_shape
from flowkit.distributions import Distribution, Flow, StandardNormal
from flowkit.distributions.base import check_distribution_type
from flowkit.errors import ArgumentError, ShapeError


class Generator(nn.Module):
    """A network that maps latents, drawn from a prior, to rows.

    Args:
        net: maps ``(n, latents)`` to rows ``(n, *row)``.
        latents: number of latents.
        prior: distribution of the latents; by default a standard normal.

    Raises:
        ArgumentError: ``net`` is not a network, or is a model with ``sample`` already.
        ShapeError: a prior of another size.

    Example:
        >>> Generator(nn.Linear(3, 8), 3).sample((5,)).shape
        torch.Size([5, 8])
    """

    def __init__(self, net: nn.Module, latents: int, prior: Distribution | None = None) -> None:
        super().__init__()
        if hasattr(net, "sample"):
            expected = "a network without sample(); other models need no Generator"
            raise ArgumentError("net", expected, type(net).__name__)
        check_called("net", net, "f(z)", 1)
        self.latents = check_count("latents", latents)
        self.net = net
        self.prior: Distribution = StandardNormal(latents) if prior is None else prior
        check_distribution_type("prior", self.prior)
        if tuple(self.prior.event_shape) != (latents,):
            raise ShapeError("prior", f"event shape ({latents},)", self.prior.event_shape)

    def extra_repr(self) -> str:
        """Return the number of latents."""
        return f"latents={self.latents}"

    def forward(self, z: Tensor) -> Tensor:
        """Map latents ``(n, latents)`` to rows ``(n, *row)``."""
        if z.shape[-1] != self.latents:
            raise ShapeError("z", f"latents (n, {self.latents})", tuple(z.shape))
        rows: Tensor = self.net(z)
        return rows

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw rows ``(*sample_shape, *row)``, with gradients of the network's parameters."""
        check_context(context, 0)
        shape = check_shape("sample_shape", sample_shape)
        z = self.prior.sample(shape, generator=generator)
        rows: Tensor = self(z.reshape(-1, self.latents))
        return rows.reshape(*shape, *rows.shape[1:])


def latents_of(generator: nn.Module) -> int:
    """Return the number of latents of a generator; for a flow, the number of features.

    Raises:
        ArgumentError: neither a flow nor a `Generator`.
    """
    if isinstance(generator, Flow):
        return generator.features
    latents = getattr(generator, "latents", None)
    if not isinstance(latents, int):
        raise ArgumentError("generator", "a flow or a Generator", type(generator).__name__)
    return latents


def generate(generator: nn.Module, z: Tensor) -> Tensor:
    """Return the rows generated from latents ``(n, latents)``, ``(n, *row)``.

    Raises:
        ShapeError: latents of another size.

    Example:
        >>> from flowkit.flows import nice
        >>> generate(nice(4), torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """
    if z.dim() != 2 or z.shape[1] != latents_of(generator):
        raise ShapeError("z", f"latents (n, {latents_of(generator)})", tuple(z.shape))
    if isinstance(generator, Flow):
        return generator.transform.inverse(z)[0]
    rows: Tensor = generator(z)
    return rows


def interpolate(generator: nn.Module, start: Tensor, end: Tensor, steps: int = 8) -> Tensor:
    """Return rows on paths between two sets of latents ``(n, latents)``: ``(steps, n, *row)``.

    Paths are great circles, which keep the norm typical of a normal prior. If start and end are
    parallel, or one is 0, the path is a line.

    Example:
        >>> from flowkit.flows import nice
        >>> interpolate(nice(4), torch.randn(3, 4), torch.randn(3, 4)).shape
        torch.Size([8, 3, 4])
    """
    if start.shape != end.shape:
        raise ShapeError("end", f"the shape of start, {tuple(start.shape)}", tuple(end.shape))
    t = torch.linspace(0, 1, check_count("steps", steps, 2), dtype=start.dtype, device=start.device)
    t = t.view(-1, 1, 1)
    lengths = [torch.linalg.vector_norm(z, dim=-1, keepdim=True) for z in (start, end)]
    cosine = (start * end).sum(-1, keepdim=True) / (lengths[0] * lengths[1])
    # The angle is NaN or tiny for parallel latents, or latents of norm 0.
    angle = cosine.clamp(-1, 1).acos()
    circle = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()
    z = torch.where(angle.sin() > 1e-3, circle, torch.lerp(start, end, t))
    return torch.stack([generate(generator, part) for part in z])
