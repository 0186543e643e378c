"""Members of the density of continuous columns: flows, mixtures, kernels and Student t."""

from flowkit.tabular.continuous.members.base import FlowBasedMember, Member
from flowkit.tabular.continuous.members.deep import DeepMember
from flowkit.tabular.continuous.members.flow import FlowMember
from flowkit.tabular.continuous.members.kernel import KernelMember
from flowkit.tabular.continuous.members.mixture import MixtureMember
from flowkit.tabular.continuous.members.stacked import StackedMembers
from flowkit.tabular.continuous.members.student import StudentMember

__all__ = [
    "DeepMember",
    "FlowBasedMember",
    "FlowMember",
    "KernelMember",
    "Member",
    "MixtureMember",
    "StackedMembers",
    "StudentMember",
]
