"""Worker process of one build of flowkit or of one peer, as in `speed/worker.py`.

python -m default.worker CONTENDER [FOLDER]

FOLDER is where flowkit has to come from. Another build is an error, not a measurement.
"""

import re
import statistics
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from speed.worker import serve, time_calls

from default.cases import BUILDS, TEST_ROWS, Case, case_from_json, rows_of
from default.peers import PEERS

_STATUS = Path("/proc/self/status")
_PACKAGES = {"mixture": "scikit-learn", "kde": "scikit-learn", "zuko-nsf": "zuko"}


class Bench:
    """A server of requests of ``{"case", "bank"}`` alone, or with ``measure``.

    The rows of a case and the latest density fitted to them are kept.
    """

    def __init__(self, contender: str, folder: str | None = None) -> None:
        self.contender, self.folder = contender, folder
        self.case: dict = {}
        self.density: Any = None

    def ask(self, request: dict, timeout: float = 0.0) -> dict:
        """Return the answer to a request; errors are answers, too."""
        del timeout
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._answer(**request)
        except Exception as error:  # whatever a contender raises is a result
            return {"error": f"{type(error).__name__}: {str(error).strip()[:200]}"}

    def _answer(self, case: dict, bank: str | None = None, measure: str | None = None) -> dict:
        if case != self.case:
            self.parsed, self.density = case_from_json(case), None
            self.train, self.test = rows_of(self.parsed, bank)
            self.case = case
        if measure is None:
            return self._described()
        if measure == "fit":
            return self._fit(self.parsed)
        if measure == "score":
            times, scores = time_calls(
                lambda: self.density.score_samples(self.test), self.parsed.slice
            )
            return {"seconds": statistics.median(times), "scores": np.asarray(scores).tolist()}
        times, _ = time_calls(lambda: self.density.sample(TEST_ROWS), self.parsed.slice)
        return {"seconds": statistics.median(times)}

    def _described(self) -> dict:
        rows, columns = self.train.shape
        answer = {"rows": rows, "columns": columns, "test rows": len(self.test)}
        if self.contender in BUILDS:
            import flowkit
            import flowkit.tabular  # whose time is not that of a fit

            source = Path(flowkit.__file__).resolve()
            if self.folder and Path(self.folder).resolve() not in source.parents:
                raise ImportError(f"flowkit comes from another folder than {self.contender}'s")
            return {**answer, "measures": ["fit", "score", "sample"]}
        package = _PACKAGES[self.contender]
        measures = list(self._new(self.parsed).measures)
        return {**answer, "measures": measures, "version": f"{package} {version(package)}"}

    def _new(self, case: Case) -> Any:
        if self.contender in PEERS:
            return PEERS[self.contender]()
        from flowkit import FlowDensity

        return FlowDensity(effort=case.effort, random_state=case.seed)

    def _fit(self, case: Case) -> dict:
        self.density = self._new(case)
        before = _memory("VmRSS")
        _reset_peak()
        start, processor = time.perf_counter(), time.process_time()
        self.density.fit(self.train)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        after = _memory("VmHWM")
        known = before is not None and after is not None
        memory = after - before if known else None
        return {"seconds": seconds, "processor": processor, "memory": memory}


def _memory(key: str) -> float | None:
    """Return a number of ``/proc/self/status`` in GB, or None on other systems."""
    if not _STATUS.exists():
        return None
    found = re.search(rf"^{key}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(found[1]) * 1024 / 1e9 if found else None


def _reset_peak() -> None:
    """Set the peak of the resident memory to its present value, where the system allows that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def main() -> None:
    serve(lambda: Bench(*sys.argv[1:]))


if __name__ == "__main__":
    main()
