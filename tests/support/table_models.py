"""Table densities made of given members, so that tests need no fit."""

import numpy as np
import pandas as pd
import torch

from flowkit import FlowDensity
from flowkit.schema import Column, Schema
from flowkit.tabular.continuous import ContinuousDensity
from flowkit.tabular.continuous.fitted_member import FittedMember
from flowkit.tabular.continuous.members import FlowMember, MixtureMember, StudentMember
from flowkit.tabular.continuous.preprocessing import Marginals, Residuals, Standardiser
from flowkit.tabular.discrete import DiscreteBlock
from flowkit.tabular.model import TableModel


def covariance_of(d: int, seed: int = 0) -> np.ndarray:
    """Return a covariance of strongly dependent columns."""
    factor = np.random.default_rng(seed).normal(size=(d, d))
    return factor @ factor.T + 0.3 * np.eye(d)


def mixture(means, covariances, weights, circular=None) -> MixtureMember:
    """Return a Gaussian mixture with these parameters."""
    means = np.atleast_2d(means)
    k, d = means.shape
    member = MixtureMember(d, k, circular or [False] * d)
    member.log_weights.copy_(torch.tensor(np.log(weights)))
    member.means.copy_(torch.tensor(means))
    line = [j for j in range(d) if not member.circular[j]]
    member.factors.copy_(
        torch.linalg.cholesky(torch.tensor(np.asarray(covariances))[:, line][:, :, line])
    )
    return member


def three_components(d: int, seed: int = 0) -> MixtureMember:
    """Return a mixture of three dependent Gaussians."""
    rng = np.random.default_rng(seed)
    covariances = np.stack([covariance_of(d, seed + k) for k in range(3)])
    return mixture(rng.normal(scale=2, size=(3, d)), covariances, [0.5, 0.3, 0.2])


def student(d: int, loc: float = 0.0, scale: float = 1.0) -> StudentMember:
    """Return a Student t member of equal columns."""
    member = StudentMember(d, [False] * d)
    member.loc.fill_(loc)
    member.scale.fill_(scale)
    return member


def flow(d: int, context_features: int = 0, seed: int = 0, strength: float = 0.3) -> FlowMember:
    """Return an untrained flow whose columns depend on each other, bent."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        order = np.random.default_rng(seed).permutation(d).tolist()
        member = FlowMember(d, order, (24, 24), 3, context_features, False, [False] * d, True)
        member.start(np.random.default_rng(seed).normal(size=(300, d)), seed)
        with torch.no_grad():
            for parameter in member.parameters():
                parameter += strength * torch.randn(parameter.shape) / parameter.shape[-1] ** 0.5
    return member.double().eval()


def curved(d: int, seed: int = 0) -> Standardiser:
    """Return a map of skewed columns, each by itself."""
    rows = np.random.default_rng(seed).gumbel(size=(400, d)) * 2 + 1
    nowhere = np.zeros(d, dtype=bool)
    return Standardiser(Marginals.fit(rows, np.ones(400), nowhere, grids=False))


def continuous(*members, shares=None) -> ContinuousDensity:
    """Return a mixture of members, or of members with their maps."""
    pairs = [m if isinstance(m, tuple) else (m, None) for m in members]
    shares = np.full(len(pairs), 1 / len(pairs)) if shares is None else np.asarray(shares)
    fitted = [FittedMember(member, map_, type(member).__name__) for member, map_ in pairs]
    return ContinuousDensity(fitted, np.log(shares).tolist()).double().eval()


def density_of(schema: Schema, values: ContinuousDensity | None, block=None) -> FlowDensity:
    """Return a fitted estimator with these parts."""
    density = FlowDensity()
    density.model_ = TableModel(schema, block, values, {"seed": 0}, np.zeros(2))
    density.n_features_in_ = len(schema.columns)
    density.feature_names_in_ = np.asarray(schema.names, dtype=object)
    return density


def of_reals(*members, shares=None, names=None) -> FlowDensity:
    """Return the density of real columns "a", "b", ... under a mixture of members."""
    values = continuous(*members, shares=shares)
    d = values.fitted[0].member.features
    columns = tuple(Column(name, "real") for name in (names or "abcdefgh"[:d]))
    return density_of(Schema(columns, "pandas"), values)


def mixed_frame(n: int, seed: int = 0) -> pd.DataFrame:
    """Return a table of a category, an integer, holes, an atom and dependent reals."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["u", "v", "w"], n, p=[0.6, 0.3, 0.1])
    count = rng.poisson(3 + 2 * (kind == "v"))
    x = rng.normal(size=n) + np.where(kind == "u", -1, 2)
    y = 0.5 * x + 0.5 * rng.normal(size=n) + count / 3
    y[rng.random(n) < np.where(kind == "u", 0.1, 0.4)] = np.nan
    z = np.exp(0.5 * x + 0.3 * rng.normal(size=n))
    z[rng.random(n) < 0.15] = 0.0
    return pd.DataFrame({"kind": kind, "count": count, "x": x, "y": y, "z": z})


def mixed_density(*, with_flow: bool = False, n: int = 700) -> tuple[FlowDensity, pd.DataFrame]:
    """Return the density of a mixed table: a mixture, or an untrained flow, given the codes."""
    frame = mixed_frame(n)
    schema = Schema.infer(frame)
    encoded = schema.encode(frame)
    block = DiscreteBlock.fit(encoded.codes, schema.discrete, effort="fast")
    context = block.context(encoded.codes)
    nowhere, weights = np.zeros(3, dtype=bool), np.ones(n)
    marginals = Marginals.fit(encoded.values, weights, nowhere, grids=False)
    y = Standardiser(marginals).standardised(encoded.values, None)
    map_ = Standardiser(marginals, Residuals.fit(y, context, weights, nowhere))
    member = MixtureMember.fit(
        map_.standardised(encoded.values, context), weights, 4, nowhere, seed=0
    )
    broad = StudentMember.fit(encoded.values, weights, nowhere)
    members, shares = [(member, map_), (broad, None)], [0.98, 0.02]
    if with_flow:
        members.append((flow(3, context.shape[1]), map_))
        shares = [0.18, 0.02, 0.8]
    return density_of(schema, continuous(*members, shares=shares), block), frame
