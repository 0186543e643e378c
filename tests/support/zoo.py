"""Every transform and every named flow, small, for the batteries to run over."""

import torch
from torch import Tensor, nn

from flowkit.flows import (
    Flow,
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
from flowkit.nets import MADE, MLP, ResNet
from flowkit.training import fit
from flowkit.transforms import (
    ActNorm,
    Affine,
    BatchNorm,
    Chain,
    Columns,
    Coupling,
    Elementwise,
    Gate,
    GaussianMixture,
    Householder,
    Identity,
    Inverse,
    LogisticMixture,
    LULinear,
    MaskedAutoregressive,
    Permutation,
    Planar,
    Radial,
    RandomPermutation,
    RationalQuadraticSpline,
    Reverse,
    Shift,
    Standardize,
    Sylvester,
    Transform,
    UnitTriangular,
    Univariate,
)

SPLINES = {
    "spline": RationalQuadraticSpline(bins=5, bound=3.0),
    "circular": RationalQuadraticSpline(bins=4, bound=3.0, tails="circular"),
    "free": RationalQuadraticSpline(bins=6, bound=2.0, limit=None),
}
UNIVARIATES: dict[str, Univariate] = {
    "shift": Shift(),
    "affine": Affine(),
    "unbounded_affine": Affine(bound=None),
    "gate": Gate(),
    **SPLINES,
}
MIXTURES: dict[str, Univariate] = {
    "logistic_mixture": LogisticMixture(4),
    "gaussian_mixture": GaussianMixture(4),
}
# What cannot, or should not, start as the identity.
NOT_IDENTITY = (
    "gate",
    "mixture",
    "planar",
    "radial",
    "householder",
    "sylvester",
    "standardize",
    "mog",
)
PER_FEATURE = RationalQuadraticSpline(
    bins=4, bound=(1.0, 2.0, 3.0, 4.0), tails=("linear", "circular", "linear", "linear")
)


def autoregressive(univariate: Univariate, context: int = 0, **options: object) -> Transform:
    net = MADE(4, univariate.parameters, (16, 16), context_features=context, **options)
    return MaskedAutoregressive(net, univariate)


def coupling(univariate: Univariate, context: int = 0, net: type[nn.Module] = MLP) -> Transform:
    mask = [True, False, False, True]
    conditioner = net(2, 2 * univariate.parameters, (16, 16), context_features=context)
    return Coupling(mask, conditioner, univariate)


def transforms(context: int) -> dict[str, Transform]:
    """Each transform, by name: the unconditional ones, or those that take a context."""
    zoo: dict[str, Transform] = {}
    for name, univariate in {**UNIVARIATES, **MIXTURES, "per_feature": PER_FEATURE}.items():
        zoo[f"autoregressive_{name}"] = autoregressive(univariate, context)
        if univariate is not PER_FEATURE:
            zoo[f"coupling_{name}"] = coupling(univariate, context)
        if not context:
            zoo[f"elementwise_{name}"] = Elementwise(4, univariate)
    zoo["autoregressive_residual"] = autoregressive(Affine(), context, residual=True)
    zoo["autoregressive_order"] = autoregressive(Affine(), context, order=(2, 0, 3, 1))
    zoo["coupling_residual"] = coupling(Affine(), context, ResNet)
    zoo["inverse"] = Inverse(autoregressive(Affine(), context))
    zoo["chain"] = Chain(
        autoregressive(SPLINES["spline"], context),
        LULinear(4),
        Reverse(4),
        Inverse(coupling(Affine(), context)),
    )
    zoo["planar"] = Planar(4, context_features=context)
    zoo["radial"] = Radial(4, context_features=context)
    zoo["sylvester"] = Sylvester(4, rank=3, context_features=context)
    zoo["unit_triangular"] = UnitTriangular(4, context_features=context)
    pair = MaskedAutoregressive(MADE(2, 2, (8,), context_features=context), Affine())
    zoo["columns"] = Columns({0: Identity(1), (3, 1): pair, 2: Elementwise(1, SPLINES["spline"])})
    if not context:
        zoo["householder"] = Householder(4)
        zoo["batch_norm"] = BatchNorm(4)
        zoo["act_norm"] = ActNorm(4)
        zoo["standardize"] = Standardize([1.0, 2.0, 3.0, 4.0], [1.0, 0.5, 2.0, 3.0])
        zoo["identity"] = Identity(4)
        zoo["permutation"] = Permutation([2, 0, 3, 1])
        zoo["reverse"] = Reverse(4)
        zoo["random_permutation"] = RandomPermutation(4)
        zoo["lu_linear"] = LULinear(4)
    return {name: transform.eval() for name, transform in zoo.items()}


NAMED = {
    "nice": nice,
    "real_nvp": real_nvp,
    "made": made,
    "maf": maf,
    "iaf": iaf,
    "nsf": nsf,
    "nsf_coupling": lambda features, **options: nsf(features, coupling=True, **options),
    "nsf_free": lambda features, **options: nsf(features, limit=None, **options),
    "made_mog": lambda features, **options: made_mog(features, components=3, **options),
    "maf_mog": lambda features, **options: maf_mog(features, layers=2, components=3, **options),
    "maf_batch_norm": lambda features, **options: maf(features, batch_norm=True, **options),
    "real_nvp_batch_norm": lambda features, **options: real_nvp(
        features, batch_norm=True, **options
    ),
    "planar": lambda features, context_features, **_: planar(
        features, context_features=context_features
    ),
    "radial": lambda features, context_features, **_: radial(
        features, context_features=context_features
    ),
}


def named_flow(name: str, features: int, context: int = 0, **options: object) -> Flow:
    torch.manual_seed(0)
    return NAMED[name](features, context_features=context, hidden=(16, 16), **options).eval()


def perturb_(module: nn.Module, size: float = 0.3) -> None:
    """Move all parameters away from where they start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))


def hard_points(n: int, features: int, dtype: torch.dtype) -> Tensor:
    """Draw rows from the middle and from the tails, some on the bounds and some at zero."""
    x = torch.randn(n, features, dtype=torch.float64)
    x[n // 2 :] *= 4
    special = torch.tensor([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    chosen = special[torch.randint(len(special), x.shape)]
    return torch.where(torch.rand(x.shape) < 0.1, chosen, x).to(dtype)


def two_clusters(n: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw rows that lie in two bent clusters, of about unit variance."""
    side = torch.sign(torch.rand(n, 1) - 0.4)
    x = 0.9 * side + 0.4 * torch.randn(n, features)
    x[:, 1:] += 0.3 * x[:, :1] ** 2
    return x.to(dtype)


def trained(flow: Flow, features: int, context: int = 0, steps: int = 200) -> Flow:
    dtype = next(flow.parameters()).dtype
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(1)
    x = two_clusters(2000, features, dtype)
    c = torch.cat([x[:, :1] + torch.randn(2000, 1), torch.randn(2000, context)], 1)[:, :context]
    torch.random.set_rng_state(generator_state)
    options = {"steps": steps, "batch_size": 200, "standardize": False}  # layers as they came
    fit(flow, x, context=c.to(dtype) if context else None, **options)
    return flow
