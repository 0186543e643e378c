"""Timing in turns: in each round each contender fits, scores and draws once."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from speed.process import Worker

from default.cases import BUILDS, MEASURES, Case

_DESCRIBE_TIMEOUT = 300.0
_TIMEOUT = 3600.0


@dataclass
class Contender:
    """A build or peer, with the seconds of each round by measure."""

    name: str
    measures: tuple[str, ...]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: list[float] = field(default_factory=list)  # seconds of all threads, of the fits
    memory: float | None = None
    failed: bool = False
    scores: np.ndarray | None = None

    @property
    def group(self) -> str:
        """Whose patience ends together: both builds have the same rounds."""
        return "builds" if self.name in BUILDS else self.name


def measure_case(
    case: Case,
    workers: Mapping[str, Worker],
    bank: str | None = None,
    log: Callable[[str], None] = print,
) -> dict:
    """Return all results of one case, as a JSON document."""
    notes: list[str] = []
    contenders, size, versions = [], {}, []

    def ask(name: str, measure: str | None = None) -> dict | None:
        request = {"case": case.as_json(), "bank": bank}
        request |= {"measure": measure} if measure else {}
        answer = workers[name].ask(request, _TIMEOUT if measure else _DESCRIBE_TIMEOUT)
        if "error" in answer:
            notes.append(f"{name}{f', {measure}' if measure else ''}: {answer['error']}")
            return None
        return answer

    for name in (*BUILDS, *case.peers):
        answer = ask(name) if name in workers else None
        if answer:
            contenders.append(Contender(name, tuple(answer["measures"])))
            size = {k: answer[k] for k in ("rows", "columns", "test rows")}
            versions += [answer["version"]] if "version" in answer else []
    load = os.getloadavg()[0]  # of others too, before the first round
    for measure in MEASURES:
        _heat(case, measure, contenders, ask, log)
    return {
        "case": case.as_json(),
        "date": str(date.today()),
        **size,
        "versions": versions,
        "contenders": {c.name: _summary(c) for c in contenders if c.seconds},
        "load": load,
        "difference": _difference(contenders),
        "notes": notes,
    }


def _heat(
    case: Case,
    measure: str,
    contenders: list[Contender],
    ask: Callable[[str, str], dict | None],
    log: Callable[[str], None],
) -> None:
    """Time one measure of all contenders in turns."""
    # A peer needs a fit, also where that is not compared.
    takes_part = [c for c in contenders if measure in ("fit", *c.measures)]
    spent: dict[str, float] = {}
    for r in range(case.rounds):
        turn = r % len(takes_part) if takes_part else 0  # another one begins
        tired = {group for group, seconds in spent.items() if seconds > case.patience}
        for c in takes_part[turn:] + takes_part[:turn]:
            unfitted = measure != "fit" and "fit" not in c.seconds
            if c.group in tired or c.failed or unfitted:
                continue
            answer = ask(c.name, measure)
            c.failed = answer is None
            if answer is None:
                continue
            c.seconds.setdefault(measure, []).append(answer["seconds"])
            spent[c.group] = spent.get(c.group, 0.0) + answer["seconds"]
            if measure == "fit":
                c.processor.append(answer["processor"])
                # Later fits use the memory of the first again.
                c.memory = answer["memory"] if r == 0 else c.memory
            if measure == "score":
                c.scores = np.array(answer["scores"])
            log(f"{case.name}: {c.name}, {measure}: {answer['seconds']:.4g} s")


def _summary(c: Contender) -> dict:
    found: dict = {"seconds": {m: s for m, s in c.seconds.items() if m in c.measures}}
    if c.name in BUILDS:
        found["processor"] = c.processor
        found |= {} if c.memory is None else {"memory": c.memory}
    if c.scores is not None:
        found["score"] = float(c.scores.mean())
        found["standard error"] = float(c.scores.std(ddof=1) / len(c.scores) ** 0.5)
    return found


def _difference(contenders: list[Contender]) -> dict | None:
    """Return the difference of the held-out scores of today's build and base, row by row."""
    scores = {c.name: c.scores for c in contenders if c.name in BUILDS and c.scores is not None}
    if len(scores) < 2:
        return None
    gain = scores["today"] - scores["base"]
    return {"mean": float(gain.mean()), "standard error": float(gain.std() / len(gain) ** 0.5)}
