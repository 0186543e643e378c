"""The written-out mixture density against the univariate map, and its derivatives."""

import pytest
import torch

from flowkit.transforms import GaussianMixture
from flowkit.transforms.mixture_density import mixture_log_density


def case(components=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, generator=generator, dtype=dtype)
    params = torch.randn(2, 3, 3, components, 7, generator=generator, dtype=dtype)
    return x.requires_grad_(), params.requires_grad_()


@pytest.mark.parametrize("components", [1, 4])
def test_it_is_the_density_of_the_map(components):
    x, params = case(components)
    rows_first = params.permute(0, 4, 1, 2, 3).flatten(-2)
    mixture = GaussianMixture(components, bound=7.0)
    expected = mixture.log_density(x.mT, rows_first)
    torch.testing.assert_close(mixture_log_density(x, params, 7.0).mT, expected)
    with torch.no_grad():
        torch.testing.assert_close(mixture_log_density(x, params, 7.0).mT, expected)


def test_first_and_second_derivatives():
    x, params = case()
    function = lambda x, params: mixture_log_density(x, params, 7.0)  # noqa: E731
    assert torch.autograd.gradcheck(function, (x, params))
    assert torch.autograd.gradgradcheck(function, (x, params))


def test_derivatives_without_a_gradient_of_the_parameters():
    x, params = case()
    (of_x,) = torch.autograd.grad(mixture_log_density(x, params.detach(), 7.0).sum(), x)
    (expected,) = torch.autograd.grad(mixture_log_density(x, params, 7.0).sum(), x)
    torch.testing.assert_close(of_x, expected)


@pytest.mark.parametrize("far", [1e10, 1e30])
def test_far_points_have_finite_density_and_gradient(far):
    x, params = case(dtype=torch.float32)
    density = mixture_log_density(x + far, params, 7.0)
    density.clamp(min=-200.0).sum().backward()
    assert density.isfinite().all()
    assert params.grad.isfinite().all()
