"""Calibration checks of `flowkit.metrics` beside those of the sbi package.

    python benchmarks/calibration.py [--repeats 200]

Runs where sbi 0.27 is installed. The model is linear and Gaussian, so that posterior draws are
exact, or wrong by a known scale or shift. Both libraries get the same arrays. First their numbers
are compared; then rejections at a nominal 5 % are counted, for exact and for wrong posteriors.
Writes benchmarks/results/calibration.md.
"""

import argparse
import contextlib
import io
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sbi.diagnostics import LC2ST, check_tarp, run_sbc, run_tarp
from sbi.diagnostics.sbc import check_uniformity_frequentist
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from speed.machine import cpu_model

from flowkit.metrics import local_c2st, sbc, tarp

RESULTS = Path(__file__).parent / "results"
SEED, LEVEL, TRIALS = 0, 0.05, 19
DEVIATION = 0.5**0.5  # of the posterior given x = theta + noise, all standard normal
FAULTS = {"exact": (1.0, 0.0), "deviations x 0.8": (0.8, 0.0), "means + 0.25 deviations": (1, 0.25)}


class Case(NamedTuple):
    """Arrays of one repeat: parameters and observations ``(n, d)``, draws ``(n, L, d)``."""

    theta: np.ndarray
    x: np.ndarray
    draws: np.ndarray


def drawn(
    rng: np.random.Generator, x: np.ndarray, number: int, scale: float, shift: float
) -> np.ndarray:
    """Return draws ``(n, number, d)``, wrong by a scale and by a shift in posterior deviations."""
    noise = rng.normal(size=(len(x), number, x.shape[1]))
    return x[:, None] / 2 + DEVIATION * (shift + scale * noise)


def case(seed: int, n: int, number: int, d: int, fault: str = "exact") -> Case:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, d))
    x = theta + rng.normal(size=(n, d))
    return Case(theta, x, drawn(rng, x, number, *FAULTS[fault]))


class Stored:
    """A posterior for sbi that returns stored draws."""

    def __init__(self, draws: np.ndarray) -> None:
        self.draws = torch.from_numpy(draws).movedim(1, 0)

    def sample_batched(self, shape: tuple[int], x: torch.Tensor, **_: object) -> torch.Tensor:
        del shape, x
        return self.draws


def arrays(case: Case) -> tuple[torch.Tensor, torch.Tensor, Stored]:
    """Return theta, x and posterior of a case, as sbi takes them."""
    return torch.from_numpy(case.theta), torch.from_numpy(case.x), Stored(case.draws)


def sbi_ranks(case: Case) -> torch.Tensor:
    number = case.draws.shape[1]
    return run_sbc(*arrays(case), num_posterior_samples=number, show_progress_bar=False)[0]


