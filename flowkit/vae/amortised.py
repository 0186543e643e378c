"""Posterior estimation from simulations: one conditional flow for all observations."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit._checks import check_count
from flowkit.distributions import StandardLogistic
from flowkit.errors import DataError, ShapeError
from flowkit.flows import Flow, nsf
from flowkit.metrics.posterior_draws import finite_array
from flowkit.training import History, fit_many
from flowkit.transforms import Chain, Interval

_BATCH = 256
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 100, 500, 20_000
_ROWS_AT_ONCE = 100_000
# Of splines after logits: a uniform prior has a thousandth of its mass beyond.
_LOGIT_BOUND = 8.0
Bounds = float | Sequence[float | None] | None


class ConditionalPosterior:
    """The density of parameters given observations, an ensemble of conditional flows.

    Instances are made by `fit_conditional`. Results are arrays if the simulations were arrays,
    and else tensors.

    Attributes:
        flows: the members, with equal weights; each is a `Flow` with the observation as context.
        histories: losses of their fits.
    """

    def __init__(self, flows: Sequence[Flow], histories: Sequence[History], arrays: bool) -> None:
        self.flows, self.histories = tuple(flows), tuple(histories)
        self._arrays = arrays

    @torch.no_grad()
    def log_prob(self, theta: Any, x: Any) -> Any:
        """Return the log-density of parameters given observations, in nats, ``(n,)``.

        Args:
            theta: parameters ``(n, p)``, in their own units.
            x: observations ``(n, d)``, or one of them, ``(1, d)``.

        Raises:
            ShapeError: theta or x of another shape.
            DataError: a number that is not finite.
        """
        points, context = self._rows("theta", theta), self._rows("x", x)
        if len(context) not in (1, len(points)):
            raise ShapeError("x", f"1 or {len(points)} rows, as theta", tuple(context.shape))
        context = context.expand(len(points), -1)
        each = torch.stack([flow.log_prob(points, context) for flow in self.flows])
        return self._returned(each.logsumexp(0) - math.log(len(self.flows)))

    score_samples = log_prob

    @torch.no_grad()
    def sample(self, x: Any, n: int = 1, *, generator: torch.Generator | None = None) -> Any:
        """Draw parameters given observations, ``(rows, n, p)``, as the checks of calibration do.

        Args:
            x: observations ``(rows, d)``.
            n: number of draws for each observation.
            generator: random number generator; torch's global generator by default.

        Raises:
            ShapeError: x of another shape.
            DataError: a number that is not finite.
            ArgumentError: ``n`` is not a positive integer.
        """
        check_count("n", n)
        context = self._rows("x", x).repeat_interleave(n, 0)
        place = "cpu" if generator is None else generator.device
        member = torch.randint(
            len(self.flows), (len(context),), generator=generator, device=place
        ).to(context.device)
        drawn = context.new_empty(len(context), self.flows[0].event_shape[0])
        for k, flow in enumerate(self.flows):
            for rows in (member == k).nonzero().squeeze(1).split(_ROWS_AT_ONCE):
                drawn[rows] = flow.sample((), context[rows], generator)
        return self._returned(drawn.unflatten(0, (-1, n)))

    def _rows(self, name: str, values: Any) -> Tensor:
        flow = self.flows[0]
        width = flow.context_features if name == "x" else flow.event_shape[0]
        expected = f"shape (n, {width}), n at least 1"
        rows = finite_array(name, values, 2, expected)
        if rows.shape[1] != width:
            raise ShapeError(name, expected, rows.shape)
        weights = next(flow.parameters())
        return torch.from_numpy(rows).to(weights)

    def _returned(self, values: Tensor) -> Any:
        return values.cpu().double().numpy() if self._arrays else values


def fit_conditional(
    theta: Any,
    x: Any,
    *,
    low: Bounds = None,
    high: Bounds = None,
    members: int = 3,
    seed: int = 0,
    **options: Any,
) -> ConditionalPosterior:
    """Fit the posterior density of parameters given observations to simulations of both.

    Neural posterior estimation, amortised: one fit serves all observations. Flows of
    autoregressive splines, each validated on its own tenth of the simulations, are averaged; an
    average is less overconfident than one flow.

    Args:
        theta: parameters, drawn from the prior, ``(n, p)``, an array or a tensor, in any units.
        x: observations simulated from ``theta``, ``(n, d)``; of images or series, a few summaries.
        low: lower bounds of the prior's support, one number or one per parameter; None for none.
            With bounds, no density is lost beyond the prior.
        high: upper bounds, likewise.
        members: number of flows.
        seed: random seed. The same seed and simulations give the same posterior.
        options: options of `flowkit.training.fit`, such as ``steps``, ``device``, ``progress`` and
            ``max_seconds``.

    Returns:
        The posterior; ``sample``, ``log_prob``.

    Raises:
        ShapeError: theta and x are no tables of as many rows, of at least 20.
        DataError: a number that is not finite, or a parameter outside of the bounds.
        ArgumentError: an option is out of range.

    Reference: Papamakarios and Murray, *Fast ε-free inference of simulation models with Bayesian
    conditional density estimation*, 2016; Greenberg, Nonnenmacher and Macke, *Automatic posterior
    transformation for likelihood-free inference*, 2019; Hermans et al., *A trust crisis in
    simulation-based inference?*, 2022, for ensembles.

    Example:
        >>> theta = torch.rand(200, 1)
        >>> x = theta + 0.1 * torch.randn(200, 1)
        >>> posterior = fit_conditional(theta, x, low=0.0, high=1.0, members=2, steps=5)
        >>> posterior.sample(torch.tensor([[0.2], [0.7]]), 100).shape
        torch.Size([2, 100, 1])
        >>> posterior.log_prob(theta, x).shape
        torch.Size([200])
    """
    check_count("members", members)
    arrays = not isinstance(theta, Tensor)
    rows, context = (
        torch.from_numpy(finite_array(name, values, 2, "shape (n, columns), n at least 20"))
        for name, values in (("theta", theta), ("x", x))
    )
    if len(rows) < 20 or len(context) != len(rows):
        got = f"{len(rows)} rows of theta and {len(context)} of x"
        raise ShapeError("theta and x", "as many rows, at least 20", got)
    settings = {"batch_size": min(_BATCH, len(rows) // 4), "patience": 20} | options
    steps = _EPOCHS * len(rows) // settings["batch_size"]
    settings.setdefault("steps", min(max(steps, _FEWEST_STEPS), _MOST_STEPS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flows = [_flow(rows, context.shape[1], low, high) for _ in range(members)]
    histories = fit_many(
        flows,
        rows,
        context=context,
        validation=settings.pop("validation", 0.1),
        seeds=range(seed, seed + members),
        precision=settings.pop("precision", "32"),
        **settings,
    )
    return ConditionalPosterior(flows, histories, arrays)


def _flow(theta: Tensor, context_features: int, low: Bounds, high: Bounds) -> Flow:
    """Return an untrained flow; with bounds, within them."""
    p, bounded = theta.shape[1], not (low is None and high is None)
    splines = nsf(
        p,
        context_features=context_features,
        layers=5,
        hidden=(64, 64),
        bins=10 if bounded else 8,
        bound=_LOGIT_BOUND if bounded else 5.0,
    )
    if not bounded:
        return splines
    bounds = Interval(p, low, high)
    outside = (bounds.map(theta)[1] == -np.inf).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        where, value = f"theta, row {row}, column {column}", float(theta[row, column])
        raise DataError(where, "a parameter inside of low and high", value)
    return Flow(Chain(bounds, splines.transform), StandardLogistic(p))
