"""Lower bound of times: multiply-adds at the best rate of the machine, and memory of Adam."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_SHAPES = ((512, 512, 512), (2048, 512, 512), (2048, 1024, 1024))
# Adam reads weight, gradient and two moments, and writes the weight and the moments.
_ADAM_BYTES = 7 * 4


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _least_seconds(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _routes(x: torch.Tensor, w: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the exact float32 implementations of ``x @ w.T`` in this torch."""
    out = x @ w.T
    routes = {"torch.mm": lambda: torch.mm(x, w.T, out=out)}
    if torch.backends.mkldnn.is_available():
        packed = w.to_mkldnn()
        linear = torch.ops.mkldnn._linear_pointwise
        routes["oneDNN"] = lambda: linear(x, packed, None, "none", [], "")
    exact = x[:64].double() @ w.double().T
    return {
        name: route
        for name, route in routes.items()
        if ((route()[:64] - exact).norm() / exact.norm()).item() < 1e-5
    }


@torch.inference_mode()
def matrix_rates(seconds: float = 0.1) -> dict[str, float]:
    """Return the best rate of each implementation and thread count, in multiply-adds per second."""
    rates: dict[str, float] = {}
    for threads in sorted({1, torch.get_num_threads()}):
        with _threads(threads):
            for m, n, k in _SHAPES:
                x, w = torch.randn(m, k), torch.randn(n, k)
                for name, route in _routes(x, w).items():
                    rate = m * n * k / _least_seconds(route, seconds)
                    key = f"{name}, {threads} thread" + "s" * (threads > 1)
                    rates[key] = max(rate, rates.get(key, 0.0))
    return rates


@torch.inference_mode()
def bandwidth(parameters: int, seconds: float = 0.05) -> float:
    """Return bytes per second for the memory that Adam uses for a number of parameters."""
    a, b, c = torch.ones(3, max(4 * parameters // 3, 1)).unbind()
    return 12 * a.numel() / _least_seconds(lambda: torch.add(a, b, out=c), seconds)


def floor_seconds(
    measure: str, batch: int, *, connections: int, parameters: int, rate: float, bandwidth: float
) -> float:
    """Return the least seconds of a call: one pass of unmasked weights, or three and Adam."""
    one_pass = connections * batch / rate
    if measure != "train":
        return one_pass
    return 3 * one_pass + _ADAM_BYTES * parameters / bandwidth
