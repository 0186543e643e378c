"""Binary vectors with conditional distributions from a MADE."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkit._checks import check_type
from flowkit._training_mode import needs_plain_torch
from flowkit.distributions.standard import Base
from flowkit.errors import ArgumentError
from flowkit.nets import MADE
from flowkit.nets.incremental import parameters_sweep


class BinaryMADE(Base):
    """Binary vectors: each bit is Bernoulli, and a MADE computes its logit from preceding bits.

    Args:
        made: a MADE with one output per feature.

    Raises:
        ArgumentError: ``made`` is not a MADE, or has several outputs per feature.

    ``log_prob`` costs one pass of the MADE, ``sample`` about one and a half. Samples carry no
    gradients. Values other than 0 and 1 have probability 0.

    Reference: Germain, Gregor, Murray and Larochelle, *MADE*, 2015, equation 3.

    Example:
        >>> d = BinaryMADE(MADE(3))
        >>> d.sample((2,)).shape
        torch.Size([2, 3])
    """

    has_rsample = False

    def __init__(self, made: MADE) -> None:
        check_type("made", made, MADE, "a MADE")
        if made.outputs_per_feature != 1:
            raise ArgumentError("made", "one output per feature", made.outputs_per_feature)
        super().__init__(made.features, context_features=made.context_features)
        self.made = made

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-probability of ``z``, zeros and ones ``(*batch, D)``, as ``(*batch,)``."""
        self.check_input("z", z, context)
        logits = self.made(z, context).squeeze(-1)
        log_prob = F.logsigmoid(torch.where(z == 0, -logits, logits))
        possible = (z == 0) | (z == 1) | z.isnan()
        return torch.where(possible, log_prob, -torch.inf).sum(-1)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw zeros and ones as floats, ``(*sample_shape, *context_batch, D)``, bit after bit."""
        shape, context = self._flat(sample_shape, context)
        u = self._noise("uniform", (*shape, *self.event_shape), generator)
        u = u.reshape(-1, self.made.features)
        if needs_plain_torch():
            return self._by_passes(u, context).reshape(*shape, *self.event_shape)
        order = torch.tensor(self.made.order, device=u.device)
        bits = torch.zeros_like(u.t(), memory_format=torch.contiguous_format)  # (D, batch)
        sweep = parameters_sweep(self.made, bits, context)
        for k, threshold in enumerate(u.t()[order].unbind()):
            bits[k] = threshold < torch.sigmoid(sweep.advance(k)[0])
        return bits[order.argsort()].t().reshape(*shape, *self.event_shape)

    def _by_passes(self, u: Tensor, context: Tensor | None) -> Tensor:
        """Draw bits from uniform numbers ``(n, D)``, with one pass of the network per feature."""
        bits = torch.zeros_like(u)
        for _ in range(self.made.features):  # each pass fixes one more bit, in the MADE's order
            bits = (u < torch.sigmoid(self.made(bits, context).squeeze(-1))).to(u.dtype)
        return bits
