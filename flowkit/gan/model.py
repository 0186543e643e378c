"""Generative adversarial networks: a generator and a critic with opposed losses."""

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
from flowkit._training_mode import evaluating
from flowkit.distributions import Distribution
from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.gan.critics import (
    CriticEstimate,
    check_scores,
    clip_weights_,
    critic_estimate,
    gradient_penalty,
    scores_of,
)
from flowkit.gan.generators import Generator, generate
from flowkit.gan.losses import Game, game_name, game_named
from flowkit.gan.schedule import CriticSchedule
from flowkit.metrics.samples import energy_distance
from flowkit.training import Batch, Step, drawn_by_weight, mean_over_rows

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class GAN(nn.Module):
    """A generator trained against a critic that distinguishes samples from data.

    Args:
        generator: a flow, a `Generator`, or a module with ``sample(sample_shape, generator=...)``
            whose rows carry gradients.
        critic: maps rows ``(n, *row)`` to scores, ``(n,)`` or ``(n, 1)``.
        loss: a `Game`, or its name: "non_saturating", "least_squares", "hinge" or "wasserstein".
        critic_steps: critic steps per generator step, or a `CriticSchedule`. Each step of the fit
            is one critic step.
        penalty: weight of the `gradient_penalty`, 0 for none.
        one_sided: penalise only gradient norms above 1.
        clip: bound to which the critic's weights are clamped before each critic step, or None.

    The default optimiser is Adam with betas 0.5 and 0.9 and learning rate 1e-4. With ``clip``, the
    default is RMSProp with learning rate 5e-5, because momentum is unstable there. The validation
    loss is the energy distance between samples and held-out rows.

    Raises:
        ArgumentError: a number out of range, both a penalty and a clip, or a part of the wrong
            type.

    Warns:
        UserWarning: a critic with batch norm and a gradient penalty: gradients at one row then
            depend on other rows.

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

    adversarial_weight = 1.0  # of the critic's scores in the generator's loss
    generator: Distribution | Generator

    def __init__(
        self,
        generator: Distribution | Generator,
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
            expected = "a flow, or a network wrapped in flowkit.gan.Generator"
            raise ArgumentError("generator", expected, type(generator).__name__)
        check_called("critic", critic, "f(x)", 1)
        if getattr(generator, "context_features", 0):
            name = type(generator).__name__
            raise ContextError("generator", "a generator without context", name)
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
                raise ArgumentError("clip", "None if penalty is positive", clip)
        self.penalty, self.one_sided, self.clip = float(penalty), one_sided, clip
        if penalty and any(isinstance(part, _BATCH_NORM) for part in critic.modules()):
            text = (
                "critic: with batch norm, the gradient at a row depends on other rows, and the "
                "gradient penalty is wrong. Use LayerNorm instead."
            )
            # The warning points to the line that makes the model, also if of a subclass.
            warnings.warn(text, UserWarning, stacklevel=2 + type(self).__mro__.index(GAN))

    def extra_repr(self) -> str:
        """Return the settings of the losses."""
        return (
            f"loss={game_name(self.game)}, critic_steps={self.critic_steps}, "
            f"penalty={self.penalty}, one_sided={self.one_sided}, clip={self.clip}"
        )

    @property
    def default_learning_rate(self) -> float:
        """The learning rate of `flowkit.training.fit` by default."""
        return 1e-4 if self.clip is None else 5e-5

    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(n, *row)``."""
        with torch.no_grad():
            return self._fakes(n, generator)

    def generate(self, z: Tensor) -> Tensor:
        """Return the rows generated from latents ``(n, latents)``.

        Raises:
            ShapeError: latents of another size.
        """
        return generate(self.generator, z)

    def estimate(self, x: Tensor, generator: torch.Generator | None = None) -> CriticEstimate:
        """Return the critic's estimate of the distance between rows ``x (n, *row)`` and samples."""
        return critic_estimate(self.critic, x, self.sample(len(x), generator), generator)

    def training_steps(self, *, optimizer: Any = None) -> dict[str, Step]:
        """Return the training steps of `flowkit.training.fit`: those of critic and generator.

        A generator without parameters has no step.

        Args:
            optimizer: makes the optimiser of a step from parameters and learning rate.
        """
        optimizer = optimizer or (adam if self.clip is None else _rms_prop)
        before: Callable[[int], object] | None = None
        if self.clip is not None:
            bound = self.clip

            def before(step: int) -> None:
                del step
                clip_weights_(self.critic, bound)

        critic = Step(self.critic.parameters(), self.critic_loss, 1, optimizer, before)
        trained = [p for p in self.generator.parameters() if p.requires_grad]
        if not trained:  # the critic alone estimates a distance to fixed samples
            return {"critic": critic}
        return {
            "critic": critic,
            "generator": Step(trained, self.generator_loss, self.critic_steps, optimizer),
        }

    def critic_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the critic's loss; for "wasserstein", ``-(f(x) - f(y))``."""
        real, fake = batch.x, self.sample(len(batch.x), generator)
        loss = mean_over_rows(self.game.real(scores_of(self.critic, real)), batch.weights)
        terms = {"critic": loss + self.game.fake(scores_of(self.critic, fake)).mean()}
        if self.penalty:
            terms["gradient_penalty"] = self.penalty * gradient_penalty(
                self.critic,
                real,
                fake,
                generator,
                one_sided=self.one_sided,
                weights=batch.weights,
            )
        return terms

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the generator's loss."""
        fake = self._fakes(len(batch.x), generator)
        return {"adversarial": self.game.generator(scores_of(self.critic, fake)).mean()}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the energy distance between held-out rows and as many samples."""
        x = drawn_by_weight(batch.x, batch.weights)
        if len(x) == 1:  # a last batch of one row; the distance needs at least two
            x = x.expand(2, *x.shape[1:])
        distance = energy_distance(x, self.sample(len(x), generator))
        # Batches of held-out rows count by their mean weight.
        share = 1.0 if batch.weights is None else batch.weights.mean()
        return {"energy_distance": share * distance}

    @torch.no_grad()
    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless generator, critic and rows have matching shapes.

        Raises:
            ArgumentError: the generator has parameters, but its rows carry no gradient.
            DataError: a value is not finite; the row is named.
            DtypeError: rows of integers.
            ShapeError: the generator's rows, or the critic's input or output, have another shape.
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
                expected = f"rows of the shape of the data, {row}"
                raise ShapeError("generator", expected, tuple(fake.shape[1:]))
            check_scores(self.critic, x[:2], "row")
            check_scores(self.critic, fake, "row")
            is_trained = any(p.requires_grad for p in self.generator.parameters())
            with torch.enable_grad():
                has_gradient = self._fakes(2, None).requires_grad
            if self.adversarial_weight and is_trained and not has_gradient:
                expected = "a generator whose rows carry gradients"
                raise ArgumentError("generator", expected, type(self.generator).__name__)

    def _fakes(self, n: int, rng: torch.Generator | None) -> Tensor:
        return self.generator.sample((n,), generator=rng)


class WGAN(GAN):
    """A GAN whose critic estimates a Wasserstein distance.

    Args:
        generator: as in `GAN`.
        critic: as in `GAN`; without batch norm, and without a sigmoid at the end.
        penalty: weight of the `gradient_penalty`; by default 10, or 0 with ``clip``.
        one_sided: penalise only gradient norms above 1.
        clip: bound of the critic's weights, instead of a penalty; 0.01 in the paper.
        critic_steps: critic steps per generator step; by default 5, or with ``clip`` the paper's
            `CriticSchedule`, with more critic steps at the start.

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
        generator: Distribution | Generator,
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
    """Return an Adam with little momentum, the usual optimiser of adversarial losses."""
    return torch.optim.Adam(parameters, learning_rate, betas=(0.5, 0.9), fused=True)


def _rms_prop(parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, learning_rate)
