"""Trained flows of nflows and zuko, as flows of flowkit: the same densities, or refused by name."""

import copy
import subprocess
import sys
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo import perturb_

from flowkit.errors import ArgumentError
from flowkit.interop import from_nflows, from_zuko
from flowkit.interop.univariates import FlooredSpline, SoftclipSpline
from flowkit.testing import check_flow

nflows = pytest.importorskip("nflows.transforms", reason="the extra [nflows] is needed")
nflows_flows = pytest.importorskip("nflows.flows")
nflows_distributions = pytest.importorskip("nflows.distributions")
ResidualNet = pytest.importorskip("nflows.nn.nets").ResidualNet
zuko = pytest.importorskip("zuko", reason="zuko is needed")

MAF, NICE, NSF = zuko.flows.MAF, zuko.flows.NICE, zuko.flows.NSF
MaskedAutoregressiveTransform = zuko.flows.autoregressive.MaskedAutoregressiveTransform
UnconditionalTransform = zuko.lazy.UnconditionalTransform

D = 5  # features
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}

# ------------------------------------------------------------------ flows of nflows


def nflows_flow(*transforms, base=None, embedding=None):
    base = base or nflows_distributions.StandardNormal([D])
    return nflows_flows.Flow(nflows.CompositeTransform(transforms), base, embedding)


def standardising():
    return nflows.PointwiseAffineTransform(shift=torch.randn(D), scale=torch.rand(D) + 0.5)


def nflows_affine(context, **options):
    return nflows.MaskedAffineAutoregressiveTransform(D, 12, context or None, **options)


def nflows_spline(context, **options):
    options = {"num_bins": 6, "tails": "linear", "tail_bound": 3.0} | options
    return nflows.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        D, 12, context or None, **options
    )


def residual_net(context, **options):
    return lambda i, o: ResidualNet(i, o, 12, context or None, **options)


def alternating(i):
    return torch.tensor([1 if (i + j) % 2 else -1 for j in range(D)])


def nflows_coupling_spline(context, i=0, **options):
    options = {"num_bins": 6, "tails": "linear", "tail_bound": 3.0} | options
    return nflows.PiecewiseRationalQuadraticCouplingTransform(
        alternating(i), residual_net(context), **options
    )


def sbi_maf(context):
    plain = {"use_residual_blocks": False, "activation": torch.tanh}
    layers = [(nflows_affine(context, **plain), nflows.RandomPermutation(D)) for _ in range(3)]
    return nflows_flow(standardising(), *(part for pair in layers for part in pair))


def sbi_maf_rqs(context):
    plain = {"use_residual_blocks": False, "activation": torch.tanh}
    layers = [nflows_spline(context, **plain), nflows.RandomPermutation(D)]
    return nflows_flow(standardising(), *layers, nflows_spline(context, **plain))


def sbi_nsf(context):
    layers = [
        (nflows_coupling_spline(context, i), nflows.LULinear(D, identity_init=True))
        for i in range(3)
    ]
    return nflows_flow(standardising(), *(part for pair in layers for part in pair))


def nflows_real_nvp(context):
    layers = [
        kind(alternating(i), residual_net(context, activation=F.elu))
        for i, kind in enumerate(
            [nflows.AffineCouplingTransform, nflows.AdditiveCouplingTransform] * 2
        )
    ]
    return nflows_flow(*layers)


def nflows_residual_maf(context):
    layers = [nflows_affine(context, num_blocks=1), nflows.ReversePermutation(D)]
    return nflows_flow(*layers, nflows_affine(context, num_blocks=3))


def nflows_iaf(context):
    iaf = nflows.InverseTransform(nflows_affine(context))
    return nflows_flow(iaf, nflows.InverseTransform(standardising()))


def nflows_others(context):
    """Nested composites, norms, an identity, random masks, marginal splines, a learned base."""
    inner = nflows.CompositeTransform([nflows.ActNorm(D), nflows.IdentityTransform()])
    layers = [
        nflows.BatchNorm(D),
        inner,
        nflows_affine(context, use_residual_blocks=False, random_mask=True),
        nflows_affine(context, use_residual_blocks=False, use_batch_norm=True),
        nflows_coupling_spline(context, apply_unconditional_transform=True),
    ]
    return nflows_flow(*layers, base=nflows_distributions.DiagonalNormal([D]))


