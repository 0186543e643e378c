"""Flow of a table, composed by hand, with a Gaussian and a Gaussian mixture as baselines.

Writes scikit-learn's breast-cancer table (569 rows, 30 positive columns) to a CSV file, and fits a
neural spline flow. Prints held-out log-likelihoods of the three models in the units of the table,
and draws a picture of data and samples.

    python examples/by_hand.py [--quick] [--out DIR]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture

from flowkit.flows import Flow, nsf
from flowkit.training import fit
from flowkit.transforms import Chain, LULinear

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SEED = 0
TEST_ROWS = 113


class LogColumns:
    """Map of non-negative columns to standardised logarithms, with its inverse.

    ``u = (log(x + c) - mean) / std``; c is a fifth of the median. All statistics are those of the
    training rows.
    """

    def __init__(self, x: np.ndarray) -> None:
        self.offset = 0.2 * np.median(x, axis=0)
        logs = np.log(x + self.offset)
        self.mean, self.std = logs.mean(axis=0), logs.std(axis=0)

    def encode(self, x: np.ndarray) -> np.ndarray:
        return (np.log(x + self.offset) - self.mean) / self.std

    def decode(self, u: np.ndarray) -> np.ndarray:
        return np.exp(u * self.std + self.mean) - self.offset

    def logabsdet(self, x: np.ndarray) -> np.ndarray:
        """Return log-densities of x minus log-densities of u."""
        return -(np.log(x + self.offset) + np.log(self.std)).sum(axis=1)


def write_csv(path: Path) -> None:
    data = load_breast_cancer()
    header = ",".join(name.replace(" ", "_") for name in data.feature_names)
    np.savetxt(path, data.data, delimiter=",", header=header, comments="", fmt="%.8g")


def whitening_flow(u: np.ndarray) -> Flow:
    """Return a spline flow after a linear layer, which is initialised as whitening of the rows."""
    features = u.shape[1]
    flow = nsf(features, layers=2, hidden=(32,))
    linear = LULinear(features)
    precision = np.linalg.inv(np.cov(u.T) + 1e-4 * np.eye(features))
    factor = torch.tensor(np.linalg.cholesky(precision).T, dtype=torch.float32)
    with torch.no_grad():
        linear.upper.copy_(factor)
        linear.log_diagonal.copy_(factor.diagonal().log())
    return Flow(Chain(linear, flow.transform), flow.base)


def best_mixture(train: np.ndarray, valid: np.ndarray) -> GaussianMixture:
    """Return the mixture of 2 to 6 components with the best score on validation rows."""
    candidates = [
        GaussianMixture(k, covariance_type=kind, reg_covar=1e-4, random_state=SEED).fit(train)
        for k in range(2, 7)
        for kind in ("full", "diag", "tied")
    ]
    return max(candidates, key=lambda mixture: mixture.score(valid))


def draw(names: list[str], data: np.ndarray, samples: np.ndarray, path: Path) -> None:
    columns = [0, 1, 4, 7, 20, 27]
    figure, axes = plt.subplots(6, 6, figsize=(13, 13))
    for row, i in enumerate(columns):
        for column, j in enumerate(columns):
            axis = axes[row, column]
            low, high = np.quantile(data[:, j], [0.002, 0.998])
            pad = 0.1 * (high - low)
            if i == j:
                bins = np.linspace(low - pad, high + pad, 40)
                for rows, colour in ((data, "tab:blue"), (samples, "tab:orange")):
                    axis.hist(rows[:, j], bins, density=True, histtype="step", color=colour)
                axis.set_yticks([])
            else:
                y_low, y_high = np.quantile(data[:, i], [0.002, 0.998])
                y_pad = 0.1 * (y_high - y_low)
                few = samples[: len(data)]
                axis.plot(data[:, j], data[:, i], ".", ms=2, color="tab:blue", alpha=0.5)
                axis.plot(few[:, j], few[:, i], ".", ms=2, color="tab:orange", alpha=0.5)
                axis.set_ylim(y_low - y_pad, y_high + y_pad)
            axis.set_xlim(low - pad, high + pad)
            if row == len(columns) - 1:
                axis.set_xlabel(names[j].replace("_", " "), fontsize=9)
            if column == 0:
                axis.set_ylabel(names[i].replace("_", " "), fontsize=9)
            axis.tick_params(labelsize=6)
    figure.suptitle("Breast cancer: data (blue) and samples of the flow (orange)")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, for a test run")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for CSV and picture")
    options = parser.parse_args()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    csv = options.out / "breast_cancer.csv"
    write_csv(csv)
    x = np.loadtxt(csv, delimiter=",", skiprows=1)
    names = csv.read_text().splitlines()[0].split(",")
    console.print(f"wrote {csv}: {x.shape[0]} rows, {x.shape[1]} columns")

    order = np.random.default_rng(SEED).permutation(len(x))
    test, train = x[order[:TEST_ROWS]], x[order[TEST_ROWS:]]
    columns = LogColumns(train)
    u, u_test = columns.encode(train), columns.encode(test)

    torch.manual_seed(SEED)
    flow = whitening_flow(u)
    fit(
        flow,
        torch.tensor(u, dtype=torch.float32),
        validation=0.15,
        steps=200 if options.quick else 2000,
        batch_size=128,
        learning_rate=2e-4,
        seed=SEED,
        progress=True,
    )

    # All three models are fitted to u; the log-determinant converts to the units of the table.
    logabsdet = columns.logabsdet(test)
    n_valid = round(0.15 * len(u))
    gaussian = GaussianMixture(1, random_state=SEED).fit(u)
    mixture = best_mixture(u[n_valid:], u[:n_valid])
    with torch.no_grad():
        flow_scores = flow.log_prob(torch.tensor(u_test, dtype=torch.float32)).double().numpy()
    scores = {
        "full Gaussian": gaussian.score_samples(u_test) + logabsdet,
        f"Gaussian mixture ({mixture.n_components}, {mixture.covariance_type})": (
            mixture.score_samples(u_test) + logabsdet
        ),
        "flow": flow_scores + logabsdet,
    }
    table = Table(title=f"log-likelihood of {len(test)} held-out rows, nats per row")
    for heading in ("model", "mean", "standard error", "above the Gaussian (paired)"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model, score in scores.items():
        gain = score - scores["full Gaussian"]
        error, gain_error = (np.std(v, ddof=1) / len(v) ** 0.5 for v in (score, gain))
        paired = "" if not gain.any() else f"{gain.mean():+.2f} ± {gain_error:.2f}"
        table.add_row(model, f"{score.mean():.2f}", f"{error:.2f}", paired)
    console.print(table)

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        samples = columns.decode(flow.sample((2000,), generator=generator).double().numpy())
    picture = options.out / "breast_cancer.png"
    draw(names, x, samples, picture)
    console.print(f"wrote {picture}: data against {len(samples)} samples")


if __name__ == "__main__":
    main()
