"""Invertible maps with exact log-determinants, and the univariate maps they are made of."""

from flowkit.transforms.autoregressive import MaskedAutoregressive
from flowkit.transforms.base import Chain, Identity, Inverse, Transform
from flowkit.transforms.columns import Columns
from flowkit.transforms.coupling import Coupling
from flowkit.transforms.elementwise import Elementwise, ElementwiseTransform
from flowkit.transforms.householder import Householder, Sylvester
from flowkit.transforms.linear import LULinear, UnitTriangular
from flowkit.transforms.mixture import GaussianMixture, LogisticMixture
from flowkit.transforms.normalization import ActNorm, BatchNorm, calibrate
from flowkit.transforms.permutation import Permutation, RandomPermutation, Reverse
from flowkit.transforms.planar import Planar, Radial
from flowkit.transforms.spline import RationalQuadraticSpline
from flowkit.transforms.standardize import Standardize
from flowkit.transforms.support import Circular, Interval, Log, Logit, Softplus
from flowkit.transforms.univariate import Affine, Gate, Shift, Univariate

__all__ = [
    "ActNorm",
    "Affine",
    "BatchNorm",
    "Chain",
    "Circular",
    "Columns",
    "Coupling",
    "Elementwise",
    "ElementwiseTransform",
    "Gate",
    "GaussianMixture",
    "Householder",
    "Identity",
    "Interval",
    "Inverse",
    "LULinear",
    "Log",
    "LogisticMixture",
    "Logit",
    "MaskedAutoregressive",
    "Permutation",
    "Planar",
    "Radial",
    "RandomPermutation",
    "RationalQuadraticSpline",
    "Reverse",
    "Shift",
    "Softplus",
    "Standardize",
    "Sylvester",
    "Transform",
    "UnitTriangular",
    "Univariate",
    "calibrate",
]