NFLOWS = {
    "sbi_maf": sbi_maf,
    "sbi_maf_rqs": sbi_maf_rqs,
    "sbi_nsf": sbi_nsf,
    "real_nvp": nflows_real_nvp,
    "residual_maf": nflows_residual_maf,
    "residual_nsf": lambda context: nflows_flow(nflows_spline(context, min_derivative=0.01)),
    "iaf": nflows_iaf,
    "others": nflows_others,
}

# ------------------------------------------------------------------ flows of zuko

HIDDEN = {"hidden_features": (16, 16)}
ADDITIVE = {"univariate": zuko.transforms.AdditiveTransform, "shapes": [()]}


def sbi_zuko(kind):
    """A flow as sbi makes it: standardising stands last."""

    def build(context):
        flow = kind(D, context, transforms=2, **HIDDEN)
        last = UnconditionalTransform(
            torch.distributions.AffineTransform,
            loc=torch.randn(D),
            scale=torch.rand(D) + 0.5,
            buffer=True,
        )
        return zuko.lazy.Flow([*flow.transform.transforms, last], flow.base)

    return build


def zuko_iaf(context):
    flow = MAF(D, context, transforms=1, **HIDDEN)
    order = torch.tensor([2, 0, 1, 4, 3])
    permutation = UnconditionalTransform(zuko.transforms.PermutationTransform, order, buffer=True)
    return zuko.lazy.Flow([flow.transform.transforms[0].inv, permutation], flow.base)


def zuko_others(context):
    """A spline of another box, feature by feature; a learned base; a nested composition."""
    spline = {
        "univariate": partial(zuko.transforms.MonotonicRQSTransform, bound=3.0, slope=0.01),
        "shapes": [(4,), (4,), (3,)],
    }
    elementwise = zuko.flows.gaussianization.ElementWiseTransform(D, context, **spline)
    narrow = MaskedAutoregressiveTransform(D, context, hidden_features=(3, 16))
    learned = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.randn(D), torch.rand(D) + 0.5
    )
    return zuko.lazy.Flow([zuko.lazy.LazyComposedTransform(elementwise, narrow)], learned)


ZUKO = {
    "sbi_maf": sbi_zuko(MAF),
    "sbi_nsf": sbi_zuko(NSF),
    "sbi_nice": sbi_zuko(NICE),
    "additive": lambda context: NICE(D, context, transforms=4, **HIDDEN, **ADDITIVE),
    "tanh": lambda context: MAF(D, context, activation=nn.Tanh, **HIDDEN),
    "randperm": lambda context: NSF(D, context, transforms=2, randperm=True, **HIDDEN),
    "residual": lambda context: MAF(D, context, residual=True, hidden_features=(16, 16, 12)),
    "residual_nsf": lambda context: NSF(D, context, transforms=2, residual=True, **HIDDEN),
    "coupling_nsf": lambda context: NSF(D, context, passes=2, **HIDDEN),
    "three_passes": lambda context: MAF(D, context, passes=3, randperm=True, **HIDDEN),
    "iaf": zuko_iaf,
    "others": zuko_others,
}

# ------------------------------------------------------------------ the claims


def log_prob_of(theirs, x, context=None):
    if isinstance(theirs, nflows_flows.Flow):
        return theirs.log_prob(x, context)
    return theirs(context).log_prob(x)


def forward_of(theirs, x, context=None):
    if isinstance(theirs, nflows_flows.Flow):
        return theirs._transform(x, context)
    return theirs.transform(context).call_and_ladj(x)


def inverse_of(theirs, z, context=None):
    if isinstance(theirs, nflows_flows.Flow):
        return theirs._transform.inverse(z, context)[0]
    return theirs.transform(context).inv(z)


def randomise_(theirs):
    """Move all weights far from where they start, and running statistics with them."""
    perturb_(theirs, 0.15)
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0)
    return theirs.eval()


