"""Stacked members: flows of one architecture as one batched network."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowkit.nets.stacked import StackedMADE
from flowkit.tabular.continuous.members.base import FlowBasedMember
from flowkit.tabular.continuous.members.deep import DeepMember
from flowkit.tabular.continuous.members.flow import FlowMember
from flowkit.transforms import Affine, Chain, GaussianMixture, MaskedAutoregressive
from flowkit.transforms.conditioning import INPUT_LIMIT
from flowkit.transforms.mixture_density import mixture_log_density


class StackedMembers(nn.Module):
    """Flows of one architecture, one for each entry of a leading dimension; rows come last.

    It computes what the members' own ``forward`` does, for all of them at once: affine layers, if
    they are deep, and then the mixtures.

    Args:
        members: the flows, of one class and one set of options but for the order of the columns.
            Their weights are copied; `unstack` copies them back.
    """

    def __init__(self, members: Sequence[FlowBasedMember]) -> None:
        super().__init__()
        bases = [m.base if isinstance(m, DeepMember) else cast(FlowMember, m) for m in members]
        chains = [
            list(cast(Chain, m.transform).transforms) if isinstance(m, DeepMember) else []
            for m in members
        ]
        layers = [
            [cast(MaskedAutoregressive, layer) for layer in row]
            for row in zip(*chains, strict=True)
        ]
        self._base = (bases[0],)  # in a tuple, so that its weights are no part of this module
        self.affine = [cast(Affine, row[0].univariate) for row in layers]
        self.layers = nn.ModuleList(StackedMADE([layer.made for layer in row]) for row in layers)
        self.bound = cast(GaussianMixture, bases[0].layer.univariate).bound
        self.orders = [base.order for base in bases]
        self.last = StackedMADE([base.layer.made for base in bases])

    def forward(self, x: Tensor, present: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-densities ``(E, n)`` of entries ``x (E, d, n)``, 0 where not ``present``.

        ``context`` is ``(E, c, n)``.
        """
        base = self.base
        own = context if base.context_features else None
        log_density: Tensor | float = 0.0
        for made, affine in zip(self.layers, self.affine, strict=True):
            params = made(x.clamp(-INPUT_LIMIT, INPUT_LIMIT), own)
            x, log_derivative = affine(x, params.mT)
            log_density = log_density + log_derivative.sum(1)
        if base.flags:
            flags = (~present).to(x.dtype)
            own = flags if own is None else torch.cat([own, flags], 1)
        params = self.last(base.inputs(x.mT).mT.clamp(-INPUT_LIMIT, INPUT_LIMIT), own)
        if any(base.circular):
            params = params[:, : base.features].permute(0, 3, 1, 2)
            of_columns = base.column_log_density(x.mT, params).mT
        else:
            params = params.unflatten(2, (3, base.components))
            of_columns = mixture_log_density(x, params, self.bound)
        total: Tensor = log_density + torch.where(present, of_columns, 0.0).sum(1)
        return total

    @property
    def base(self) -> FlowMember:
        """The first member, or the base of the first if they are deep."""
        return self._base[0]

    def unstack(self) -> None:
        """Copy the weights back into the members."""
        for stack in (*self.layers, self.last):
            cast(StackedMADE, stack).unstack()
