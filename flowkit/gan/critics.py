"""What holds a critic to slopes of about one, and what its scores say of a distance."""

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
    """Return the mean of ``(slope - 1)²`` between rows and fakes, before any weight, ``()``.

    The slope is the norm, over all dimensions but the first, of the critic's gradient at
    ``a x + (1 - a) y``, with one ``a`` for each pair, uniform.

    Args:
        critic: maps rows ``(n, *row)`` to scores, ``(n,)`` or ``(n, 1)``.
        real: rows ``(n, *row)``.
        fake: as many.
        generator: of the mixing weights.
        one_sided: whether slopes below one cost nothing. Otherwise a critic that starts out with
            the wrong sign finds a hill on its way through zero; on a line it never gets over it.
        weights: of the real rows, ``(n,)``, with mean one.

    Raises:
        ShapeError: rows and fakes of other shapes, or no rows of features.

    Reference: Gulrajani et al., *Improved training of Wasserstein GANs*, 2017, equation 3; Petzka,
    Fischer and Lukovnikov, *On the regularization of Wasserstein GANs*, 2018, for one side.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(critic.weight, 3.0)  # slope 3 * sqrt(2)
        >>> round(gradient_penalty(critic, torch.zeros(5, 2), torch.ones(5, 2)).item(), 4)
        10.5147
    """
    _check_pairs(real, fake)
    # Under autocast a generator's rows have lost digits that the data still have.
    between = mixtures(real.detach(), fake.detach().to(real.dtype), generator)
    excess = slopes(critic, between) - 1
    if one_sided:
        excess = excess.clamp(min=0)
    return mean_over_rows(excess.square(), weights)


def _check_pairs(real: Tensor, fake: Tensor) -> None:
    if real.dim() < 2:
        raise ShapeError("real", "rows (n, *row)", tuple(real.shape))
    if real.shape != fake.shape:
        expected = f"rows shaped as the real ones, {tuple(real.shape)}"
        raise ShapeError("fake", expected, tuple(fake.shape))


def mixtures(real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return ``a x + (1 - a) y`` for each pair of rows, with a uniform a of its own."""
    a = uniform((len(real), *[1] * (real.dim() - 1)), real, generator)
    return torch.lerp(fake, real, a)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def slopes(critic: nn.Module, x: Tensor) -> Tensor:
    """Return the norm of the critic's gradient at each row ``x (n, *row)``, ``(n,)``.

    It can be differentiated once more, by the critic's parameters; compiled graphs cannot, so it
    is left out of them.

    Example:
        >>> critic = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(critic.weight, 3.0)
        >>> slopes(critic, torch.zeros(1, 2)).detach()
        tensor([4.2426])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        # Rows do not see one another, so the gradient of the sum is that of each.
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
    """Divide the weight of every linear layer and convolution in it by its largest singular value.

    It is estimated by a step of power iteration at each pass in training, so that of averaged
    weights is a few percent off. Returns the module.

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

    Autocast would leave them a bfloat16's three digits, and a mean of them no more.
    """
    return at_least_float32(critic(rows).reshape(-1))


def check_scores(critic: nn.Module, rows: Tensor, what: str) -> None:
    """Raise unless a critic takes rows ``(n, *row)`` and gives each a score.

    Args:
        critic: that is to be.
        rows: for it to see.
        what: each of them is, for the message.
    """
    try:
        scores = critic(rows)
    except (ArgumentError, RuntimeError, ValueError) as error:
        raise ShapeError("critic", f"one of {what}s {tuple(rows.shape[1:])}", error) from error
    n = len(rows)
    if scores.shape not in ((n,), (n, 1)):
        raise ShapeError("critic", f"a score for each {what}", f"{tuple(scores.shape)} for {n}")


class CriticEstimate(NamedTuple):
    """What a critic's scores say of two laws.

    Attributes:
        difference: mean score of rows less mean score of fakes. It is a distance in units of the
            critic's own slope, which clipping leaves unknown and a penalty only near one.
        slope: the largest slope seen between rows and fakes.
    """

    difference: float
    slope: float

    @property
    def distance(self) -> float:
        """``difference / slope``: of a critic that is nowhere steeper, at most Wasserstein-1."""
        return self.difference / self.slope if self.slope > 0 else 0.0


def critic_estimate(
    critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> CriticEstimate:
    """Return what a critic makes of rows ``(n, *row)`` and as many fakes.

    By the duality of Kantorovich and Rubinstein, no function of slope one at most tells two laws
    apart by more than their Wasserstein-1 distance.

    Raises:
        ShapeError: fakes of another shape or number.

    Example:
        >>> critic = nn.Linear(1, 1)
        >>> found = critic_estimate(critic, torch.full((4, 1), 3.0), torch.zeros(4, 1))
        >>> round(abs(found.distance), 4)
        3.0
    """
    _check_pairs(real, fake)
    with torch.no_grad():
        difference = scores_of(critic, real).mean() - scores_of(critic, fake).mean()
    steepest = slopes(critic, mixtures(real, fake, generator)).max()
    return CriticEstimate(difference.item(), steepest.item())
