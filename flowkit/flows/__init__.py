"""Flows: a transform and a base distribution; and the named architectures."""

from flowkit.flows.architectures import (
    binary_made,
    iaf,
    made,
    made_mog,
    maf,
    maf_mog,
    nice,
    nsf,
    planar,
    radial,
    real_nvp,
)
from flowkit.flows.bases import Base, BoxUniform, StandardLogistic, StandardNormal, StudentT
from flowkit.flows.binary import BinaryMADE
from flowkit.flows.dequantized import Dequantized, dequantize
from flowkit.flows.distribution import FlowDistribution
from flowkit.flows.flow import Flow
from flowkit.flows.foreign import Foreign
from flowkit.flows.gaussians import ConditionalNormal, DiagonalNormal, FullNormal, NormalMixture
from flowkit.flows.joint import JointBase, MixtureOfFlows, TorchBase
from flowkit.flows.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
    likelihood_named,
)
from flowkit.flows.pixels import PixelDistribution
from flowkit.flows.standardization import standardize

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
    "Flow",
    "FlowDistribution",
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
    "binary_made",
    "dequantize",
    "iaf",
    "likelihood_named",
    "made",
    "made_mog",
    "maf",
    "maf_mog",
    "nice",
    "nsf",
    "planar",
    "radial",
    "real_nvp",
    "standardize",
]
