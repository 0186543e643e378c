"""Hierarchies of latents: the variational ladder autoencoder, and a hierarchical autoencoder.

The prior of a ladder is flat. The more layers of the networks lie between a group of latents and
the data, the more abstract the group is.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from flowkit._checks import check_count, check_row, check_widths
from flowkit._noise import normal
from flowkit.distributions import ConditionalNormal, Likelihood, likelihood_named
from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.nets import MLP
from flowkit.nets.convnet import check_image
from flowkit.training import Batch, Step, mean_over_rows
from flowkit.vae.model import VAE
from flowkit.vae.networks import Flat


class LadderEncoder(nn.Module):
    """Stacked levels; each level yields the posterior's parameters of one group of latents.

    Args:
        levels: modules, the one next to the data first; each returns ``(n, *shape)``.
        heads: for each level, a module from the flattened output to means and log-scales.

    Reference: Zhao, Song and Ermon, *Learning hierarchical features from generative models*, 2017,
    equations 10 and 11.
    """

    def __init__(self, levels: Sequence[nn.Module], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.levels, self.heads = nn.ModuleList(levels), nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows to means of all groups and, behind them, log-scales, ``(n, 2 latents)``."""
        h, parts = x, []
        for level, head in zip(self.levels, self.heads, strict=True):
            h = level(h)
            parts.append(head(h.flatten(1)).chunk(2, dim=-1))
        return torch.cat([torch.cat(part, -1) for part in zip(*parts, strict=True)], -1)


