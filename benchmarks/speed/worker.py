"""Worker process of one library, with requests and answers as lines of JSON.

python -m speed.worker LIBRARY
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

from speed.cases import case_from_json


def _adapter(library: str) -> ModuleType:
    if library == "flowjax":
        from speed import with_jax as adapter
    else:
        from speed import with_torch as adapter
    return adapter


class Bench:
    """A server of requests of ``{"case"}`` alone, or with ``measure, variant, batch, seconds``.

    Prepared calls are kept until a request of another case.
    """

    def __init__(self, library: str) -> None:
        self.library = library
        self.adapter = _adapter(library)
        self.case: dict = {}
        self.ready: dict[tuple, tuple[Callable, Callable]] = {}
        self.checked: set[tuple] = set()

    def ask(self, request: dict, timeout: float = 0.0) -> dict:
        """Return the answer to a request; errors are answers, too."""
        del timeout
        try:
            return self._answer(**request)
        except Exception as error:  # whatever a library raises is a result
            return {"error": f"{type(error).__name__}: {str(error).strip()[:200]}"}

    def _answer(
        self,
        case: dict,
        measure: str | None = None,
        variant: str = "",
        batch: int = 0,
        seconds: float = 0.0,
    ) -> dict:
        if case != self.case:
            self.ready.clear()
            self.checked.clear()
            self.adapter.forget()
            self.case = case
        parsed = case_from_json(case)
        if measure is None:
            package = self.library.split("-")[0]
            name = {"flowkit": "flowkit-density"}.get(package, package)
            versions = {package: version(name), **self.adapter.versions()}
            return {**self.adapter.describe(self.library, parsed), "versions": versions}
        key = (measure, variant, batch)
        start = time.perf_counter()
        if key not in self.ready:
            self.ready[key] = self.adapter.prepare(self.library, parsed, *key)
            if variant != "eager" and measure != "sample":  # which `prepare` has compiled
                self.ready[key][0]()
        prepared = time.perf_counter() - start
        if not seconds:
            return {"prepared": prepared}
        call, check = self.ready[key]
        times, result = time_calls(call, seconds, CLOCKS[parsed.clock])
        if key not in self.checked and not check(result):
            raise FloatingPointError("its results are not finite")
        self.checked.add(key)
        return {"prepared": prepared, "median": statistics.median(times), "calls": len(times)}


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def time_calls(
    call: Callable, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], object]:
    """Return the seconds of each call within a slice of time, and the last result.

    The first of several calls is a warm-up, and excluded.
    """
    times: list[float] = []
    end = clock() + seconds
    while not times or clock() < end:
        start = clock()
        result = call()
        times.append(clock() - start)
    return times[1:] or times, result


def serve(make: Callable[[], Any]) -> None:
    """Answer requests, one a line, by what ``make`` returns; its errors are answers, too."""
    # Libraries may print: what they print goes the way of errors.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    bench = None
    for line in sys.stdin:
        try:
            bench = bench or make()
            answer = bench.ask(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "fatal": True}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    serve(lambda: Bench(sys.argv[1]))


if __name__ == "__main__":
    main()
