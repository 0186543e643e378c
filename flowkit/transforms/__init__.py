"""Invertible maps with exact log-determinants, and the univariate maps they are made of."""

from flowkit.transforms.autoregressive import MaskedAutoregressive
from flowkit.transforms.base import Chain, Identity, Inverse, Transform
from flowkit.transforms.coupling import Coupling
from flowkit.transforms.elementwise import Elementwise
from flowkit.transforms.linear import LULinear
from flowkit.transforms.permutation import Permutation, RandomPermutation, Reverse
from flowkit.transforms.spline import RationalQuadraticSpline
from flowkit.transforms.univariate import Affine, Shift, Univariate

__all__ = [
    "Affine",
    "Chain",
    "Coupling",
    "Elementwise",
    "Identity",
    "Inverse",
    "LULinear",
    "MaskedAutoregressive",
    "Permutation",
    "RandomPermutation",
    "RationalQuadraticSpline",
    "Reverse",
    "Shift",
    "Transform",
    "Univariate",
]