def points(context_features, dtype):
    x = torch.randn(100, D, dtype=dtype)
    x[80:] *= 2  # into the tails
    return x, torch.randn(100, context_features, dtype=dtype) if context_features else None


@torch.no_grad()
def check_same(theirs, ours, x, context, embed=lambda context: context):
    """Densities and values both ways are theirs, to 1e-5, or to 1e-9 in float64."""
    tolerance = TOLERANCE[x.dtype]
    # Where theirs rounds more than that in float32, no more can be asked.
    exact = copy.deepcopy(theirs).double()
    c, c_exact = embed(context), None if context is None else embed(context).double()

    def assert_same(ours, call, argument, times=1):
        expected = call(theirs, argument, c)
        rounding = (call(exact, argument.double(), c_exact) - expected).abs().max().item()
        tolerances = {"rtol": times * tolerance, "atol": times * tolerance + 3 * rounding}
        torch.testing.assert_close(ours, expected.to(ours.dtype), **tolerances)

    assert_same(ours.log_prob(x, context), log_prob_of, x)
    z, logabsdet = ours.transform(x, c)
    assert_same(z, lambda *arguments: forward_of(*arguments)[0], x)
    assert_same(logabsdet, lambda *arguments: forward_of(*arguments)[1], x)
    assert (z - x).abs().mean() > 0.1  # far from the identity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nflows' LULinear solves by a deprecated function
        assert_same(ours.transform.inverse(z, c)[0], inverse_of, z, times=10)


def build(library, name, context, dtype):
    flows, convert = {"nflows": (NFLOWS, from_nflows), "zuko": (ZUKO, from_zuko)}[library]
    theirs = randomise_(flows[name](context)).to(dtype)
    return theirs, convert(theirs)


CASES = [("nflows", name) for name in NFLOWS] + [("zuko", name) for name in ZUKO]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("context", [0, 2], ids=["", "context"])
@pytest.mark.parametrize(("library", "name"), CASES)
def test_the_density_and_both_directions_are_theirs(library, name, context, dtype):
    theirs, ours = build(library, name, context, dtype)
    assert all(p.dtype == dtype for p in ours.parameters())
    assert not ours.training
    check_same(theirs, ours, *points(context, dtype))


@pytest.mark.parametrize(("library", "name"), CASES)
def test_gradients_reach_what_theirs_reach(library, name):
    """The derivative of the density by the point is theirs, and every network learns."""
    theirs, ours = build(library, name, 2, torch.float64)
    x, c = points(2, torch.float64)
    results = []
    for log_prob in (lambda x, c: log_prob_of(theirs, x, c), ours.log_prob):
        leaves = x.clone().requires_grad_(), c.clone().requires_grad_()
        results.append(torch.autograd.grad(log_prob(*leaves).sum(), leaves))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    ours.log_prob(x, c).sum().backward()
    assert all(p.grad is not None for p in ours.parameters() if p.requires_grad)
    assert ours.sample((3,), c[:4]).shape == (3, 4, D)


def train_(theirs, x, context):
    optimizer = torch.optim.Adam(theirs.parameters(), lr=5e-3)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = -log_prob_of(theirs, x, context).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    return theirs.eval()


@pytest.mark.parametrize(
    ("build", "convert"),
    [(sbi_maf, from_nflows), (sbi_nsf, from_nflows), (ZUKO["sbi_nsf"], from_zuko)],
    ids=["nflows-maf", "nflows-nsf", "zuko-nsf"],
)
def test_a_trained_flow(build, convert):
    c = torch.randn(300, 2)
    x = 0.3 * torch.randn(300, D) + torch.cat([c, c.sin() * c.flip(-1), c[:, :1] ** 2], dim=-1)
    theirs = train_(build(2), x, c)
    before = copy.deepcopy(theirs.state_dict())
    ours = convert(theirs)
    check_same(theirs, ours, x, c)
    check_same(theirs.double(), convert(theirs), x.double(), c.double())
    theirs.float()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    for name, tensor in theirs.state_dict().items():  # theirs shares nothing with ours
        torch.testing.assert_close(tensor, before[name])


