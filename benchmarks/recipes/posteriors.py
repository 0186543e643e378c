"""Rows of posteriors with unnormalised density, scored by a classifier two-sample test."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tabular_data
from flowkit.flows import Flow, StandardLogistic, nsf
from flowkit.metrics import classifier_accuracy
from flowkit.transforms import Chain, Interval
from flowkit.vae import fit_posterior
from recipes.inference import TASKS, Task
from recipes.legs import train
from recipes.measured import Measured
from recipes.recipe import Recipe

_DRAWS = 2_000  # of either law: the classifier takes minutes of more


def flow_of(task: Task, context_features: int = 0, **options: Any) -> Flow:
    """Return spline couplings; for a uniform prior, within its box."""
    splines = nsf(task.parameters, context_features=context_features, coupling=True, **options)
    if task.box is None:
        return splines
    box = Interval(task.parameters, -task.box, task.box)
    return Flow(Chain(box, splines.transform), StandardLogistic(task.parameters))


def variational(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Fit a flow to the posterior of each observation, and draw with importance weights."""
    del minutes, path, split
    task, options = TASKS[recipe.data](), dict(recipe.options)
    observations = options.pop("observations")
    accuracies, plain, diagnostics = [], [], []
    for observation in range(1, observations + 1):
        x, reference = observed(recipe.data, observation)
        torch.manual_seed(recipe.seed)
        fitted = fit_posterior(
            lambda theta, x=x: task.log_posterior(x, theta),
            flow_of(task, **options),
            seed=recipe.seed,
            **recipe.training,
        )
        generator = torch.Generator().manual_seed(recipe.seed)
        better = fitted.sample(_DRAWS, resample=True, generator=generator)
        accuracies.append(accuracy(reference, better))
        plain.append(accuracy(reference, fitted.sample(_DRAWS, generator=generator)))
        d = fitted.diagnostics
        diagnostics.append([d.effective_samples / d.draws, d.pareto_k])
    share = sum(d[0] for d in diagnostics) / observations
    worst = max(d[1] for d in diagnostics)
    detail = (
        f"{observations} observations; of the flow itself, without importance weights, "
        f"{sum(plain) / observations:.3f}; effective samples {share:.0%}, largest Pareto k "
        f"{worst:.2f}"
    )
    notes = {"accuracies": accuracies, "of_the_flow": plain, "diagnostics": diagnostics}
    return Measured(torch.tensor(accuracies), notes, detail=detail)


def amortised(recipe: Recipe, minutes: float, path: Path, split: int) -> Measured:
    """Fit one conditional flow to simulations, for all observations (posterior estimation)."""
    del split
    task, options = TASKS[recipe.data](), dict(recipe.options)
    simulations, observations = options.pop("simulations"), options.pop("observations")
    generator = torch.Generator().manual_seed(recipe.seed)
    theta = task.prior(simulations, generator)
    x = task.simulate(theta, generator)
    mean, scale = x.mean(0), x.std(0)

    def make() -> Flow:
        torch.manual_seed(recipe.seed)
        return flow_of(task, x.shape[1], **options)

    trained = train(
        make,
        theta,
        minutes,
        path,
        context=(x - mean) / scale,
        validation=0.05,
        seed=recipe.seed,
        **recipe.training,
    )
    accuracies = []
    for observation in range(1, observations + 1):
        seen, reference = observed(recipe.data, observation)
        context = ((seen - mean) / scale).expand(_DRAWS, -1)
        with torch.no_grad():
            drawn = trained.model.sample((), context, generator)
        accuracies.append(accuracy(reference, drawn))
    detail = f"{simulations:,} simulations, {observations} observations"
    notes = trained.notes() | {"accuracies": accuracies}
    return Measured(torch.tensor(accuracies), notes, detail=detail)


def observed(task: str, observation: int) -> tuple[Tensor, Tensor]:
    """Return an observation and reference draws of its posterior."""
    found = tabular_data.load(f"sbibm-{task}", observation=observation)
    x, draws = found.labels["observation"], found.train
    return torch.from_numpy(x).float(), torch.from_numpy(draws[:_DRAWS]).float()


def accuracy(reference: Tensor, drawn: Tensor) -> float:
    """Return the accuracy of a classifier of both samples."""
    begin = time.monotonic()
    value = classifier_accuracy(reference.numpy(), drawn.numpy())
    print(f"  told apart {value:.3f} ({time.monotonic() - begin:.0f} s)", flush=True)
    return value
