"""Stacked MADEs against the networks that they are made of."""

import pytest
import torch

from flowkit.errors import ArgumentError
from flowkit.nets import MADE
from flowkit.nets.stacked import StackedMADE


def networks(features, width, context_features=0, count=3):
    torch.manual_seed(0)
    options = {"context_features": context_features, "residual": True}
    orders = [torch.randperm(features).tolist() for _ in range(count)]
    return [MADE(features, 2, (width, width), order=o, **options).double() for o in orders]


def rows_first(out):
    return out.permute(0, 3, 1, 2)


# The second is narrow, and has direct connections from input to output.
CASES = [(5, 16, 0), (20, 8, 0), (5, 16, 3), (20, 8, 3), (1, 4, 2)]


@pytest.mark.parametrize(("features", "width", "context_features"), CASES)
def test_values_and_gradients_are_those_of_the_networks(features, width, context_features):
    mades = networks(features, width, context_features)
    stacked = StackedMADE(mades)
    x = torch.randn(3, features, 7, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, context_features, 7).double() if context_features else None
    out = rows_first(stacked(x, context))
    expected = torch.stack(
        [made(x[i].T, None if context is None else context[i].T) for i, made in enumerate(mades)]
    )
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    (of_x,) = torch.autograd.grad((weights * out).sum(), x, retain_graph=True)
    (expected_of_x,) = torch.autograd.grad((weights * expected).sum(), x, retain_graph=True)
    torch.testing.assert_close(of_x, expected_of_x)
    (weights * out).sum().backward()
    (weights * expected).sum().backward()
    # A step by the gradients of both, and the networks must be the same again.
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter -= 0.1 * parameter.grad
        stepped = [
            {name: p - 0.1 * p.grad for name, p in made.named_parameters() if p.grad is not None}
            for made in mades
        ]
    stacked.unstack()
    for made, after in zip(mades, stepped, strict=True):
        for name, parameter in made.named_parameters():
            if name in after:
                layer = made.get_submodule(name.rpartition(".")[0])
                masked = name.endswith("weight") and layer.mask is not None
                torch.testing.assert_close(
                    parameter.data, after[name] * layer.mask if masked else after[name]
                )


def test_masked_weights_stay_zero_in_training():
    stacked = StackedMADE(networks(4, 8))
    optimizer = torch.optim.Adam(stacked.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        stacked(torch.randn(3, 4, 9).double()).square().sum().backward()
        optimizer.step()
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    out = stacked(x)
    mades = networks(4, 8)  # of the same orders
    for i, made in enumerate(mades):
        for place, feature in enumerate(made.order):
            (of_x,) = torch.autograd.grad(out[i, feature].sum(), x, retain_graph=True)
            seen = [made.order.index(j) for j in of_x[i].abs().sum(-1).nonzero().flatten().tolist()]
            assert all(s < place for s in seen)


def test_under_function_transforms_it_is_the_same():
    stacked = StackedMADE(networks(4, 8))
    x = torch.randn(3, 4, 2).double()
    jacobian = torch.func.jacrev(lambda x: stacked(x))(x)
    (row,) = torch.autograd.grad(stacked(x.requires_grad_())[1, 2, 0, 1], x)
    torch.testing.assert_close(jacobian[1, 2, 0, 1], row)


@pytest.mark.parametrize(
    "mades",
    [
        [],
        [MADE(3, 2, (8, 8))],
        [MADE(3, 2, (8, 8), residual=True, activation="tanh")],
        [MADE(3, 2, (8, 8), residual=True), MADE(3, 2, (9, 9), residual=True)],
    ],
)
def test_networks_that_cannot_be_stacked_are_refused(mades):
    with pytest.raises(ArgumentError, match="mades"):
        StackedMADE(mades)