def test_standardisation_and_permutations_of_numbers_per_flow():
    """sbi's "structured" standardisation is one number for all features."""
    scalar = nflows.PointwiseAffineTransform(shift=torch.tensor(0.3), scale=torch.tensor(2.0))
    theirs = nflows_flow(scalar, nflows.RandomPermutation(D)).eval()
    check_same(theirs, from_nflows(theirs), *points(0, torch.float32))
    last = UnconditionalTransform(torch.distributions.AffineTransform, 0.3, 2.0)
    theirs = zuko.lazy.Flow([*MAF(D).transform.transforms, last], MAF(D).base)
    check_same(theirs, from_zuko(theirs), *points(0, torch.float32))


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, context):
        return self.layers(3 * context)


@pytest.mark.parametrize("library", ["nflows", "zuko"])
def test_an_embedding_net(library):
    embedding = Embedding()
    if library == "nflows":
        theirs = nflows_flow(nflows_affine(2), nflows_affine(2), embedding=embedding)
        ours = from_nflows(randomise_(theirs))
    else:
        theirs = randomise_(MAF(D, 2, **HIDDEN))
        ours = from_zuko(theirs, embedding=embedding)
    x, _ = points(0, torch.float32)
    c = torch.randn(100, 7)
    embedded = embedding(c)
    expected = theirs.log_prob(x, c) if library == "nflows" else theirs(embedded).log_prob(x)
    torch.testing.assert_close(ours.log_prob(x, c), expected, rtol=1e-5, atol=1e-5)
    assert ours.embedding is not embedding
    assert ours.sample((3,), c[:4]).shape == (3, 4, D)
    identity = nflows_flow(nflows_affine(2), embedding=nn.Identity())
    assert from_nflows(identity).embedding is None


@pytest.mark.parametrize("encoder", [None, nn.Linear(3, 2 * D)], ids=["default", "linear"])
def test_a_conditional_normal_base(encoder):
    width = 3 if encoder else 2 * D
    base = nflows_distributions.ConditionalDiagonalNormal([D], encoder)
    for layer in (nflows.ReversePermutation(D), nflows_affine(width)):
        theirs = randomise_(nflows_flow(layer, base=base)).double()
        ours = from_nflows(theirs)
        assert not {*ours.parameters()} & {*theirs.parameters()}
        x, c = points(width, torch.float64)
        expected = theirs.log_prob(x, c)
        torch.testing.assert_close(ours.log_prob(x, c), expected, rtol=1e-9, atol=1e-9)
        means, log_stds = base._compute_params(c[:1])
        draws = ours.base.sample((20_000,), c[:1])[:, 0]
        torch.testing.assert_close(draws.mean(0), means[0], atol=0.1, rtol=0.05)
        torch.testing.assert_close(draws.std(0), log_stds[0].exp(), atol=0.1, rtol=0.05)


class ContextSplineMap(nn.Module):
    """What sbi conditions a spline of a single parameter by."""

    def __init__(self, in_features, out_features):
        super().__init__()
        self.hidden_features = 8
        shared = [nn.Linear(8, 8), nn.ReLU()] * 2
        self.spline_predictor = nn.Sequential(
            nn.Linear(2, 8), nn.ReLU(), *shared, nn.Linear(8, out_features)
        )

    def __call__(self, inputs, context):
        return self.spline_predictor(context)


@pytest.mark.parametrize("name", ["nflows-maf", "nflows-nsf", "zuko-maf", "zuko-nsf"])
def test_a_single_feature(name):
    normal = nflows_distributions.StandardNormal([1])
    if name == "nflows-maf":
        layer = nflows.MaskedAffineAutoregressiveTransform(1, 8, 2, use_residual_blocks=False)
        theirs, convert = nflows_flows.Flow(layer, normal), from_nflows
    elif name == "nflows-nsf":
        layer = nflows.PiecewiseRationalQuadraticCouplingTransform(
            torch.tensor([1]), ContextSplineMap, num_bins=5, tails="linear", tail_bound=3.0
        )
        theirs, convert = nflows_flows.Flow(layer, normal), from_nflows
    else:
        theirs, convert = {"zuko-maf": MAF, "zuko-nsf": NSF}[name](1, 2, **HIDDEN), from_zuko
    theirs = randomise_(theirs).double()
    x, c = torch.randn(50, 1, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64)
    ours = convert(theirs)
    expected = log_prob_of(theirs, x, c)
    torch.testing.assert_close(ours.log_prob(x, c), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.transform.inverse(ours.transform(x, c)[0], c)[0], x)


