"""Summary of the results: best variants, floors and ratios."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from speed.floor import floor_seconds

TORCH_PEERS = ("zuko", "nflows", "normflows")
MODELS = ("maf-6", "maf-43", "maf-63", "nsf-6", "nsf-43")
WIDE = ("maf-43", "maf-63", "nsf-43")


class Best(NamedTuple):
    """The best variant of a library in one heat: seconds per call, with quartiles over rounds."""

    library: str
    measure: str
    batch: int
    variant: str
    median: float
    low: float
    high: float
    rounds: int

    def per_row(self) -> float:
        """Return seconds per row; for training, seconds per step."""
        return self.median / (1 if self.measure == "train" else self.batch)


def best(result: dict, library: str, measure: str, batch: int | None = None) -> Best | None:
    """Return the best variant at one batch size or over all sizes, or None without results."""
    found = []
    for t in result["times"]:
        if (t["library"], t["measure"]) == (library, measure) and batch in (None, t["batch"]):
            rounds = t["rounds"]
            low, median, high = (
                statistics.quantiles(rounds, n=4, method="inclusive")
                if len(rounds) > 1
                else rounds * 3
            )
            key = (library, measure, t["batch"], t["variant"])
            found.append(Best(*key, median, low, high, len(rounds)))
    return min(found, key=Best.per_row, default=None)


def best_rate(results: dict) -> tuple[str, float]:
    """Return the implementation with the best rate of all cases, and multiply-adds per second."""
    rates = [item for r in results["cases"].values() for item in r.get("rates", {}).items()]
    return max(rates, key=lambda item: item[1], default=("not measured", float("nan")))


def floor_of(results: dict, name: str, measure: str, batch: int) -> float:
    """Return the floor in seconds per call."""
    result = results["cases"][name]
    sizes = {k: result["libraries"]["flowkit"][k] for k in ("connections", "parameters")}
    rate = best_rate(results)[1]
    return floor_seconds(measure, batch, rate=rate, bandwidth=result["bandwidth"], **sizes)


class Goal(NamedTuple):
    """A required ratio; the bounds of ``value`` come from the quartiles."""

    measure: str
    model: str
    against: str
    goal: str
    met: bool
    value: float
    low: float
    high: float


def _ratio(slow: Best | None, fast: Best | None) -> tuple[float, float, float] | None:
    """Return the speed ratio of ``fast`` per row, with bounds from the quartiles."""
    if slow is None or fast is None:
        return None
    rows = (1 if slow.measure == "train" else slow.batch) / (
        1 if fast.measure == "train" else fast.batch
    )
    return (
        slow.median / fast.median / rows,
        slow.low / fast.high / rows,
        slow.high / fast.low / rows,
    )


def goals(results: dict) -> Iterator[Goal]:
    """Yield the goals that have results."""
    done = results["cases"]

    def of(model: str, library: str, measure: str) -> Best | None:
        if library != "torch":
            return best(done[model], library, measure)
        peers = [best(done[model], p, measure) for p in TORCH_PEERS]
        return min(filter(None, peers), key=Best.per_row, default=None)

    def against(model: str, peer: str, measure: str, least: float, ours: str = "flowkit"):
        if model in done:
            slow = of(model, peer, measure)
            ratio = _ratio(slow, of(model, ours, measure))
            if ratio:
                name = f"the best torch peer, {slow.library}" if peer == "torch" else peer
                met = ratio[0] >= least
                yield Goal(_NAMES[ours][measure], model, name, f">= {least:g}", met, *ratio)

    for model in ("maf-43", "maf-63"):
        yield from against(model, "torch", "sample", 25)
        yield from against(model, "flowjax", "sample", 10)
    yield from against("maf-784", "torch", "sample", 100)
    yield from against("maf-784", "flowjax", "sample", 10)
    for model in ("maf-43", "maf-63"):
        if model in done:
            ours = [of(model, "flowkit", m) for m in ("log_prob", "sample")]
            ratio = _ratio(*ours)
            if ratio:
                yield Goal("sampling", model, "own log_prob", ">= 0.4", ratio[0] >= 0.4, *ratio)
    for model, torch_peer, flowjax in (("nsf-6", 5, 3), ("nsf-43", 25, 10)):
        yield from against(model, "torch", "sample", torch_peer)
        yield from against(model, "flowjax", "sample", flowjax)
    for model in MODELS:
        yield from against(model, "torch", "train", 2)
        yield from against(model, "flowjax", "train", 1.3)
    for model in WIDE:
        yield from against(model, "flowjax", "train", 2, "flowkit-bf16")
    for model, train, score in (("maf-6", 1.3, 1.3), ("maf-43", 1.4, 1.5), ("maf-63", 1.4, 1.5)):
        yield from against(model, "torch", "train", train, "flowkit-kernels")
        yield from against(model, "torch", "log_prob", score, "flowkit-kernels")
        least = 5 if model == "maf-6" else 25
        yield from against(model, "zuko", "sample", least, "flowkit-kernels")
    for model in MODELS:
        yield from against(model, "torch", "log_prob", 2 if model in WIDE else 1.3)
        yield from against(model, "flowjax", "log_prob", 1)
    for measure, most, way in (
        ("train", 2, "flowkit"),
        ("train", 1.9, "flowkit-kernels"),
        ("sample", 3, "flowkit"),
        ("sample", 3, "flowkit-kernels"),
    ):
        ours = of("maf-63", way, measure) if "maf-63" in done else None
        if ours:
            floor = floor_of(results, "maf-63", measure, ours.batch)
            multiples = [s / floor for s in (ours.median, ours.low, ours.high)]
            name = _NAMES[way][measure] + ", time"
            yield Goal(name, "maf-63", "the floor", f"<= {most}", multiples[0] <= most, *multiples)


_NAMES: dict[str, dict[str, str]] = {
    "flowkit": {"train": "training step", "log_prob": "log_prob", "sample": "sampling"},
    "flowkit-kernels": {
        "train": "training step, C++ kernels",
        "log_prob": "log_prob, C++ kernels",
        "sample": "sampling, C++ kernels",
    },
    "flowkit-bf16": {"train": "training step, bfloat16 networks"},
}