class LadderDecoder(nn.Module):
    """Stacked levels from the top down, each with one group of latents as additional input.

    ``u_L = f_L(z_L)`` and ``u_l = f_l(u_{l+1} + gate_l v_l(z_l))``. Gates have one entry for each
    scalar of u, with initial value 0.1.

    Args:
        groups: sizes of the groups, the group next to the data first.
        inject: modules v of the groups, in the same order, with flat outputs.
        levels: modules f of the levels, in the same order.
        shapes: shapes of u of the levels, in the same order.

    Reference: Zhao, Song and Ermon, 2017, equations 8 and 9.
    """

    def __init__(
        self,
        groups: Sequence[int],
        inject: Sequence[nn.Module],
        levels: Sequence[nn.Module],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.groups, self.shapes = list(groups), list(shapes)
        self.inject, self.levels = nn.ModuleList(inject), nn.ModuleList(levels)
        gates = [torch.full(shape, 0.1) for shape in shapes[:-1]]
        self.gates = nn.ParameterList([*gates, torch.ones(shapes[-1])])

    def forward(self, z: Tensor) -> Tensor:
        """Map latents of all groups ``(n, latents)`` to the flat output of the lowest level."""
        u: Tensor | float = 0.0
        parts = z.split(self.groups, dim=-1)
        steps = zip(parts, self.inject, self.levels, self.gates, self.shapes, strict=True)
        for part, inject, level, gate, shape in reversed(list(steps)):
            u = level(u + gate * inject(part).reshape(-1, *shape))
        assert isinstance(u, Tensor)  # noqa: S101  for the type checker: there is a level
        return u.flatten(1)


class LadderVAE(VAE):
    """The variational *ladder* autoencoder: flat prior, one group of latents for each depth.

    A group near the data passes through few layers of either network, and represents simple
    features. A group far from the data represents abstract features.

    Args:
        row: shape of a row; (channels, height, width) of an image if ``channels`` are given.
        groups: number of latents of each ladder, the ladder next to the data first.
        channels: channels of convolutions (4 x 4, stride 2), which are the first levels; none
            unless rows are images.
        hidden: widths of the other levels. Channels and hidden have together one entry per group.
        likelihood: a `Likelihood`, or its name.

    Train with a warm-up, ``terms=[kl(warm_up=...)]``; otherwise the posterior of a ladder may
    collapse to the prior. The KL of each ladder is reported as ``kl_1``, ``kl_2``, ...

    Raises:
        ArgumentError: the number of levels is not the number of groups, or an image side is odd.

    Reference: Zhao, Song and Ermon, *Learning hierarchical features from generative models*, 2017.

    Example:
        >>> ladder = LadderVAE((8,), groups=(2, 1), hidden=(16, 16))
        >>> ladder.vary(1, torch.zeros(1, 3), torch.tensor([[-1.0], [1.0]])).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        row: Sequence[int],
        groups: Sequence[int] = (2, 2, 2),
        *,
        channels: Sequence[int] = (),
        hidden: Sequence[int] = (512, 512, 512),
        likelihood: str | Likelihood = "bernoulli",
    ) -> None:
        sizes = check_widths("groups", groups)
        if len(channels) + len(hidden) != len(sizes):
            expected = f"{len(sizes)} levels in channels and hidden together, one for each group"
            raise ArgumentError("hidden", expected, len(channels) + len(hidden))
        likelihood = likelihood_named(likelihood)
        row = check_row(row)
        outputs = likelihood.outputs
        encoder, decoder = _ladders(row, sizes, tuple(channels), tuple(hidden), outputs)
        latents = sum(sizes)
        q = ConditionalNormal(latents, context_features=2 * latents, hidden=None)
        super().__init__(encoder, decoder, q, likelihood=likelihood, groups=sizes, row=row)

    def ladder(self, group: int) -> slice:
        """Return the slice of a ladder's latents; ladders are counted from the data on, from 0."""
        if not 0 <= group < len(self.groups):
            raise ArgumentError("group", f"from 0 to {len(self.groups) - 1}", group)
        start = sum(self.groups[:group])
        return slice(start, start + self.groups[group])

    @torch.no_grad()
    def vary(self, group: int, z: Tensor, values: Tensor) -> Tensor:
        """Return mean rows for given values of one ladder; other latents are those of ``z``.

        Args:
            group: the ladder, counted from the data on, from 0.
            z: latents ``(latents,)``, or a tensor that broadcasts with ``(n, latents)``.
            values: latents of the ladder, ``(n, size)``.
        """
        where = self.ladder(group)
        if values.dim() != 2 or values.shape[1] != where.stop - where.start:
            expected = f"(n, {where.stop - where.start})"
            raise ShapeError("values", expected, tuple(values.shape))
        latents = z.expand(len(values), self.latents).clone()
        latents[:, where] = values
        return self.likelihood.mean(self.decode(latents))


def _ladders(
    row: tuple[int, ...],
    groups: tuple[int, ...],
    channels: tuple[int, ...],
    hidden: tuple[int, ...],
    outputs: int,
) -> tuple[LadderEncoder, LadderDecoder]:
    """Return both ladders: convolutions first, then linear levels."""
    shapes: list[tuple[int, ...]] = []
    if channels:
        _, height, width = check_image(row, len(channels))
        shapes = [(c, height >> i, width >> i) for i, c in enumerate(channels, start=1)]
    shapes += [(width,) for width in hidden]
    relu, levels, falls = nn.ReLU(), [], []
    for level, (outer, inner) in enumerate(pairwise((row, *shapes))):
        decoded = outer if level else (outer[0] * outputs, *outer[1:])
        down: nn.Module
        up: nn.Module
        if level < len(channels):
            convolution = nn.Conv2d(outer[0], inner[0], 4, 2, 1)
            down = nn.Sequential(nn.Flatten(), nn.Unflatten(1, outer), convolution)
            up = nn.ConvTranspose2d(inner[0], decoded[0], 4, 2, 1)
        else:
            down = Flat(nn.Linear(math.prod(outer), math.prod(inner)))
            up = Flat(nn.Linear(math.prod(inner), math.prod(decoded)))
            up = nn.Sequential(up, nn.Unflatten(1, decoded))
        levels.append(nn.Sequential(down, relu))
        # The sum of the upper level and the injected latents is the input of f.
        falls.append(nn.Sequential(relu, up))
    heads = [nn.Linear(math.prod(s), 2 * g) for s, g in zip(shapes, groups, strict=True)]
    inject = [nn.Linear(g, math.prod(s)) for s, g in zip(shapes, groups, strict=True)]
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return LadderEncoder(levels, heads), LadderDecoder(groups, inject, falls, shapes)


class Chained(NamedTuple):
    """Latents of a hierarchy, and the terms of the bound.

    Attributes:
        layers: latents, the layer next to the data first, ``(samples, n, size)`` each.
        log_likelihood: ``log p(x | z_1)``, ``(samples, n)``.
        divergences: ``log q(z_l | z_{l-1}) - log p(z_l | z_{l+1})`` of each layer,
            ``(samples, n)``.
    """

    layers: list[Tensor]
    log_likelihood: Tensor
    divergences: list[Tensor]


class HierarchicalVAE(nn.Module):
    """A chain of latents, ``p(z_L) ... p(z_1 | z_2) p(x | z_1)``, inferred from the data up.

    The model is a baseline for `LadderVAE`: at the optimum, ``p(x | z_1)`` and ``q(z_1 | x)``
    determine the distribution of the data, and the layers above are redundant.

    Args:
        row: shape of a row.
        sizes: number of latents of each layer, the layer next to the data first.
        hidden: widths of the network of each conditional distribution.
        likelihood: a `Likelihood`, or its name.

    Reference: Zhao, Song and Ermon, *Learning hierarchical features from generative models*, 2017,
    section 3.

    Example:
        >>> from flowkit.training import fit
        >>> model = HierarchicalVAE((8,), sizes=(3, 2), hidden=(16,))
        >>> history = fit(model, torch.rand(64, 8).round(), steps=3)
        >>> list(history.terms["vae"])
        ['reconstruction', 'kl_1', 'kl_2']
    """

    def __init__(
        self,
        row: Sequence[int],
        sizes: Sequence[int] = (16, 8),
        *,
        hidden: Sequence[int] = (512,),
        likelihood: str | Likelihood = "bernoulli",
    ) -> None:
        super().__init__()
        self.sizes = check_widths("sizes", sizes)
        self.likelihood = likelihood_named(likelihood)
        self.row = check_row(row)
        width = math.prod(self.row)
        self.decoder = Flat(MLP(self.sizes[0], width * self.likelihood.outputs, hidden))
        self.encoder = nn.ModuleList(
            ConditionalNormal(b, context_features=a, hidden=hidden)
            for a, b in pairwise((width, *self.sizes))
        )
        self.prior = nn.ModuleList(
            ConditionalNormal(b, context_features=a, hidden=hidden) for b, a in pairwise(self.sizes)
        )

    def draw(
        self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Chained:
        """Draw latents for rows ``x (n, *row)``, from the data up, with the terms of the bound."""
        check_count("samples", samples)
        below = self.likelihood.features(x).flatten(1).expand(samples, len(x), -1)
        layers, log_q = [], []
        for conditional in _conditionals(self.encoder):
            z = conditional.sample((), below, generator)
            log_q.append(conditional.log_prob(z, below))
            layers.append(z)
            below = z
        log_p = [
            conditional.log_prob(z, above)
            for conditional, (z, above) in zip(
                _conditionals(self.prior), pairwise(layers), strict=True
            )
        ]
        log_p.append(-0.5 * (layers[-1].square() + math.log(2 * math.pi)).sum(-1))
        params = self._decode(layers[0])
        log_likelihood = self.likelihood.log_prob(x, params).flatten(2).sum(-1)
        return Chained(layers, log_likelihood, [q - p for q, p in zip(log_q, log_p, strict=True)])

    def log_weights(
        self, x: Tensor, samples: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return ``log p(x, z) - log q(z | x)`` of fresh latents, ``(samples, n)``."""
        drawn = self.draw(x, samples, generator)
        return drawn.log_likelihood - torch.stack(drawn.divergences).sum(0)

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, layers: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return mean rows decoded from the given number of layers, inferred from ``x``."""
        if not 1 <= layers <= len(self.sizes):
            raise ArgumentError("layers", f"from 1 to {len(self.sizes)}", layers)
        z = self.draw(x, 1, generator).layers[layers - 1]
        for conditional in reversed(_conditionals(self.prior)[: layers - 1]):
            z = conditional.sample((), z, generator)
        return self.likelihood.mean(self._decode(z))[0]

    @torch.no_grad()
    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw rows ``(n, *row)``."""
        z = normal((1, n, self.sizes[-1]), next(self.parameters()), generator)
        for conditional in reversed(_conditionals(self.prior)):
            z = conditional.sample((), z, generator)
        return self.likelihood.sample(self._decode(z), generator)[0]

    @torch.no_grad()
    def gibbs(self, x: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """Return rows after ``steps`` Gibbs steps ``x -> z_1 -> x`` of the lowest layer.

        At the optimum the rows are draws of the data's distribution, for any layers above.
        """
        for _ in range(check_count("steps", steps)):
            z = self.draw(x, 1, generator).layers[0]
            x = self.likelihood.sample(self._decode(z), generator)[0]
        return x

    def training_steps(self) -> dict[str, Step]:
        """Return the training step of `flowkit.training.fit`: the negative ELBO, layer by layer."""

        def loss(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
            drawn = self.draw(self.likelihood.observe(batch.x, generator), 1, generator)
            terms = {"reconstruction": -mean_over_rows(drawn.log_likelihood, batch.weights)}
            for layer, divergence in enumerate(drawn.divergences, start=1):
                terms[f"kl_{layer}"] = mean_over_rows(divergence, batch.weights)
            return terms

        return {"vae": Step(self.parameters(), loss)}

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Return the negative ELBO of held-out rows."""
        log_f = self.log_weights(self.likelihood.observe(batch.x, generator), 1, generator)
        return {"negative_elbo": -mean_over_rows(log_f, batch.weights)}

    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless rows have the right shape and lie in the support of the likelihood."""
        if context is not None:
            expected = "None, because the encoder computes the context"
            raise ContextError("context", expected, "a tensor")
        if tuple(x.shape[1:]) != self.row:
            raise ShapeError("data", f"rows (n, *{self.row})", tuple(x.shape))
        self.likelihood.check(x)

    def _decode(self, z: Tensor) -> Tensor:
        """Return the likelihood's parameters of latents, ``(outputs, samples, n, *row)``."""
        out: Tensor = self.decoder(z.flatten(0, 1))
        return out.reshape(*z.shape[:2], self.likelihood.outputs, *self.row).movedim(2, 0)


def _conditionals(modules: nn.ModuleList) -> list[ConditionalNormal]:
    return cast(list[ConditionalNormal], [*modules])
