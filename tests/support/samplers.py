"""Whatever draws and scores, with the signature of a flow: for `check_samples` to run over."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from flowkit.flows import Likelihood
from flowkit.schema import Encoded
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.model import TableModel
from flowkit.vae import SigmoidBeliefNetwork


class OfMember:
    """A member of a table at one pattern of present entries."""

    def __init__(self, member: nn.Module, present: Tensor) -> None:
        self.member, self.present = member, present

    def sample(self, shape, context, generator):
        batch = () if context is None else context.shape[:-1]
        full = (*shape, *batch)
        rows = self.present.expand(math.prod(full), -1)
        given = None if context is None else context.expand(*full, -1).flatten(0, -2)
        drawn = self.member.sample(rows, given, generator)
        return drawn.double().reshape(*full, -1)

    def log_prob(self, x, context):
        given = None if context is None else context.expand(*x.shape[:-1], -1).flatten(0, -2)
        return self.member.log_prob(x.flatten(0, -2), given).reshape(x.shape[:-1])


class OfBlock:
    """A discrete block."""

    def __init__(self, block: DiscreteBlock) -> None:
        self.block = block

    def sample(self, shape, context, generator):
        return torch.from_numpy(self.block.sample(math.prod(shape), generator)).double()

    def log_prob(self, x, context):
        codes, columns = x.long().numpy(), self.block.columns
        sizes = np.array([np.inf if c.kind == "integer" else c.size for c in columns])
        possible = ((codes >= 0) & (codes < sizes)).all(axis=1)
        scores = self.block.log_prob(np.where(possible[:, None], codes, 0))
        return torch.from_numpy(np.where(possible, scores, -np.inf))


class OfTable:
    """The rows of a table model: codes, and values that are NaN where absent."""

    def __init__(self, model: TableModel) -> None:
        self.model, self.n_codes = model, len(model.schema.discrete)
        self.groups = []
        for column in model.schema.columns:
            group = [i for i, d in enumerate(model.schema.discrete) if d.name == column.name]
            if column.name in model.schema.continuous:
                group.append(self.n_codes + model.schema.continuous.index(column.name))
            self.groups.append(group)
        circular = np.flatnonzero(model.schema.circular)
        self.periods = {self.n_codes + int(j): 2 * math.pi for j in circular}

    def sample(self, shape, context, generator):
        codes, values = self.model._draw(math.prod(shape), generator)
        return torch.from_numpy(np.concatenate([codes.astype(float), values], axis=1))

    def log_prob(self, x, context):
        codes, values = x[:, : self.n_codes].long().numpy(), x[:, self.n_codes :].numpy()
        possible = np.ones(len(x), dtype=bool)
        for j, column in enumerate(self.model.schema.discrete):
            if column.kind != "integer":
                possible &= (codes[:, j] >= 0) & (codes[:, j] < column.size)
            elif column.absent_if is not None:
                possible &= (codes[:, column.absent_if] == 0) | (codes[:, j] == 0)
        for j, flag in enumerate(self.model.schema.flag_of):
            here = np.ones(len(x), dtype=bool) if flag is None else codes[:, flag] == 0
            possible &= here == ~np.isnan(values[:, j])
        codes = np.where(possible[:, None], codes, codes[possible][:1])
        values = np.where(possible[:, None], values, values[possible][:1])
        encoded = Encoded(codes, values, np.zeros(values.shape), np.zeros(codes.shape))
        scores = np.where(possible, self.model.score_encoded(encoded), -np.inf)
        return torch.from_numpy(scores)


class OfLikelihood:
    """A likelihood at given parameters, ``(outputs, *event_shape)``."""

    def __init__(self, likelihood: Likelihood, params: Tensor) -> None:
        self.likelihood, self.params = likelihood, params

    def sample(self, shape, context, generator):
        params = self.params.unsqueeze(1).expand(-1, *shape, *self.params.shape[1:])
        return self.likelihood.sample(params, generator).detach()

    def log_prob(self, x, context):
        params = self.params.unsqueeze(1).expand(-1, *x.shape)
        return self.likelihood.log_prob(x, params).sum(-1)


class OfBeliefNetwork:
    """A belief network, its probability by the sum over all latents."""

    def __init__(self, net: SigmoidBeliefNetwork) -> None:
        self.net = net

    def sample(self, shape, context, generator):
        return self.net.sample(math.prod(shape), generator)

    def log_prob(self, x, context):
        units = sum(self.net.layers)
        bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)))
        layers = [part.unsqueeze(1) for part in bits.split(list(self.net.layers), dim=-1)]
        return self.net._log_joint(x, layers).logsumexp(0)


class OfVAE:
    """A VAE of few latents, its likelihood by quadrature over a grid of them."""

    def __init__(self, vae: nn.Module, event_shape, points: int = 401) -> None:
        self.vae, self.event_shape = vae, event_shape
        line = torch.linspace(-6, 6, points)
        grid = torch.cartesian_prod(*[line] * vae.latents).reshape(-1, 1, vae.latents)
        self.z, self.log_cell = grid, vae.latents * math.log(float(line[1] - line[0]))

    def sample(self, shape, context, generator):
        return self.vae.sample(math.prod(shape), generator).reshape(*shape, *self.event_shape)

    @torch.no_grad()
    def log_prob(self, x, context):
        params = self.vae.decode(self.z, self.event_shape)
        log_z = self.vae.prior.log_prob(self.z) + self.log_cell
        return summed_over_latents(self.vae.likelihood, x, params, log_z)


class OfHierarchy:
    """A chain of two layers of one latent each, its likelihood by quadrature over both."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        line = torch.linspace(-6, 6, 41)
        noise, above = torch.cartesian_prod(line, line).reshape(-1, 1, 2).split(1, dim=-1)
        with torch.no_grad():
            loc, log_scale = model.prior[0].parts(above)
        self.below = loc + log_scale.exp() * noise
        log_cell = 2 * math.log(float(line[1] - line[0]))
        self.log_p = log_cell - 0.5 * (noise**2 + above**2)[..., 0] - math.log(2 * math.pi)

    def sample(self, shape, context, generator):
        return self.model.sample(math.prod(shape), generator).reshape(*shape, *self.model.row)

    @torch.no_grad()
    def log_prob(self, x, context):
        params = self.model._decode(self.below)
        return summed_over_latents(self.model.likelihood, x, params, self.log_p)


def summed_over_latents(likelihood: Likelihood, x: Tensor, params: Tensor, log_z: Tensor):
    """Return ``log sum_z p(x | z) p(z)``, a few rows at a time, to stay in the cache."""
    parts = [
        (likelihood.log_prob(rows, params).flatten(2).sum(-1) + log_z).logsumexp(0)
        for rows in x.split(16)
    ]
    return torch.cat(parts)
