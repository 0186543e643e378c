"""One of each base, for tests that run over all of them."""

import torch
from torch import nn
from zoo import perturb_

from flowkit.flows import (
    BoxUniform,
    DiagonalNormal,
    FullNormal,
    JointBase,
    MixtureOfFlows,
    NormalMixture,
    StandardLogistic,
    StandardNormal,
    StudentT,
    TorchBase,
    maf,
    nsf,
)

CONTEXT = torch.randn(3, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def moved(module: nn.Module, size: float = 0.2) -> nn.Module:
    perturb_(module.double(), size)
    return module.eval()


BASES = {
    "normal": lambda: StandardNormal(3),
    "logistic": lambda: StandardLogistic(2),
    "student": lambda: StudentT(2),
    "box": lambda: BoxUniform([0.0, -1.0], [1.0, 3.0]),
    "diagonal": lambda: DiagonalNormal(2),
    "full": lambda: FullNormal(4),
    "mixture": lambda: NormalMixture(3, 4),
    "mixture of flows": lambda: MixtureOfFlows([maf(2, hidden=(8,)), nsf(2, hidden=(8,))]),
    "mixture of one feature": lambda: MixtureOfFlows([DiagonalNormal(1), StandardLogistic(1)]),
    "joint": lambda: JointBase({(0, 3): FullNormal(2), 1: BoxUniform(-3, 3), 2: StudentT(1)}),
    "gumbel": lambda: TorchBase(
        torch.distributions.Gumbel, loc=torch.zeros(2), scale=torch.ones(2)
    ),
    "gamma": lambda: TorchBase(
        torch.distributions.Gamma, concentration=torch.tensor([0.7, 3.0]), rate=torch.ones(2)
    ),
    "laplace of three": lambda: TorchBase(
        torch.distributions.Laplace, loc=torch.arange(3.0), scale=torch.tensor([1.0, 2.0, 0.5])
    ),
    "full normal of torch": lambda: TorchBase(
        torch.distributions.MultivariateNormal,
        loc=torch.zeros(3),
        scale_tril=torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [-2.0, 1.0, 0.3]]),
    ),
}