def sbi_tarp(case: Case, references: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
    given = None if references is None else torch.from_numpy(references)
    number = case.draws.shape[1]
    return run_tarp(
        *arrays(case), references=given, num_posterior_samples=number, show_progress_bar=False
    )


def sbi_local(case: Case, classifier: type, options: dict, trials: int = TRIALS) -> LC2ST:
    test = LC2ST(
        torch.from_numpy(case.theta),
        torch.from_numpy(case.x),
        torch.from_numpy(case.draws[:, 0]),
        classifier=classifier,
        classifier_kwargs=options,
        num_trials_null=trials,
    )
    return test.train_on_observed_data(verbosity=0).train_under_null_hypothesis(verbosity=0)


def same_numbers() -> list[str]:
    """Compare both libraries on one case each."""
    lines = []
    torch.manual_seed(SEED)
    plain = case(SEED, 1_000, 199, 3)
    ranks, ours = sbi_ranks(plain).numpy(), sbc(plain.theta, plain.draws)
    unequal = int((ranks != ours.ranks).sum())
    lines.append(f"| SBC | ranks that differ, of {ranks.size} | {unequal} |")

    references = np.random.default_rng(SEED).uniform(-4, 4, plain.theta.shape)
    for fault in FAULTS:
        wrong = case(SEED, 1_000, 199, 3, fault)
        ecp, alpha = sbi_tarp(wrong, references)
        found = tarp(wrong.theta, wrong.draws, references=references)
        counts = np.histogram(found.ranks / found.n_draws, alpha.numpy())[0]
        gap = np.abs(counts.cumsum() / len(wrong.theta) - ecp.numpy()[1:]).max()
        lines.append(f"| TARP, {fault} | largest difference, same references | {gap:.1e} |")
        ecp, alpha = sbi_tarp(wrong, None)
        other = tarp(wrong.theta, wrong.draws)
        gap = np.abs(np.interp(other.curve.at, alpha, ecp) - other.coverage).max()
        # Two independent shares of 1,000 differ by four standard errors at most.
        limit = 4 * (2 * 0.25 / 1_000) ** 0.5
        lines.append(
            f"| | largest difference, references of each (noise: {limit:.3f}) | {gap:.3f} |"
        )
        area, _ = check_tarp(*sbi_tarp(wrong, references))
        lines.append(f"| | area of flowkit, of sbi | {found.area:.4f}, {area:.4f} |")

    rng = np.random.default_rng(SEED)
    wrong = case(SEED, 1_000, 1, 2, "means + 0.25 deviations")
    at = np.array([[0.0, 0.0], [1.0, -1.0], [2.0, 2.0]])
    at_draws = drawn(rng, at, 1_000, *FAULTS["means + 0.25 deviations"])
    network = {"hidden_layer_sizes": (20, 20), "early_stopping": True, "random_state": 1}
    network |= {"max_iter": 1000, "n_iter_no_change": 50}
    for kind, options in ((LogisticRegression, {}), (MLPClassifier, network)):
        theirs = sbi_local(wrong, kind, options, trials=1)
        classifier = kind(**options)
        found = local_c2st(
            wrong.theta, wrong.draws, wrong.x, at, at_draws, classifier=classifier, trials=1
        )
        values = [
            theirs.get_statistic_on_observed_data(torch.from_numpy(d), torch.from_numpy(a[None]))
            for a, d in zip(at, at_draws, strict=True)
        ]
        gap = np.abs(found.statistic - values).max()
        shown = ", ".join(f"{value:.5f}" for value in found.statistic)
        name = f"L-C2ST, {kind.__name__}"
        lines.append(f"| {name} | largest difference of the statistics {shown} | {gap:.1e} |")
    return lines


def ranks_rejected(seed: int, n: int, number: int, fault: str) -> tuple[bool, bool]:
    """Return whether flowkit and sbi reject ranks of one parameter."""
    one = case(seed, n, number, 1, fault)
    ks = check_uniformity_frequentist(sbi_ranks(one), number)[0]
    return sbc(one.theta, one.draws, seed=seed).p_value[0] <= LEVEL, bool(ks <= LEVEL)


def tarp_rejected(seed: int, n: int, number: int, fault: str) -> tuple[bool, bool]:
    """Return whether flowkit and sbi reject coverage, of two parameters."""
    one = case(seed, n, number, 2, fault)
    torch.manual_seed(seed)
    _, ks = check_tarp(*sbi_tarp(one, None))
    return tarp(one.theta, one.draws, seed=seed).p_value <= LEVEL, bool(ks <= LEVEL)


def local_rejected(seed: int, n: int, d: int, fault: str) -> tuple[bool, bool]:
    """Return whether flowkit and sbi reject at one x, by logistic regression of all ``d`` x."""
    one = case(seed, n, 1, d, fault)
    rng = np.random.default_rng((seed, 1))
    at = rng.normal(size=(1, d))
    at_draws = drawn(rng, at, 200, *FAULTS[fault])
    first = Case(one.theta[:, :1], one.x, one.draws[..., :1])
    ours = local_c2st(
        first.theta, first.draws, first.x, at, at_draws[..., :1],
        classifier=LogisticRegression(), trials=TRIALS, seed=seed,
    )  # fmt: skip
    theirs = sbi_local(first, LogisticRegression, {})
    place = torch.from_numpy(at_draws[0, :, :1]), torch.from_numpy(at)
    return ours.p_value[0] <= LEVEL, theirs.p_value(*place) <= LEVEL


NARROW, SHIFTED = list(FAULTS)[1:]
TESTS = [
    ("SBC, n = 1000, L = 199", ranks_rejected, 1_000, 199, (NARROW, SHIFTED)),
    ("SBC, n = 1000, L = 19", ranks_rejected, 1_000, 19, ()),
    ("TARP, n = 1000, L = 99", tarp_rejected, 1_000, 99, (NARROW, SHIFTED)),
    # Logistic regression is linear, and cannot detect deviations.
    ("L-C2ST, n = 200, 1 column of x", local_rejected, 200, 1, (SHIFTED,)),
    ("L-C2ST, n = 200, 8 columns of x", local_rejected, 200, 8, (SHIFTED,)),
]


def rejections(repeats: int) -> list[str]:
    """Count rejections of exact and of wrong posteriors."""
    lines = []
    for name, rejected, n, number, faults in TESTS:
        for fault in ("exact", *faults):
            both = np.array([rejected(seed, n, number, fault) for seed in range(repeats)])
            ours, theirs = both.mean(0)
            lines.append(f"| {name} | {fault} | {ours:.3f} | {theirs:.3f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Compare, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        numbers = same_numbers()
        print("\n".join(numbers), flush=True)
        counted = rejections(repeats)
    names = ", ".join(f"{name} {version(name)}" for name in ("sbi", "torch", "scikit-learn"))
    lines = [
        "# Calibration checks beside sbi",
        "",
        f"{cpu_model()}, {names}, seed {SEED}, {date.today()}.",
        "Made by `benchmarks/calibration.py`, on a linear Gaussian model.",
        "",
        "Numbers of both libraries on the same input:",
        "",
        "| check | number | value |",
        "| --- | --- | --- |",
        *numbers,
        "",
        f"Share of {repeats} repeats in which a test of nominal level {LEVEL} rejects. Exact",
        "posteriors should give the level; wrong ones should give 1. sbi's tests are `check_sbc`",
        "(its Kolmogorov-Smirnov p-value), `check_tarp` and `LC2ST`. L-C2ST is by logistic",
        f"regression, with {TRIALS} trials, at one random x, for the first of the parameters.",
        "",
        "| test | posterior | flowkit | sbi |",
        "| --- | --- | --- | --- |",
        *counted,
        "",
        "sbi compares ranks, which are discrete, with a continuous distribution. Its `check_tarp`",
        "compares the values of two curves on a grid as if they were samples. Its `LC2ST` permutes",
        "labels over all rows, which unbalances x; `local_c2st` exchanges labels within rows.",
    ]
    (RESULTS / "calibration.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
