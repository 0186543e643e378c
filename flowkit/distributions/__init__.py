"""Distributions: densities and probabilities that can be evaluated and drawn from."""

from flowkit.distributions.base import Distribution, TorchDistribution
from flowkit.distributions.binary import BinaryMADE
from flowkit.distributions.dequantized import Dequantized, dequantize
from flowkit.distributions.factorized import Factorized
from flowkit.distributions.flow import Flow
from flowkit.distributions.foreign import Foreign
from flowkit.distributions.gaussians import (
    ConditionalNormal,
    DiagonalNormal,
    FullNormal,
    NormalMixture,
)
from flowkit.distributions.joint import JointBase
from flowkit.distributions.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
    likelihood_named,
)
from flowkit.distributions.mixtures import MixtureOfFlows
from flowkit.distributions.pixels import PixelDistribution
from flowkit.distributions.standard import (
    Base,
    BoxUniform,
    StandardLogistic,
    StandardNormal,
    StudentT,
)
from flowkit.distributions.standardization import standardize
from flowkit.distributions.torch import TorchBase

__all__ = [
    "Base",
    "BernoulliLikelihood",
    "BinaryMADE",
    "BoxUniform",
    "CategoricalLikelihood",
    "ConditionalNormal",
    "ContinuousBernoulliLikelihood",
    "Dequantized",
    "DiagonalNormal",
    "DiscretizedLogisticLikelihood",
    "Distribution",
    "Factorized",
    "Flow",
    "Foreign",
    "FullNormal",
    "GaussianLikelihood",
    "JointBase",
    "Likelihood",
    "MixtureOfFlows",
    "NormalMixture",
    "PixelDistribution",
    "StandardLogistic",
    "StandardNormal",
    "StudentT",
    "TorchBase",
    "TorchDistribution",
    "dequantize",
    "likelihood_named",
    "standardize",
]
