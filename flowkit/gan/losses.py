"""Adversarial losses of critic and generator, as functions of a score s.

=================  ===================  ==================  ================
game               critic on real rows  critic on fakes     generator
=================  ===================  ==================  ================
`non_saturating`   softplus(-s)         softplus(s)         softplus(-s)
`least_squares`    (s - 1)² / 2         s² / 2              (s - 1)² / 2
`hinge`            relu(1 - s)          relu(1 + s)         -s
`wasserstein`      -s                   s                   -s
=================  ===================  ==================  ================

References: Goodfellow et al., *Generative adversarial nets*, 2014, section 3; Mao et al., *Least
squares generative adversarial networks*, 2017, equation 9; Lim and Ye, *Geometric GAN*, 2017;
Arjovsky, Chintala and Bottou, *Wasserstein GAN*, 2017, equations 2 and 3.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_choice

Scores: TypeAlias = Callable[[Tensor], Tensor]


class Game(NamedTuple):
    """Elementwise losses of scores; their means are minimised.

    Attributes:
        real: loss of the critic on rows of the data.
        fake: loss of the critic on rows of the generator.
        generator: loss of the generator.

    Example:
        >>> least_squares.real(torch.tensor([1.0, 3.0]))
        tensor([0., 2.])
    """

    real: Scores
    fake: Scores
    generator: Scores


def _flipped(s: Tensor) -> Tensor:
    return F.softplus(-s)


def _from_one(s: Tensor) -> Tensor:
    return 0.5 * (s - 1).square()


def _from_zero(s: Tensor) -> Tensor:
    return 0.5 * s.square()


def _below_margin(s: Tensor) -> Tensor:
    return torch.relu(1 - s)


def _above_margin(s: Tensor) -> Tensor:
    return torch.relu(1 + s)


def _plus(s: Tensor) -> Tensor:
    return s


non_saturating = Game(real=_flipped, fake=F.softplus, generator=_flipped)
least_squares = Game(real=_from_one, fake=_from_zero, generator=_from_one)
hinge = Game(real=_below_margin, fake=_above_margin, generator=torch.neg)
wasserstein = Game(real=torch.neg, fake=_plus, generator=torch.neg)

_NAMED = {
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
}


def game_named(game: str | Game) -> Game:
    """Return a game by name; a `Game` is returned unchanged.

    Raises:
        ArgumentError: the name is unknown.
    """
    if isinstance(game, Game):
        return game
    return _NAMED[check_choice("loss", game, tuple(_NAMED))]


def game_name(game: Game) -> str:
    """Return the name of a game; for an unknown game, the names of the three functions."""
    for name, known in _NAMED.items():
        if game is known:
            return name
    return "/".join(getattr(part, "__qualname__", repr(part)) for part in game)
