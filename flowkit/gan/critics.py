"""Critics: gradient penalty, weight clipping, spectral normalisation, estimates of a distance."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowkit._checks import check_positive
from flowkit._dtypes import at_least_float32
from flowkit._noise import uniform
from flowkit.errors import ArgumentError, ShapeError
from flowkit.training import mean_over_rows


def gradient_penalty(
    critic: nn.Module,
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator | None = None,
    *,
    one_sided: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean of ``(slope - 1)²`` between real and fake rows, without weight, ``()``.

    The slope is the norm, over all dimensions but the first, of the critic's gradient at
    ``a x + (1 - a) y``, with one uniform ``a`` for each pair.

    Args:
        critic: maps rows ``(n, *row)`` to scores, ``(n,)`` or ``(n, 1)``.
        real: rows ``(n, *row)``.
        fake: rows ``(n, *row)``.
        generator: random number generator of the mixing weights.
        one_sided: penalise only slopes above 1. The two-sided penalty has a maximum at slope 0,
            which a critic with the wrong initial sign must cross; on a line this is impossible.
        weights: weights of the real rows, ``(n,)``, with mean 1.

    Raises:
        ShapeError: real and fake rows of different shapes, or of fewer than two dimensions.

    Reference: Gulrajani et al., *Improved training of Wasserstein GANs*, 2017, equation 3; Petzka,
    Fischer and Lukovnikov, *On the regularization of Wasserstein GANs*, 2018, for one side.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(critic.weight, 3.0)  # slope 3 * sqrt(2)
        >>> round(gradient_penalty(critic, torch.zeros(5, 2), torch.ones(5, 2)).item(), 4)
        10.5147
    """
    _check_pairs(real, fake)
    # Under autocast, the generator's rows have a lower precision than the data.
    between = mixtures(real.detach(), fake.detach().to(real.dtype), generator)
    excess = slopes(critic, between) - 1
    if one_sided:
        excess = excess.clamp(min=0)
    return mean_over_rows(excess.square(), weights)


def _check_pairs(real: Tensor, fake: Tensor) -> None:
    if real.dim() < 2:
        raise ShapeError("real", "rows (n, *row)", tuple(real.shape))
    if real.shape != fake.shape:
        expected = f"the shape of real, {tuple(real.shape)}"
        raise ShapeError("fake", expected, tuple(fake.shape))


def mixtures(real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return ``a x + (1 - a) y`` for each pair of rows, with one uniform ``a`` for each pair."""
    a = uniform((len(real), *[1] * (real.dim() - 1)), real, generator)
    return torch.lerp(fake, real, a)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def slopes(critic: nn.Module, x: Tensor) -> Tensor:
    """Return the norm of the critic's gradient at each row ``x (n, *row)``, ``(n,)``.

    The norm can be differentiated by the critic's parameters. Compiled graphs do not support second
    derivatives, so this function is excluded from compilation.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(critic.weight, 3.0)
        >>> slopes(critic, torch.zeros(1, 2)).detach()
        tensor([4.2426])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # Scores of rows are independent, so the gradient of the sum has the gradient of each row.
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def clip_weights_(module: nn.Module, bound: float) -> None:
    """Clamp every parameter of a module to ``[-bound, bound]``, in place.

    Reference: Arjovsky, Chintala and Bottou, *Wasserstein GAN*, 2017, algorithm 1.

    Example:
        >>> critic = nn.Linear(3, 1)
        >>> clip_weights_(critic, 0.01)
        >>> bool(critic.weight.abs().max() <= 0.01)
        True
    """
    check_positive("bound", bound)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-bound, bound)


def spectral_norm_(module: nn.Module) -> nn.Module:
    """Divide the weights of linear layers and convolutions by their largest singular values.

    Each pass in training performs one step of power iteration, so the singular value of averaged
    weights is inexact by a few percent. Returns the module.

    Reference: Miyato, Kataoka, Koyama and Yoshida, *Spectral normalization for generative
    adversarial networks*, 2018.

    Example:
        >>> critic = spectral_norm_(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
        >>> _ = [critic(torch.zeros(1, 4)) for _ in range(50)]
        >>> round(torch.linalg.matrix_norm(critic[0].weight, 2).item(), 3)
        1.0
    """
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *transposed)
    for part in [part for part in module.modules() if isinstance(part, kinds)]:
        nn.utils.parametrizations.spectral_norm(part)
    return module


def scores_of(critic: nn.Module, rows: Tensor) -> Tensor:
    """Return the critic's scores of rows, ``(n,)``, in float32 or better.

    The bfloat16 scores of autocast have too few digits for a mean.
    """
    return at_least_float32(critic(rows).reshape(-1))


def check_scores(critic: nn.Module, rows: Tensor, unit: str) -> None:
    """Raise unless a critic maps rows ``(n, *row)`` to one score for each row.

    Args:
        critic: the critic.
        rows: inputs of the critic.
        unit: name of an input in the error.
    """
    try:
        scores = critic(rows)
    except (ArgumentError, RuntimeError, ValueError) as error:
        expected = f"a module that accepts {unit}s of shape {tuple(rows.shape[1:])}"
        raise ShapeError("critic", expected, error) from error
    n = len(rows)
    if scores.shape not in ((n,), (n, 1)):
        expected = f"a score for each {unit}, ({n},) or ({n}, 1)"
        raise ShapeError("critic", expected, tuple(scores.shape))


class CriticEstimate(NamedTuple):
    """A critic's estimate of the distance between two distributions.

    Attributes:
        difference: mean score of real rows minus mean score of fake rows. The unit is the critic's
            slope, which is unknown with clipping, and near 1 with a penalty.
        slope: the largest slope at points between real and fake rows.
    """

    difference: float
    slope: float

    @property
    def distance(self) -> float:
        """``difference / slope``: at most Wasserstein-1 if ``slope`` is the critic's maximum."""
        return self.difference / self.slope if self.slope > 0 else 0.0


def critic_estimate(
    critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> CriticEstimate:
    """Estimate a distance between real and fake rows ``(n, *row)`` from a critic's scores.

    By Kantorovich-Rubinstein duality, the mean difference of a function with slopes of at most 1 is
    at most the Wasserstein-1 distance.

    Raises:
        ShapeError: real and fake rows of different shapes.

    Example:
        >>> critic = nn.Linear(1, 1)
        >>> estimate = critic_estimate(critic, torch.full((4, 1), 3.0), torch.zeros(4, 1))
        >>> round(abs(estimate.distance), 4)
        3.0
    """
    _check_pairs(real, fake)
    with torch.no_grad():
        difference = scores_of(critic, real).mean() - scores_of(critic, fake).mean()
    steepest = slopes(critic, mixtures(real, fake, generator)).max()
    return CriticEstimate(difference.item(), steepest.item())
