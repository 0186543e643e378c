"""Member: the contract of one density among those that are mixed for the continuous columns."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.distributions import Flow


class Member(nn.Module, ABC):
    """A density of rows of which any entries may be absent.

    Promises:

    - ``log_prob(y, context)`` takes rows ``(n, d)``, NaN where absent, and returns ``(n,)``: the
      log-density of the present entries. The absent ones are integrated out; a row with none
      present has log-density 0.
    - Circular columns are angles within ± π, and their density is periodic.
    - ``sample(present, context, generator)`` returns rows ``(n, d)``, NaN exactly where not
      ``present``. All randomness comes from the generator.
    - ``config()`` returns the arguments of the constructor, ready for JSON. A member made from
      them, with the tensors of ``state_dict()``, is the same member.
    - A member without a use for the context ignores it.

    Attributes:
        kind: name of the class in model files.
        features: number of columns d.
        circular: which columns are angles, ``(d,)``.
    """

    kind: ClassVar[str]
    features: int
    circular: list[bool]

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, ready for JSON."""

    @abstractmethod
    def log_prob(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of the present entries of each row, ``(n,)``."""

    @abstractmethod
    def sample(self, present: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw rows ``(n, d)``, NaN where not ``present``."""


class FlowBasedMember(Member):
    """A member that is a flow, and is trained by gradient steps."""

    @abstractmethod
    def start(self, y: np.ndarray, seed: int) -> None:
        """Initialise the weights from standardised rows ``(n, d)``, NaN where absent."""

    @abstractmethod
    def forward(self, x: Tensor, present: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-density ``(n,)`` of entries ``x (n, d)``, 0 where not ``present``."""

    @abstractmethod
    def network_context(
        self, present: Tensor, context: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Return the context of the flow's networks, ``(n, c)``, or None."""

    @property
    @abstractmethod
    def flow(self) -> Flow | None:
        """The member as a `Flow`, sharing its tensors; None where it has circular columns."""


def von_mises(means: Tensor, concentrations: Tensor, generator: torch.Generator) -> Tensor:
    """Draw angles; means and concentrations broadcast, and so does the result."""
    # torch has no von Mises sampler that takes a generator.
    rng = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    shape = torch.broadcast_shapes(means.shape, concentrations.shape)
    return torch.from_numpy(rng.vonmises(means.numpy(), concentrations.numpy(), tuple(shape)))
