"""Every transform keeps the contract."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import (
    MIXTURES,
    NOT_IDENTITY,
    UNIVARIATES,
    autoregressive,
    coupling,
    hard_points,
    perturb_,
    transforms,
)

from flowkit.errors import ArgumentError, ContextError, ShapeError
from flowkit.flows import Flow, StandardNormal, made_mog
from flowkit.nets import MADE, MLP
from flowkit.testing import check_transform
from flowkit.transforms import (
    Affine,
    Chain,
    Coupling,
    Elementwise,
    Identity,
    Inverse,
    LULinear,
    MaskedAutoregressive,
    Permutation,
    Planar,
    RandomPermutation,
    RationalQuadraticSpline,
    Reverse,
    Shift,
    Sylvester,
)

DTYPES = [torch.float32, torch.float64]
# The root of a mixture takes long to compile: once will do, but for `make test-all`.
CASES = [
    pytest.param(
        name,
        context,
        marks=[pytest.mark.slow] if context == 0 and "autoregressive_gaussian" in name else [],
    )
    for context in (0, 3)
    for name in transforms(context)
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "context"), CASES)
def test_contract(name, context, dtype):
    transform = transforms(context)[name].to(dtype)
    # A free spline and a mixture are as flat or as steep as their parameters say, and then ask
    # for more digits than there are: a limit is what the default spline has one for.
    mild = dtype == torch.float32 or "free" in name or "mixture" in name
    perturb_(transform, 0.1 if mild else 0.3)
    x = hard_points(1000, 4, dtype) if dtype == torch.float64 else torch.randn(100, 4)
    c = torch.randn(len(x), context, dtype=dtype) if context else None
    errors = check_transform(transform, x, c)
    if dtype == torch.float64:
        assert max(errors["logabsdet"], errors["inverse_logabsdet"]) <= 1e-9


@pytest.mark.parametrize(("name", "context"), CASES)
def test_fresh_transforms_are_the_identity_up_to_their_permutations(name, context):
    if any(word in name for word in (*NOT_IDENTITY, "batch_norm")):
        pytest.skip("does not start as the identity")
    transform = transforms(context)[name].double()
    x = torch.randn(20, 4, dtype=torch.float64)
    c = torch.randn(20, context, dtype=torch.float64) if context else None
    z, logabsdet = transform(x, c)
    assert torch.allclose(z.sort(-1).values, x.sort(-1).values, rtol=0, atol=1e-13)
    assert logabsdet.abs().max() < 1e-13


@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(sorted({**UNIVARIATES, **MIXTURES})),
    kind=st.sampled_from([autoregressive, coupling]),
    context=st.sampled_from([0, 2]),
    shared_context=st.booleans(),
)
def test_any_batch_shape_and_a_context_that_broadcasts(
    batch, dtype, name, kind, context, shared_context
):
    transform = kind({**UNIVARIATES, **MIXTURES}[name], context).to(dtype)
    x = torch.randn(*batch, 4, dtype=dtype)
    c = torch.randn(*([] if shared_context else batch), context, dtype=dtype) if context else None
    for direction in (transform.forward, transform.inverse):
        z, logabsdet = direction(x, c)
        assert z.shape == x.shape
        assert logabsdet.shape == tuple(batch)
        assert z.dtype == logabsdet.dtype == dtype


@pytest.mark.parametrize("kind", [autoregressive, coupling])
def test_one_point_broadcasts_to_many_contexts(kind):
    transform = kind(Affine(), 2)
    perturb_(transform)
    x, c = torch.randn(4), torch.randn(7, 2)
    z, logabsdet = transform(x, c)
    assert z.shape == (7, 4)
    assert torch.allclose(z, transform(x.expand(7, 4), c)[0], atol=1e-6)
    assert transform.inverse(x, c)[0].shape == (7, 4)
    assert logabsdet.shape == (7,)


@given(mask=st.lists(st.booleans(), min_size=2, max_size=8).filter(lambda m: 0 < sum(m) < len(m)))
def test_coupling_moves_what_is_under_its_mask_and_nothing_else(mask):
    moved = sum(mask)
    net = MLP(len(mask) - moved, 2 * moved, (8,), activation="tanh")
    layer = Coupling(mask, net, Affine()).double()
    perturb_(layer)
    x = torch.randn(30, len(mask), dtype=torch.float64)
    z, _ = layer(x)
    flags = torch.tensor(mask)
    assert torch.equal(z[:, ~flags], x[:, ~flags])
    assert (z[:, flags] != x[:, flags]).all()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer(row)[0]))(x).abs().amax(0)
    diagonal = torch.eye(len(mask), dtype=torch.bool)
    expected = diagonal | (flags[:, None] & ~flags[None, :])
    assert torch.equal(jacobian > 0, expected)


@given(order=st.integers(1, 8).flatmap(lambda n: st.permutations(range(n))))
def test_permutation_is_indexing(order):
    x = torch.randn(3, len(order))
    assert torch.equal(Permutation(order)(x)[0], x[:, order])
    assert torch.equal(Permutation(order).inverse(x[:, order])[0], x)


def test_random_permutation_follows_its_generator_and_its_state_dict():
    draw = lambda seed: RandomPermutation(20, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    a, b = draw(0), draw(1)
    assert torch.equal(a.order, draw(0).order)
    assert not torch.equal(a.order, b.order)
    b.load_state_dict(a.state_dict())
    x = torch.randn(3, 20)
    assert torch.equal(a(x)[0], b(x)[0])
    assert torch.equal(b.inverse(a(x)[0])[0], x)


def test_inverse_shares_the_weights_it_swaps():
    layer = autoregressive(Affine())
    swapped = Inverse(layer)
    perturb_(layer)
    x = torch.randn(5, 4)
    assert torch.equal(swapped(x)[0], layer.inverse(x)[0])
    assert torch.equal(swapped.inverse(x)[1], layer(x)[1])


def test_chain_gives_the_context_to_those_that_ask():
    chain = Chain(autoregressive(Affine()), autoregressive(Affine(), 2), Reverse(4))
    assert chain.context_features == 2
    assert chain(torch.randn(5, 4), torch.randn(5, 2))[1].shape == (5,)


def test_chain_knows_a_constant_logabsdet():
    assert Chain(coupling(Shift()), LULinear(4), Reverse(4)).constant_logabsdet
    assert not Chain(coupling(Shift()), coupling(Affine())).constant_logabsdet


def test_lu_linear_reads_only_its_triangles():
    """A factor that has become dense, with a log-determinant read off its diagonal, is too good."""
    layer = LULinear(4).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    lower, upper = layer.factors()
    assert torch.equal(lower, lower.tril())
    assert torch.equal(upper, upper.triu())
    z, logabsdet = layer(torch.eye(4, dtype=torch.float64))
    matrix = (z - layer.bias).T
    assert torch.allclose(torch.linalg.slogdet(matrix).logabsdet, logabsdet[0], atol=1e-10)
    assert torch.allclose(matrix, lower @ upper, atol=1e-12)


def test_lu_linear_uses_the_weights_it_has_now():
    """A cached inverse goes stale when weights are loaded (nflows' using_cache)."""
    a, b = LULinear(3).eval(), LULinear(3).eval()
    perturb_(a)
    x = torch.randn(5, 3)
    b.inverse(x)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.inverse(x)[0], b.inverse(x)[0])


