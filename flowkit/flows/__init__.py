"""Flows: a transform and a base distribution; and the named architectures."""

from flowkit.flows.architectures import iaf, made, maf, nice, nsf, real_nvp
from flowkit.flows.bases import Base, StandardLogistic, StandardNormal
from flowkit.flows.distribution import FlowDistribution
from flowkit.flows.flow import Flow

__all__ = [
    "Base",
    "Flow",
    "FlowDistribution",
    "StandardLogistic",
    "StandardNormal",
    "iaf",
    "made",
    "maf",
    "nice",
    "nsf",
    "real_nvp",
]
