"""Flow-GAN: a flow as generator, whose likelihood is exact beside what a critic says."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowkit.errors import ArgumentError
from flowkit.gan.model import WGAN
from flowkit.training import Batch, negative_log_likelihood


class FlowGAN(WGAN):
    """A flow that is trained against a critic, by its likelihood, or by both.

    The generator's loss is ``adversarial_weight * (-f(y)) + likelihood_weight * (-log p(x))``. The
    history has the exact negative log-likelihood of each batch, in nats, whatever its weight is,
    beside the critic's terms. Without a weight it only looks on: where rows have no density at all,
    it is the largest number there is.

    Args:
        generator: a flow, or anything with ``sample`` and ``log_prob``.
        critic: as of `WGAN`.
        likelihood_weight: 0 for an adversary alone.
        adversarial_weight: 0 for likelihood alone; the critic then only looks on.
        options: ``penalty``, ``one_sided``, ``clip`` and ``critic_steps``, as of `WGAN`.

    Held-out rows are scored by their negative log-likelihood where it has a weight, else by their
    energy distance from samples.

    Raises:
        ArgumentError: a generator without density, weights that are negative or both zero.

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

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        likelihood_weight: float = 1.0,
        *,
        adversarial_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(generator, critic, **options)
        if not hasattr(generator, "log_prob"):
            expected = "one with a density, such as a flow"
            raise ArgumentError("generator", expected, type(generator).__name__)
        weights = {"likelihood_weight": likelihood_weight, "adversarial_weight": adversarial_weight}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ArgumentError(name, "a finite number of at least 0", weight)
        if not any(weights.values()):
            raise ArgumentError("likelihood_weight", "above 0 where the adversary has none", 0)
        self.likelihood_weight, self.adversarial_weight = likelihood_weight, adversarial_weight

    def extra_repr(self) -> str:
        """Return what decides on the game, beside its parts."""
        weights = f"{self.likelihood_weight}, adversarial_weight={self.adversarial_weight}"
        return f"{super().extra_repr()}, likelihood_weight={weights}"

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of rows, ``(n,)``."""
        found: Tensor = self.generator.log_prob(x)  # type: ignore[operator]
        return found

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return both terms: the value of each as it is, its gradient by its weight."""
        found = {"adversarial": torch.zeros((), device=batch.x.device)}
        if self.adversarial_weight:
            adversarial = super().generator_loss(batch, generator)["adversarial"]
            found["adversarial"] = _weighed(adversarial, self.adversarial_weight)
        with torch.set_grad_enabled(self.likelihood_weight > 0):
            nats = negative_log_likelihood(self.generator, batch)
        if self.likelihood_weight:
            found["negative_log_likelihood"] = _weighed(nats, self.likelihood_weight)
        else:
            worst = torch.finfo(nats.dtype).max
            found["negative_log_likelihood"] = nats.nan_to_num(worst, worst)
        return found

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return what the generator is best judged by, see above."""
        if self.likelihood_weight:
            return {"negative_log_likelihood": negative_log_likelihood(self.generator, batch)}
        return super().validation_loss(batch, generator)


def _weighed(value: Tensor, weight: float) -> Tensor:
    """Return a value whose gradient counts ``weight`` times."""
    if weight == 1:
        return value
    return value.detach() + weight * (value - value.detach())
