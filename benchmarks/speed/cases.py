"""Cases of the benchmark: models, batch sizes, libraries and variants."""

import shutil
from dataclasses import asdict, dataclass, replace

LIBRARIES = ("flowkit", "zuko", "nflows", "normflows", "flowjax")
WAYS = ("flowkit-bf16", "flowkit-kernels")  # of flowkit, each on request
MEASURES = ("train", "log_prob", "sample")


@dataclass(frozen=True)
class Case:
    """One model in all libraries.

    A *heat* is one measure at one batch size. In each round, each library runs for ``slice``
    seconds. A heat ends after ``rounds`` rounds, or if a library has used ``patience`` seconds.
    """

    name: str
    kind: str  # "maf", or "nsf": autoregressive rational-quadratic splines within ± 5
    features: int
    hidden: tuple[int, ...]
    bins: int = 8
    layers: int = 5
    batch: int = 512
    large: int | None = 4096  # the other batch that log_prob and sample are tried with
    measures: tuple[str, ...] = MEASURES
    libraries: tuple[str, ...] = LIBRARIES
    compiled: bool = True
    device: str = "cpu"
    rounds: int = 5
    slice: float = 0.3
    patience: float = 5.0
    clock: str = "wall"  # or "processor": the time of all threads of the process
    seed: int = 0

    def heats(self) -> list[tuple[str, int]]:
        """Return each measure and batch, in order."""
        batches = [self.batch] if self.large is None else [self.batch, self.large]
        return [(m, b) for m in self.measures for b in (batches[:1] if m == "train" else batches)]

    def as_json(self) -> dict:
        """Return the case as a JSON document."""
        return {**asdict(self), **{k: list(v) for k, v in vars(self).items() if type(v) is tuple}}


def case_from_json(data: dict) -> Case:
    return Case(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


CASES = (
    Case("maf-6", "maf", 6, (100, 100)),
    Case("maf-43", "maf", 43, (512, 512)),
    Case("maf-63", "maf", 63, (512, 512)),
    Case("nsf-6", "nsf", 6, (128, 128)),
    Case("nsf-43", "nsf", 43, (256, 256)),
    # Its log_prob tells which way the sampling, minutes long, is best run: see `run.py`.
    Case(
        "maf-784",
        "maf",
        784,
        (1024, 1024),
        batch=100,
        large=None,
        measures=("log_prob", "sample"),
        rounds=3,
    ),
)

# From one model, each of these alone is varied: how time grows with it.
_BASE = Case(
    "growth",
    "maf",
    32,
    (256, 256),
    large=None,
    libraries=("flowkit", "zuko"),
    compiled=False,
    rounds=3,
    slice=0.15,
    patience=3.0,
)
GROWTH = {
    "features": [replace(_BASE, features=n) for n in (4, 8, 16, 32, 64, 128)],
    "width": [replace(_BASE, hidden=(n, n)) for n in (128, 256, 512, 1024)],
    "layers": [replace(_BASE, layers=n) for n in (1, 2, 5, 10)],
    "batch": [replace(_BASE, batch=n) for n in (32, 128, 512, 2048, 8192)],
}


def axis_value(case: Case, axis: str) -> int:
    """Return the value of a case on an axis of `GROWTH`."""
    return case.hidden[0] if axis == "width" else getattr(case, axis)


GROWTH = {
    axis: [replace(c, name=f"growth-{axis}-{axis_value(c, axis)}") for c in cases]
    for axis, cases in GROWTH.items()
}

# Absolute times, where there is a GPU; its large batch is larger.
GPU_CASES = tuple(
    replace(
        c, name=f"gpu-{c.name}", device="cuda", large=c.large and 65536, libraries=LIBRARIES[:4]
    )
    for c in CASES
)

QUICK_CASES = (
    Case("quick-maf", "maf", 5, (16, 16), layers=2, batch=64, large=None, rounds=2, slice=0.02),
    Case("quick-nsf", "nsf", 5, (16, 16), layers=2, batch=64, large=None, rounds=2, slice=0.02),
)
QUICK_CASES = tuple(replace(c, compiled=False) for c in QUICK_CASES)
QUICK_GROWTH = {"layers": [replace(c, slice=0.02) for c in GROWTH["layers"][:2]]}


def compiler() -> str | None:
    """Return the C++ compiler of torch.compile, or None."""
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++", "cl"))), None)


def variants(library: str, case: Case, measure: str) -> tuple[str, ...]:
    """Return the variants of a library, of which the fastest counts."""
    if library == "flowjax":
        return ("jit", "jit, buffers donated") if measure == "train" else ("jit",)
    if library == "flowkit-bf16" and measure == "sample":
        return ()  # the bfloat16 networks only go forward
    ways = ["eager"]
    if case.compiled and compiler() and not (library.startswith("flowkit") and measure == "sample"):
        ways.append("compiled")
    if case.device == "cuda" and case.compiled and compiler() and measure != "sample":
        ways.append("reduce-overhead")
    return tuple(ways)
