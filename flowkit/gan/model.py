"""Generative adversarial networks: a generator, a critic, and the game between them."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowkit._checks import (
    check_called,
    check_context,
    check_count,
    check_finite_rows,
    check_positive,
)
from flowkit._modes import evaluating
from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.gan.critics import (
    CriticEstimate,
    check_scores,
    clip_weights_,
    critic_estimate,
    gradient_penalty,
    scores_of,
)
from flowkit.gan.generators import generate
from flowkit.gan.losses import Game, game_name, game_named
from flowkit.gan.schedule import CriticSchedule
from flowkit.metrics.samples import energy_distance
from flowkit.training import Batch, Step, drawn_by_weight, mean_over_rows

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class GAN(nn.Module):
    """A generator that is trained until a critic cannot tell its rows from the data's.

    Args:
        generator: anything with ``sample(sample_shape, generator=...)`` whose rows carry a
            gradient: a `Generator`, or any flow.
        critic: maps rows ``(n, *row)`` to scores, ``(n,)`` or ``(n, 1)``.
        loss: a `Game`, or its name: "non_saturating", "least_squares", "hinge" or "wasserstein".
        critic_steps: steps of the critic for each of the generator's, or a `CriticSchedule`. Steps
            of the fit are those of the critic.
        penalty: weight of the `gradient_penalty`, 0 for none.
        one_sided: whether that leaves slopes below one alone.
        clip: bound that the critic's weights are clamped to before each of its steps, or None.

    The default optimiser is Adam with beta 0.5 and 0.9, and RMSProp for a clipped critic, whose
    loss changes too quickly for momentum. The default learning rate is 1e-4, and 5e-5 for that.
    Held-out rows are compared with samples by their energy distance.

    Raises:
        ArgumentError: numbers that make no sense, or both a penalty and a clip, or a part that is
            none of its kind.

    Warns:
        UserWarning: a critic with batch norm under a gradient penalty, whose slope at a row then
            depends on the others.

    Reference: Goodfellow et al., *Generative adversarial nets*, 2014.

    Example:
        >>> from flowkit.flows import nice
        >>> from flowkit.nets import MLP
        >>> from flowkit.training import fit
        >>> gan = GAN(nice(2), MLP(2, 1))
        >>> history = fit(gan, torch.randn(100, 2), steps=5)
        >>> sorted(history.terms)
        ['critic', 'generator']
        >>> gan.sample(7).shape
        torch.Size([7, 2])
    """

    adversarial_weight = 1.0  # of the critic's say in the generator's loss

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: str | Game = "non_saturating",
        *,
        critic_steps: int | CriticSchedule = 1,
        penalty: float = 0.0,
        one_sided: bool = False,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        if not hasattr(generator, "sample"):
            expected = "a flow, or a flowkit.gan.Generator around a network"
            raise ArgumentError("generator", expected, type(generator).__name__)
        check_called("critic", critic, "f(x)", 1)
        if getattr(generator, "context_features", 0):
            raise ContextError("generator", "one without context", type(generator).__name__)
        self.generator, self.critic = generator, critic
        self.game = game_named(loss)
        self.critic_steps = critic_steps
        if not isinstance(critic_steps, CriticSchedule):
            check_count("critic_steps", critic_steps)
        if penalty != 0:
            check_positive("penalty", penalty)
        if clip is not None:
            check_positive("clip", clip)
            if penalty:
                raise ArgumentError("clip", "None beside a gradient penalty", clip)
        self.penalty, self.one_sided, self.clip = float(penalty), one_sided, clip
        if penalty and any(isinstance(part, _BATCH_NORM) for part in critic.modules()):
            text = "critic: batch norm makes the slope at a row depend on the others; LayerNorm not"
            # Said of the line that makes the model, which may be one of a class below this.
            warnings.warn(text, UserWarning, stacklevel=2 + type(self).__mro__.index(GAN))

    def extra_repr(self) -> str:
        """Return what decides on the game, beside its parts."""
        return (
            f"loss={game_name(self.game)}, critic_steps={self.critic_steps}, "
            f"penalty={self.penalty}, one_sided={self.one_sided}, clip={self.clip}"
        )

    @property
    def default_learning_rate(self) -> float:
        """What `fit` takes unless it is told."""
        return 1e-4 if self.clip is None else 5e-5

    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(n, *row)``."""
        with torch.no_grad():
            return self._fakes(n, generator)

    def generate(self, z: Tensor) -> Tensor:
        """Return the rows that latents ``(n, latents)`` stand for.

        Raises:
            ShapeError: latents of another size.
        """
        return generate(self.generator, z)

    def estimate(self, x: Tensor, generator: torch.Generator | None = None) -> CriticEstimate:
        """Return what the critic makes of rows ``x (n, *row)`` and as many samples."""
        return critic_estimate(self.critic, x, self.sample(len(x), generator), generator)

    def training_steps(self, *, optimizer: Any = None) -> dict[str, Step]:
        """Return what `flowkit.training.fit` is to minimise: the critic's step, the generator's.

        A generator without parameters has none.

        Args:
            optimizer: makes either's from parameters and learning rate.
        """
        optimizer = optimizer or (adam if self.clip is None else _rms_prop)
        before: Callable[[int], object] | None = None
        if self.clip is not None:
            bound = self.clip

            def before(step: int) -> None:
                del step
                clip_weights_(self.critic, bound)

        critic = Step(self.critic.parameters(), self.critic_loss, 1, optimizer, before)
        moved = [p for p in self.generator.parameters() if p.requires_grad]
        if not moved:  # a critic by itself learns a distance from what does not move
            return {"critic": critic}
        return {
            "critic": critic,
            "generator": Step(moved, self.generator_loss, self.critic_steps, optimizer),
        }

    def critic_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the critic's terms; that of a Wasserstein critic is ``-(f(x) - f(y))``."""
        real, fake = batch.x, self.sample(len(batch.x), generator)
        loss = mean_over_rows(self.game.real(scores_of(self.critic, real)), batch.weights)
        found = {"critic": loss + self.game.fake(scores_of(self.critic, fake)).mean()}
        if self.penalty:
            found["gradient_penalty"] = self.penalty * gradient_penalty(
                self.critic,
                real,
                fake,
                generator,
                one_sided=self.one_sided,
                weights=batch.weights,
            )
        return found

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the generator's terms."""
        fake = self._fakes(len(batch.x), generator)
        return {"adversarial": self.game.generator(scores_of(self.critic, fake)).mean()}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the energy distance of held-out rows and as many samples."""
        x = drawn_by_weight(batch.x, batch.weights)
        if len(x) == 1:  # what is left of many; a distance is one of two rows at least
            x = x.expand(2, *x.shape[1:])
        distance = energy_distance(x, self.sample(len(x), generator))
        # Held-out rows come in parts, which count by their weight.
        share = 1.0 if batch.weights is None else batch.weights.mean()
        return {"energy_distance": share * distance}

    @torch.no_grad()
    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless generator, critic and rows fit one another.

        Raises:
            ArgumentError: the generator's rows carry no gradient, by which it would learn.
            DataError: a row is not finite; it is named.
            DtypeError: rows of integers.
            ShapeError: the generator's rows, or the critic's input or output, are others.
        """
        check_context(context, 0)
        if x.dim() < 2:
            raise ShapeError("data", "rows (n, *row)", tuple(x.shape))
        if not x.is_floating_point():
            raise DtypeError("data", "a floating-point dtype", x.dtype)
        check_finite_rows("data", x)
        with evaluating(self):
            fake, row = self._fakes(2, None), tuple(x.shape[1:])
            if tuple(fake.shape[1:]) != row:
                expected = f"one of rows {row}, as the data are"
                raise ShapeError("generator", expected, tuple(fake.shape[1:]))
            check_scores(self.critic, x[:2], "row")
            check_scores(self.critic, fake, "row")
            moves = any(p.requires_grad for p in self.generator.parameters())
            with torch.enable_grad():
                told = self._fakes(2, None).requires_grad
            if self.adversarial_weight and moves and not told:
                expected = "one whose rows carry a gradient"
                raise ArgumentError("generator", expected, type(self.generator).__name__)

    def _fakes(self, n: int, generator: torch.Generator | None) -> Tensor:
        rows: Tensor = self.generator.sample((n,), generator=generator)  # type: ignore[operator]
        return rows