@pytest.mark.parametrize(
    ("library", "name"),
    [("nflows", "sbi_maf"), ("nflows", "sbi_nsf"), ("zuko", "residual")],
)
def test_a_converted_flow_keeps_the_contract(library, name):
    _, ours = build(library, name, 2, torch.float64)
    check_flow(ours, *points(2, torch.float64))


def test_theirs_stays_in_the_mode_that_it_is_in():
    theirs = nflows_flow(nflows.BatchNorm(D), nflows_affine(0, dropout_probability=0.5)).train()
    theirs._transform._transforms[1].autoregressive_net.blocks[0].eval()
    modes = [module.training for module in theirs.modules()]
    assert from_nflows(theirs).training
    assert [module.training for module in theirs.modules()] == modes


def test_neither_library_is_imported():
    code = "import sys, flowkit.interop;assert not {'nflows', 'zuko', 'pyknos'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------ refused by name


class Renamed(nflows.MaskedAffineAutoregressiveTransform):
    pass


def refused_nflows():
    """What nflows has and flowkit has not: the flow, the part's place and class, and why."""
    flow = nflows_flow

    def at(i, rest=""):
        return f"flow._transform._transforms.{i}{rest}"

    quadratic = nflows.MaskedPiecewiseQuadraticAutoregressiveTransform(D, 8, tails="linear")
    yield flow(nflows_affine(0), quadratic), at(1), quadratic, "no such layer"
    nested = nflows.InverseTransform(
        nflows.CompositeTransform([nflows.NaiveLinear(D, orthogonal_initialization=False)])
    )
    naive = nested._transform._transforms[0]
    yield flow(nested), at(0, "._transform._transforms.0"), naive, "no such layer"
    box = nflows_spline(0, tails=None)
    yield flow(box), at(0), box, "only linear tails"
    marginal = nflows_coupling_spline(0, apply_unconditional_transform=True)
    marginal.unconditional_transform.tails = None
    cdf = marginal.unconditional_transform
    yield flow(marginal), at(0, ".unconditional_transform"), cdf, "only linear tails"
    normed = nflows_affine(0, use_batch_norm=True)
    block = normed.autoregressive_net.blocks[0]
    yield flow(normed), at(0, ".autoregressive_net.blocks.0"), block, "batch norm"
    leaky = nflows_affine(0, activation=F.leaky_relu)
    yield flow(leaky), at(0, ".autoregressive_net.activation"), F.leaky_relu, "none of relu"
    linear = nflows_affine(0, num_blocks=0)
    yield flow(linear), at(0, ".autoregressive_net"), linear.autoregressive_net, "linear"
    custom = nflows.AffineCouplingTransform(alternating(0), nn.Linear)
    yield flow(custom), at(0, ".transform_net"), custom.transform_net, "not a ResidualNet"
    nothing = nflows.AffineCouplingTransform(torch.zeros(D), lambda *_: nn.Linear(1, 1))
    yield flow(nothing), at(0), nothing, "or none is"
    subclass = Renamed(D, 8)
    yield flow(subclass), at(0), subclass, "no such layer"
    other = nflows_affine(0)  # as older versions had it
    other._unconstrained_scale_and_shift = lambda params: params.view(-1, D, 2).unbind(-1)[::-1]
    yield flow(other), at(0), other, "known versions"
    encoder = nflows_distributions.ConditionalDiagonalNormal([D], lambda c: c.repeat(1, 2))
    yield flow(nflows_affine(D), base=encoder), "flow._distribution", encoder, "not a module"
    image = nflows_distributions.StandardNormal([3, 4, 4])
    yield flow(nflows_affine(0), base=image), "flow._distribution", image, "over vectors"