def test_conditioner_says_nothing_more_beyond_its_limit():
    """One gross outlier must not grow with every feature until it overflows."""
    layer = Inverse(MaskedAutoregressive(MADE(40, 2, (64, 64)), Affine()))
    perturb_(layer, 0.1)
    x = torch.randn(2, 40)
    x[0, 0] = 1e9
    z, _ = layer(x)
    assert z.isfinite().all()
    assert z[0, 1:].abs().max() < 1e9


def test_autoregressive_inverse_solves_in_the_order_of_the_made():
    layer = autoregressive(Affine(), order=(2, 0, 3, 1)).double()
    perturb_(layer)
    z = torch.randn(1, 4, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda row: layer.inverse(row)[0])(z[0])
    rank = torch.tensor([2, 0, 3, 1]).argsort()
    assert torch.equal(jacobian.abs() > 1e-12, rank[:, None] >= rank[None, :])


class ForTwo(Affine):
    """A map for two features, without options that are tuples."""

    features = 2


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("features", lambda: Identity(0)),
        ("features", lambda: LULinear(-2)),
        ("features", lambda: Reverse(0)),
        ("features", lambda: RandomPermutation(1.5)),
        ("features", lambda: Elementwise(0, Shift())),
        ("order", lambda: Permutation([0, 2])),
        ("order", lambda: Permutation([])),
        ("transforms", lambda: Chain()),
        ("transforms", lambda: Chain(Identity(3), Identity(4))),
        ("transforms", lambda: Chain(autoregressive(Affine(), 2), autoregressive(Affine(), 3))),
        ("mask", lambda: Coupling([True, True], MLP(2, 4), Affine())),
        ("mask", lambda: Coupling([False, False], MLP(2, 4), Affine())),
        ("made", lambda: MaskedAutoregressive(MADE(3, 1), Affine())),
        ("bound", lambda: autoregressive(RationalQuadraticSpline(4, bound=(1.0, 2.0)))),
        ("tails", lambda: autoregressive(RationalQuadraticSpline(4, tails=("linear", "linear")))),
        ("univariate", lambda: Elementwise(3, ForTwo())),
    ],
)
def test_bad_options_are_named(argument, make):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        make()


