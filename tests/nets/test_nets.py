import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import ArgumentError, ContextError, DtypeError, ShapeError
from flowkit.nets import MADE, MLP, ResNet


def dependencies(made: MADE, context: torch.Tensor | None = None) -> torch.Tensor:
    """Which feature (column) moves the outputs of which feature (row), at any of many points."""
    made = made.double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: made(x, context)))
    x = torch.randn(32, made.features, dtype=torch.float64)
    return (jacobian(x).abs().amax(dim=(0, 2)) > 0).detach()


def allowed(order: tuple[int, ...]) -> torch.Tensor:
    """Which feature may depend on which: those before it in the order."""
    rank = torch.tensor(order).argsort()
    return rank[:, None] > rank[None, :]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("features", [1, 2, 3, 5, 10, 33, 100])
def test_made_depends_on_every_earlier_feature_and_on_no_other(features, residual):
    for width in sorted({1, 2, 3, features // 3 + 1, features - 2, features - 1, features, 128}):
        if width < 1:
            continue
        for hidden in {(width,), (width, width), (width, 64 if not residual else width)}:
            made = MADE(features, 2, hidden, residual=residual, activation="tanh")
            assert torch.equal(dependencies(made), allowed(made.order)), (features, hidden)


@given(
    order=st.integers(1, 12).flatmap(lambda n: st.permutations(range(n))),
    hidden=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    parameters=st.integers(1, 4),
    context=st.integers(0, 2),
    residual=st.booleans(),
)
def test_made_keeps_any_order_at_any_width(order, hidden, parameters, context, residual):
    if residual:
        hidden = hidden[:1] * len(hidden)
    made = MADE(
        len(order), parameters, hidden, order=order, context_features=context, residual=residual,
        activation="silu",
    )  # fmt: skip
    c = torch.randn(context, dtype=torch.float64) if context else None
    assert torch.equal(dependencies(made, c), allowed(tuple(order)))


@pytest.mark.parametrize("hidden", [(1,), (3, 3), (32, 32)])
@pytest.mark.parametrize("features", [1, 2, 6])
def test_context_reaches_the_outputs_of_every_feature(features, hidden):
    made = MADE(features, 2, hidden, context_features=3, activation="tanh").double()
    x = torch.randn(features, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda c: made(x, c))(torch.randn(3, dtype=torch.float64))
    assert (jacobian.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("net", [MLP, ResNet])
def test_context_reaches_every_hidden_layer(net):
    n_hidden_layers = {MLP: 3, ResNet: 4}[net]
    body = net(2, 5, (8, 8, 8), context_features=3)
    context_weights = [n for n, p in body.named_parameters() if p.shape == (8, 3)]
    assert len(context_weights) == n_hidden_layers


def test_made_hidden_units_are_sorted_by_degree_and_every_mask_is_a_staircase():
    made = MADE(7, 2, (40, 25))
    for layer in (*made.net.hidden, made.net.output):
        widths = layer.mask.sum(1)
        assert (widths[1:] >= widths[:-1]).all()
        columns = torch.arange(layer.mask.shape[1])
        assert torch.equal(layer.mask > 0, columns < widths[:, None])
    degrees = made.net.hidden[0].mask.sum(1).long()
    counts = degrees.bincount()[1:]
    assert counts.max() - counts.min() <= 1


@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    net=st.sampled_from([MLP, ResNet, MADE]),
)
def test_nets_take_any_batch_shape(batch, dtype, net):
    sizes = (3, 4) if net is MADE else (3, 12)
    body = net(*sizes, (8, 8), context_features=2).to(dtype)
    out = body(torch.randn(*batch, 3, dtype=dtype), torch.randn(2, dtype=dtype))
    assert out.shape == ((*batch, 3, 4) if net is MADE else (*batch, 12))
    assert out.dtype == dtype


@pytest.mark.parametrize("net", [MLP, ResNet, MADE])
def test_zero_output(net):
    body = net(3, 6, (2, 2), context_features=2)
    assert body(torch.randn(5, 3), torch.randn(5, 2)).abs().max() > 0
    body.zero_output_()
    assert body(torch.randn(5, 3), torch.randn(5, 2)).abs().max() == 0


@pytest.mark.parametrize("net", [MLP, ResNet, MADE])
@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("hidden", {"hidden": ()}),
        ("hidden", {"hidden": 64}),
        ("hidden", {"hidden": (0,)}),
        ("hidden", {"hidden": (8.5,)}),
        ("context_features", {"context_features": -1}),
        ("activation", {"activation": "swoosh"}),
    ],
)
def test_bad_options_are_named(net, argument, options):
    with pytest.raises(ArgumentError, match=f"^{argument}: expected"):
        net(3, 6, **options)


def test_sizes_must_be_positive_integers():
    for net in (MLP, ResNet, MADE):
        for first in (0, -1, 2.0, True):
            with pytest.raises(ArgumentError, match="features: expected an integer of at least 1"):
                net(first, 6)
    with pytest.raises(ArgumentError, match=r"hidden: expected equal widths.*got \(8, 9\)"):
        ResNet(3, 6, (8, 9))


@pytest.mark.parametrize("order", [(0, 0, 1), (0, 1), (1, 2, 3), (0, 1, 2, 3), "abc", 3])
def test_an_order_must_be_a_permutation(order):
    with pytest.raises(ArgumentError, match="order: expected a permutation of 0 .. 2"):
        MADE(3, 1, order=order)


@pytest.mark.parametrize("net", [MLP, ResNet, MADE])
def test_bad_inputs_are_named(net):
    body = net(3, 6, (8,), context_features=2)
    x, c = torch.randn(5, 3), torch.randn(5, 2)
    with pytest.raises(ShapeError, match=r"x: expected a tensor of shape \(\*batch, 3\)"):
        body(torch.randn(5, 4), c)
    with pytest.raises(DtypeError, match=r"x: expected a floating-point dtype, got torch.int64"):
        body(torch.zeros(5, 3, dtype=torch.long), c)
    with pytest.raises(DtypeError, match=r"x: expected a torch.Tensor, got list"):
        body([[1.0, 2.0, 3.0]], c)
    with pytest.raises(ContextError, match="context: expected a tensor"):
        body(x)
    with pytest.raises(ShapeError, match=r"context: .*\(\*batch, 2\), got shape \(5, 3\)"):
        body(x, torch.randn(5, 3))
    with pytest.raises(ContextError, match="context: expected None"):
        net(3, 6, (8,))(x, c)
