"""Samplers under ``torch.compile``: any batch size, the same draws."""

import pytest
import torch

from flowkit.flows import MixtureOfFlows, binary_made, maf, nsf
from flowkit.transforms import Chain

SIZES = (3, 5, 8)


def flows():
    small = {"layers": 1, "hidden": (8,)}
    return {
        "maf": maf(2, **small),
        "nsf": nsf(2, coupling=True, **small),
        "mixture": MixtureOfFlows([maf(2, **small), maf(2, **small)]),
        "conditional": nsf(2, context_features=2, coupling=True, **small),
        "binary": binary_made(3, hidden=(8,)),
    }


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", flows())
def test_compiled_draws_are_the_eager_ones_at_any_size(name, dynamic):
    flow = flows()[name]
    torch.compiler.reset()
    compiled = torch.compile(flow.sample, backend="eager", dynamic=dynamic)
    for size in SIZES:
        given = [torch.randn(4, 2)] if flow.context_features else []
        torch.manual_seed(size)
        drawn = compiled((size,), *given)
        torch.manual_seed(size)
        assert torch.equal(drawn, flow.sample((size,), *given))


def test_a_compiled_sampler_is_one_graph_with_gradients():
    flow = nsf(2, coupling=True, layers=1, hidden=(8,))
    assert isinstance(flow.transform, Chain)
    torch.compiler.reset()
    options = {"backend": "aot_eager", "dynamic": True, "fullgraph": True}
    compiled = torch.compile(flow.sample_and_log_prob, **options)
    for size in SIZES:
        x, log_prob = compiled((size,))
        assert (x.shape, log_prob.shape) == ((size, 2), (size,))
        assert torch.allclose(log_prob, flow.log_prob(x), atol=1e-5)
        x.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())
