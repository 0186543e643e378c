"""Adapters of the torch libraries with one interface: build a flow, score rows, draw rows.

All flows have masked networks with ReLU, a fixed standard normal base, and splines on [-5, 5]. The
order of features is reversed between layers; in normflows, halves are swapped.
"""

from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from speed.cases import Case

Score = Callable[[nn.Module, Tensor], Tensor]
_BATCHES = 16  # different ones to train on, in turn


class Library(NamedTuple):
    """The interface of a library."""

    make: Callable[[Case], nn.Module]
    log_prob: Score
    sample: Callable[[nn.Module, int], Tensor]
    conditioner: str  # the class of the networks, which are compiled one by one to sample


def _flowkit(case: Case) -> nn.Module:
    from flowkit.flows import maf, nsf

    if case.kind == "maf":
        return maf(case.features, layers=case.layers, hidden=case.hidden)
    return nsf(case.features, layers=case.layers, hidden=case.hidden, bins=case.bins)


def _flowkit_kernels(case: Case) -> nn.Module:
    from flowkit.nets import build_kernels

    build_kernels()
    return _flowkit(case)


def _log_prob_bf16(flow: nn.Module, x: Tensor) -> Tensor:
    """Log-density as in `fit(precision="bf16-mixed")`: products of networks in bfloat16."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return flow.log_prob(x)


def _zuko(case: Case) -> nn.Module:
    from zuko.flows import MAF, NSF

    options = {"transforms": case.layers, "hidden_features": case.hidden}
    if case.kind == "maf":
        return MAF(case.features, **options)
    return NSF(case.features, bins=case.bins, **options)


def _nflows(case: Case) -> nn.Module:
    from nflows import transforms
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow

    sizes = (case.features, case.hidden[0])
    plain = {"num_blocks": len(case.hidden) - 1, "use_residual_blocks": False}
    spline = {"num_bins": case.bins, "tails": "linear", "tail_bound": 5.0}
    affine = transforms.MaskedAffineAutoregressiveTransform
    splines = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    stack = []
    for _ in range(case.layers):
        maf = case.kind == "maf"
        stack.append(affine(*sizes, **plain) if maf else splines(*sizes, **plain, **spline))
        stack.append(transforms.ReversePermutation(case.features))
    return Flow(transforms.CompositeTransform(stack[:-1]), StandardNormal([case.features]))


def _normflows(case: Case) -> nn.Module:
    """Build a flow of normflows, whose layers need `Reverse`, and lack the first ReLU."""
    import normflows as nf
    from normflows.flows.neural_spline import autoregressive

    sizes = (case.features, case.hidden[0])
    plain = {"num_blocks": len(case.hidden) - 1, "use_residual_blocks": False}
    spline = {"num_bins": case.bins, "tails": "linear", "tail_bound": 5.0, "init_identity": False}
    affine = nf.flows.MaskedAffineAutoregressive
    splines = autoregressive.MaskedPiecewiseRationalQuadraticAutoregressive
    stack = []
    for _ in range(case.layers):
        maf = case.kind == "maf"
        layer = affine(*sizes, **plain) if maf else splines(*sizes, **plain, **spline)
        stack += [nf.flows.Reverse(layer), nf.flows.Permute(case.features, mode="swap")]
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(case.features, False), stack[:-1])


LIBRARIES = {
    "flowkit": Library(_flowkit, lambda f, x: f.log_prob(x), lambda f, n: f.sample((n,)), "MADE"),
    "zuko": Library(
        _zuko, lambda f, x: f().log_prob(x), lambda f, n: f().sample((n,)), "MaskedMLP"
    ),
    "nflows": Library(_nflows, lambda f, x: f.log_prob(x), lambda f, n: f.sample(n), "MADE"),
    "normflows": Library(
        _normflows, lambda f, x: f.log_prob(x), lambda f, n: f.sample(n)[0], "MADE"
    ),
}
LIBRARIES["flowkit-kernels"] = LIBRARIES["flowkit"]._replace(make=_flowkit_kernels)
LIBRARIES["flowkit-bf16"] = LIBRARIES["flowkit"]._replace(log_prob=_log_prob_bf16)


def build(library: str, case: Case) -> nn.Module:
    """Return a flow with random nonzero weights."""
    torch.manual_seed(case.seed)
    flow = LIBRARIES[library].make(case)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.5 * p.shape[-1] ** -0.5 * torch.randn_like(p))
    return flow.to(case.device)


def describe(library: str, case: Case) -> dict[str, int]:
    """Return the number of parameters, and of unmasked weights."""
    flow = build(library, case)
    masks = [b for name, b in flow.named_buffers() if name.split(".")[-1] == "mask"]
    return {
        "parameters": sum(p.numel() for p in flow.parameters()),
        "connections": sum(int(m.sum()) for m in masks),
    }


def forget() -> None:
    """Discard the compiled functions of the last case."""
    torch._dynamo.reset()


def prepare(
    library: str, case: Case, measure: str, variant: str, batch: int
) -> tuple[Callable[[], Tensor], Callable[[Tensor], bool]]:
    """Return a call to time, and a check of its result."""
    entry, flow = LIBRARIES[library], build(library, case)

    def compiled(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if variant == "eager":
            return f
        mode = variant if variant == "reduce-overhead" else None
        return torch.compile(f, dynamic=False, mode=mode)

    def finished(result: Tensor) -> Tensor:
        if case.device == "cuda":
            torch.cuda.synchronize()
        return result

    def finite(result: Tensor) -> bool:
        return bool(result.isfinite().all())

    rows = torch.randn(_BATCHES, batch, case.features, device=case.device).unbind()
    if measure == "train":
        batches = cycle(rows)
        loss = compiled(lambda x: -entry.log_prob(flow, x).mean())
        move = _optimizer(library, flow)

        def step() -> Tensor:
            flow.zero_grad()
            value = loss(next(batches))
            value.backward()
            move()
            return finished(value.detach())

        return step, finite

    flow.eval()
    # Compiled calls are not made in inference mode, which torch.compile fails on for normflows.
    without_gradients = torch.inference_mode if variant == "eager" else torch.no_grad
    if measure == "log_prob":
        log_prob = compiled(lambda x: entry.log_prob(flow, x))
        call = without_gradients()(lambda: finished(log_prob(rows[0])))
        return call, finite

    if variant != "eager":
        for net in [m for m in flow.modules() if type(m).__name__ == entry.conditioner]:
            net.compile(dynamic=False)
            with without_gradients():
                net(torch.zeros_like(rows[0]))
    draw = without_gradients()(lambda: finished(entry.sample(flow, batch)))
    return draw, without_gradients()(lambda x: finite(entry.log_prob(flow, x)))


def _optimizer(library: str, flow: nn.Module) -> Callable[[], object]:
    """Return a step of torch's fused Adam, or of the same kernel as called by `fit`."""
    if library.startswith("flowkit"):
        from flowkit.training.adam import Adam

        return Adam(flow.parameters(), lr=1e-4).apply
    return torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True).step


def versions() -> dict[str, str]:
    """Return the version of torch; versions of packages are read from the installation."""
    return {"torch": torch.__version__}