def test_a_conditioner_of_the_wrong_size_is_named():
    layer = Coupling([True, False, False], MLP(2, 3), Affine())
    with pytest.raises(ShapeError, match="conditioner: expected 1 features times 2 parameters"):
        layer(torch.randn(5, 3))


def test_context_must_be_given_exactly_when_asked_for():
    x, c = torch.randn(5, 4), torch.randn(5, 2)
    for kind in (autoregressive, coupling):
        with pytest.raises(ContextError, match="context: expected None"):
            kind(Affine())(x, c)
        with pytest.raises(ContextError, match="context: expected a tensor"):
            kind(Affine(), 2).inverse(x)
    assert torch.equal(Reverse(4)(x, c)[0], x.flip(-1))  # needs none, ignores it


@pytest.mark.parametrize("kind", ["planar", "radial", "sylvester"])
def test_invertibility_is_enforced_whatever_the_parameters(kind):
    """Parameters that would fold the map: w·u far below -1, β below -α, a large diagonal."""
    for seed in range(20):
        torch.manual_seed(seed)
        layer = transforms(0)[kind].double()
        perturb_(layer, 3.0)
        x = 3 * torch.randn(200, 4, dtype=torch.float64)
        z, logabsdet = layer(x)
        back, inverse_logabsdet = layer.inverse(z)
        assert (back - x).abs().max() < 1e-8
        assert (logabsdet + inverse_logabsdet).abs().max() < 1e-8
        sign, expected = torch.linalg.slogdet(
            torch.func.vmap(torch.func.jacrev(lambda row: layer(row)[0]))(x)  # noqa: B023
        )
        assert (sign > 0).all()
        assert (logabsdet - expected).abs().max() < 1e-8


@pytest.mark.parametrize(
    "make",
    [
        lambda: made_mog(1, components=3),
        lambda: made_mog(1, components=3, base="logistic"),
        lambda: Flow(Inverse(Planar(1)), StandardNormal(1)),
        lambda: Flow(Inverse(Sylvester(1, 1)), StandardNormal(1)),
    ],
)
def test_second_derivatives_of_what_is_solved_by_iteration(make):
    flow = make().double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    x = torch.tensor([[0.7], [-0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(flow.log_prob, (x,))


def test_transforms_made_of_others_ignore_a_context_that_nobody_asks_for():
    x, context = torch.randn(2, 3), torch.randn(2, 4)
    for transform in (Chain(Reverse(3)), Inverse(Reverse(3))):
        assert torch.equal(transform(x, context)[0], x.flip(-1))