class WGAN(GAN):
    """A GAN whose critic estimates a Wasserstein distance.

    Args:
        generator: as of `GAN`.
        critic: likewise; without batch norm, and without a sigmoid at the end.
        penalty: weight of the `gradient_penalty`; 10 unless the critic is clipped.
        one_sided: whether that leaves slopes below one alone.
        clip: instead, the bound of the critic's weights; the paper's is 0.01.
        critic_steps: for each of the generator's; by default 5, and for a clipped critic the
            paper's `CriticSchedule`, which begins with more.

    Reference: Arjovsky, Chintala and Bottou, *Wasserstein GAN*, 2017; Gulrajani et al., *Improved
    training of Wasserstein GANs*, 2017.

    Example:
        >>> from flowkit.nets import MLP
        >>> from flowkit.gan import Generator
        >>> gan = WGAN(Generator(nn.Linear(4, 2), 4), MLP(2, 1), clip=0.01)
        >>> gan.default_learning_rate, gan.critic_steps.first
        (5e-05, 25)
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        penalty: float | None = None,
        one_sided: bool = False,
        clip: float | None = None,
        critic_steps: int | CriticSchedule | None = None,
    ) -> None:
        if penalty is None:
            penalty = 10.0 if clip is None else 0.0
        if critic_steps is None:
            critic_steps = 5 if clip is None else CriticSchedule()
        super().__init__(
            generator,
            critic,
            "wasserstein",
            critic_steps=critic_steps,
            penalty=penalty,
            one_sided=one_sided,
            clip=clip,
        )


def adam(parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
    """Return an Adam of little momentum, for a game whose other side moves."""
    return torch.optim.Adam(parameters, learning_rate, betas=(0.5, 0.9), fused=True)


def _rms_prop(parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, learning_rate)