def refused_zuko():
    def at(i, rest=""):
        return f"flow.transform.transforms.{i}{rest}"

    univariate = "not an affine or rational-quadratic map"
    gf = zuko.flows.GF(D)
    yield gf, at(0, ".univariate"), zuko.transforms.GaussianizationTransform, univariate
    ncsf = zuko.flows.NCSF(D)
    ncsf.base = MAF(D).base
    yield ncsf, at(0, ".univariate"), ncsf.transform.transforms[0].univariate.func, univariate
    cnf = zuko.flows.CNF(D)
    yield cnf, "flow.transform", cnf.transform, "no such layer"
    box = zuko.flows.NCSF(D)
    yield box, "flow.base", box.base, "not an unconditional DiagNormal"
    graph = torch.eye(D, dtype=bool)
    graph[2, 0] = graph[3, 1] = True
    dag = zuko.lazy.Flow([MaskedAutoregressiveTransform(D, adjacency=graph)], MAF(D).base)
    yield dag, at(0, ".hyper"), dag.transform.transforms[0].hyper, "not nested"
    normed = NICE(D, transforms=1, normalize=True)
    layer = normed.transform.transforms[0].hyper[2]
    yield normed, at(0, ".hyper.2"), layer, "not a linear layer"
    leaky = MAF(D, activation=nn.LeakyReLU)
    yield leaky, at(0, ".hyper.1"), nn.LeakyReLU(), "none of relu"
    exponential = UnconditionalTransform(zuko.transforms.ExpTransform)
    flow = zuko.lazy.Flow([exponential], MAF(D).base)
    yield flow, at(0, ".f"), zuko.transforms.ExpTransform, "not an affine map"
    mirror = UnconditionalTransform(torch.distributions.AffineTransform, 0.0, -1.0)
    yield zuko.lazy.Flow([mirror], MAF(D).base), at(0), mirror, "not positive"


@pytest.mark.parametrize(
    ("convert", "cases"),
    [(from_nflows, refused_nflows), (from_zuko, refused_zuko)],
    ids=["nflows", "zuko"],
)
def test_what_cannot_be_converted_is_refused_by_name(convert, cases):
    for flow, place, part, why in cases():
        with pytest.raises(ArgumentError) as caught:
            convert(flow)
        assert caught.value.argument == "flow"
        name = getattr(part, "__name__", type(part).__name__)
        assert f"{place} ({name}): " in str(caught.value), caught.value
        assert why in str(caught.value), caught.value


def test_what_is_no_flow_of_the_library():
    with pytest.raises(ArgumentError, match="flow: expected a Flow of nflows, got MAF"):
        from_nflows(MAF(D))
    with pytest.raises(ArgumentError, match="flow: expected a Flow of zuko, got Flow"):
        from_zuko(sbi_maf(0))
    wrapper = nn.Module()
    wrapper.net = sbi_maf(0)
    with pytest.raises(ArgumentError, match=r"got Module \(perhaps pass its attribute net\)"):
        from_nflows(wrapper)


def test_named_flows_of_the_libraries():
    theirs = randomise_(
        nflows_flows.MaskedAutoregressiveFlow(D, 16, 2, 2, batch_norm_between_layers=True)
    )
    check_same(theirs, from_nflows(theirs), *points(0, torch.float32))
    theirs = randomise_(nflows_flows.SimpleRealNVP(D, 16, 2, 2, use_volume_preserving=True))
    check_same(theirs, from_nflows(theirs), *points(0, torch.float32))


@pytest.mark.parametrize(
    "spline",
    [
        FlooredSpline(bins=4, bound=3.0, min_width=0.05, min_height=0.01),
        SoftclipSpline(bins=4, bound=3.0),
    ],
    ids=["nflows", "zuko"],
)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_compiled_splines_of_the_libraries_are_the_eager_ones(spline, direction):
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    params = torch.randn(50, 3, spline.parameters, generator=generator, dtype=torch.float64)
    call = getattr(spline, direction)
    compiled = torch.compile(call, backend="eager")
    for ours, eager in zip(compiled(x, params), call(x, params), strict=True):
        torch.testing.assert_close(ours, eager)
