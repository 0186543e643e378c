"""Time of `fit` until the final score of a plain training loop.

The plain loop is common with zuko: MAF, Adam at 1e-3, batches of 512, validation after each epoch,
and a patience of 15 epochs. `fit` trains a MAF of the same layers and widths until the
same score on the same rows. Times include validation; both alternate, with several seeds.

    TABULAR_DATA_HOME=... python benchmarks/fit.py [--bf16] [--repeats 3]

Writes `benchmarks/results/fit.md`. The tables are MINIBOONE-small, magic and protein.
MINIBOONE-small has the published validation split for training and the test split for scores. The
others are split 80 : 20 by a seed. All are standardised by training rows.
"""

import argparse
import gzip
import os
import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from speed.machine import cpu_model

from flowkit.flows import maf
from flowkit.training import fit

RESULTS = Path(__file__).parent / "results"
LAYERS, BATCH, PATIENCE, MOST_EPOCHS = 5, 512, 15, 200
WIDTHS = {"miniboone-small": (256, 256), "magic": (100, 100), "protein": (100, 100)}


def table(name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return training and held-out rows, standardised."""
    home = Path(os.environ["TABULAR_DATA_HOME"])
    if name == "miniboone-small":
        train, test = (np.load(home / "miniboone" / f"{part}.npy") for part in ("val", "test"))
    else:
        if name == "magic":
            with gzip.open(home / "tables" / "magic.tsv.gz", "rt") as file:
                x = np.loadtxt(file, delimiter="\t", skiprows=1)[:, :-1]
        else:
            folder = home / "uci_regression" / "protein-tertiary-structure"
            x = np.loadtxt(next(folder.rglob("data.txt")))
        # Repeated values have no density; half a step of the last digit does no harm elsewhere.
        rng = np.random.default_rng(seed)
        x = x + 1e-3 * x.std(0) * rng.standard_normal(x.shape)
        x = rng.permutation(x)
        train, test = np.split(x, [len(x) * 4 // 5])
    mean, std = train.mean(0), train.std(0)
    return tuple(torch.tensor((part - mean) / std, dtype=torch.float32) for part in (train, test))


def zuko_loop(
    train: torch.Tensor, test: torch.Tensor, hidden: tuple[int, ...], seed: int
) -> dict[str, float]:
    """Train zuko's MAF with early stopping; return the best score and the seconds of training."""
    import zuko

    torch.manual_seed(seed)
    flow = zuko.flows.MAF(train.shape[1], transforms=LAYERS, hidden_features=hidden)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    best, best_at, stale = -float("inf"), 0.0, 0
    for _ in range(MOST_EPOCHS):
        for rows in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad()
            loss = -flow().log_prob(train[rows]).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            score = flow().log_prob(test).mean().item()
        stale += 1
        if score > best:
            best, best_at, stale = score, time.perf_counter() - start, 0
        if stale == PATIENCE:
            break
    return {"score": best, "to best": best_at, "seconds": time.perf_counter() - start}


def our_fit(
    train: torch.Tensor, test: torch.Tensor, hidden: tuple[int, ...], seed: int, target: float
) -> dict[str, float]:
    """Train flowkit's MAF until a score is reached; return the score and the seconds."""
    torch.manual_seed(seed)
    flow = maf(train.shape[1], layers=LAYERS, hidden=hidden)
    epoch = len(train) // BATCH

    def stop(state) -> None:
        validation = state.history.validation if state.step % every == 0 else []
        if validation and -validation[-1][1] >= target:
            state.stop()

    every = 25
    start = time.perf_counter()
    history = fit(
        flow,
        train,
        validation=test,
        batch_size=BATCH,
        learning_rate=5e-3,
        schedule="constant",
        average=0.99,
        steps=MOST_EPOCHS * epoch,
        validate_every=every,
        patience=60,
        callbacks=[stop],
        seed=seed,
    )
    seconds = time.perf_counter() - start
    return {"score": -min(v for _, v in history.validation), "seconds": seconds}


def bf16_gap(name: str, steps: int) -> tuple[float, float]:
    """Return the final held-out scores of float32 and bf16-mixed with equal settings."""
    train, test = table(name, 0)
    scores = []
    for precision in ("32", "bf16-mixed"):
        torch.manual_seed(0)
        flow = maf(train.shape[1], layers=LAYERS, hidden=WIDTHS[name])
        fit(flow, train, validation=test, steps=steps, average=0.99, precision=precision)
        with torch.no_grad():
            scores.append(flow.log_prob(test).double().mean().item())
    return scores[0], scores[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="also measure the scores of bf16-mixed")
    parser.add_argument("--bf16-steps", type=int, default=600)
    arguments = parser.parse_args()
    lines = [
        "# Time to a score",
        "",
        f"{cpu_model()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{date.today()}, seeds 0 to {arguments.repeats - 1}. Made by `benchmarks/fit.py`.",
        "",
        "MAFs of 5 layers. The score is the mean log-likelihood of the held-out rows, in nats, at",
        "which zuko's early-stopped loop ends (at the latest after 200 epochs, as on protein); "
        "`fit` runs\nuntil it has reached that. Medians.",
        "",
        "| table | rows x columns | hidden | zuko's score | zuko, s (of them to its best) "
        "| `fit`, s | ratio (to zuko's best) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, hidden in WIDTHS.items():
        runs = []
        for seed in range(arguments.repeats):
            train, test = table(name, seed)
            theirs = zuko_loop(train, test, hidden, seed)
            ours = our_fit(train, test, hidden, seed, theirs["score"])
            runs.append((theirs, ours))
            print(name, seed, theirs, ours, flush=True)
        reached = sum(o["score"] >= t["score"] for t, o in runs)
        median = statistics.median
        lines.append(
            f"| {name} | {len(train)} x {train.shape[1]} | {hidden} "
            f"| {median(t['score'] for t, _ in runs):.3f} "
            f"| {median(t['seconds'] for t, _ in runs):.1f} "
            f"({median(t['to best'] for t, _ in runs):.1f}) "
            f"| {median(o['seconds'] for _, o in runs):.1f} "
            f"| {median(o['seconds'] / t['seconds'] for t, o in runs):.2f} "
            f"({median(o['seconds'] / t['to best'] for t, o in runs):.2f})"
            + (" |" if reached == len(runs) else f"; reached in {reached} of {len(runs)} |")
        )
    if arguments.bf16:
        lines += [
            "",
            f"Held-out score after {arguments.bf16_steps} steps, float32 and `bf16-mixed`:",
            "",
            "| table | float32 | bf16-mixed | difference |",
            "| --- | --- | --- | --- |",
        ]
        for name in ("miniboone-small", "protein"):
            full, half = bf16_gap(name, arguments.bf16_steps)
            print(name, full, half, flush=True)
            lines.append(f"| {name} | {full:.4f} | {half:.4f} | {half - full:+.4f} |")
    (RESULTS / "fit.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
