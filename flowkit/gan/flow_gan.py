"""Flow-GAN: a flow as generator, trained by exact likelihood and against a critic."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.distributions import Distribution
from flowkit.errors import ArgumentError
from flowkit.gan.model import WGAN
from flowkit.training import Batch, negative_log_likelihood


class FlowGAN(WGAN):
    """A flow trained against a critic, by maximum likelihood, or by both.

    The generator's loss is ``adversarial_weight * (-f(y)) + likelihood_weight * (-log p(x))``. The
    history contains the exact negative log-likelihood of each batch in nats, for any weight. With
    weight 0, an infinite value is recorded as the largest finite number.

    Args:
        generator: a flow, or a module with ``sample`` and ``log_prob``.
        critic: as in `WGAN`.
        likelihood_weight: weight of the likelihood; 0 for the adversarial loss alone.
        adversarial_weight: weight of the critic's scores; 0 for likelihood alone, and then the
            critic is trained without effect on the generator.
        options: ``penalty``, ``one_sided``, ``clip`` and ``critic_steps``, as in `WGAN`.

    The validation loss is the negative log-likelihood; if ``likelihood_weight`` is 0, the loss is
    the energy distance between samples and held-out rows.

    Raises:
        ArgumentError: a generator without density, a negative weight, or two weights of 0.

    Reference: Grover, Dhar and Ermon, *Flow-GAN: combining maximum likelihood and adversarial
    learning in generative models*, 2018, equation 5.

    Example:
        >>> from flowkit.flows import nice
        >>> from flowkit.nets import MLP
        >>> from flowkit.training import fit
        >>> gan = FlowGAN(nice(2), MLP(2, 1), likelihood_weight=1.0)
        >>> history = fit(gan, torch.randn(100, 2), steps=5)
        >>> sorted(history.terms["generator"])
        ['adversarial', 'negative_log_likelihood']
    """

    generator: Distribution

    def __init__(
        self,
        generator: Distribution,
        critic: nn.Module,
        likelihood_weight: float = 1.0,
        *,
        adversarial_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(generator, critic, **options)
        if not hasattr(generator, "log_prob"):
            expected = "a generator with log_prob, such as a flow"
            raise ArgumentError("generator", expected, type(generator).__name__)
        weights = {"likelihood_weight": likelihood_weight, "adversarial_weight": adversarial_weight}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ArgumentError(name, "a finite number of at least 0", weight)
        if not any(weights.values()):
            raise ArgumentError("likelihood_weight", "above 0 if adversarial_weight is 0", 0)
        self.likelihood_weight, self.adversarial_weight = likelihood_weight, adversarial_weight

    def extra_repr(self) -> str:
        """Return the settings of the losses."""
        weights = f"{self.likelihood_weight}, adversarial_weight={self.adversarial_weight}"
        return f"{super().extra_repr()}, likelihood_weight={weights}"

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of rows, ``(n,)``."""
        return self.generator.log_prob(x)

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return both terms; weights multiply gradients, but not values."""
        terms = {"adversarial": torch.zeros((), device=batch.x.device)}
        if self.adversarial_weight:
            adversarial = super().generator_loss(batch, generator)["adversarial"]
            terms["adversarial"] = _weighed(adversarial, self.adversarial_weight)
        with torch.set_grad_enabled(self.likelihood_weight > 0):
            nats = negative_log_likelihood(self.generator, batch)
        if self.likelihood_weight:
            terms["negative_log_likelihood"] = _weighed(nats, self.likelihood_weight)
        else:
            worst = torch.finfo(nats.dtype).max
            terms["negative_log_likelihood"] = nats.nan_to_num(worst, worst)
        return terms

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative log-likelihood, or the energy distance if its weight is 0."""
        if self.likelihood_weight:
            return {"negative_log_likelihood": negative_log_likelihood(self.generator, batch)}
        return super().validation_loss(batch, generator)


def _weighed(value: Tensor, weight: float) -> Tensor:
    """Return a value with the gradient multiplied by ``weight``."""
    if weight == 1:
        return value
    return value.detach() + weight * (value - value.detach())
