"""Interleaved timing: each round runs all libraries, so that load affects all equally."""

import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

from speed.cases import Case, variants
from speed.floor import bandwidth, matrix_rates
from speed.process import Worker

_PREPARE_TIMEOUT = 300.0
_CALL_TIMEOUT = 600.0
_TOO_SLOW = 1.5  # seconds for the small batch, beyond which the large one is not drawn
_SLOW_FEATURES = 200  # beyond this, log_prob chooses the variant that draws
_LOSER = 1.25  # a variant slower than its sibling by this factor leaves after two rounds


@dataclass
class Contender:
    """A variant of a library, with the median seconds per call of each round."""

    library: str
    variant: str
    rounds: list[float] = field(default_factory=list)
    calls: int = 0
    spent: float = 0.0
    error: str | None = None

    @property
    def median(self) -> float:
        """Seconds per call."""
        return statistics.median(self.rounds)


def measure_case(
    case: Case, workers: Mapping[str, Worker], log: Callable[[str], None] = print
) -> dict:
    """Return all results of one case, as a JSON document."""
    libraries, notes = {}, []
    for library in case.libraries:
        if library in workers:
            answer = workers[library].ask({"case": case.as_json()}, _PREPARE_TIMEOUT)
            if "error" in answer:
                notes.append(f"{library}: {answer['error']}")
            else:
                libraries[library] = answer
    times: list[dict] = []
    for measure, batch in case.heats():
        ways = {}
        for library in libraries:
            before = [t for t in times if t["library"] == library]
            chosen, why_not = _ways(library, case, measure, batch, before)
            ways[library] = chosen
            notes += [f"{library}, {measure}, batch {batch}: {why_not}"] * bool(why_not)
        for contender in run_heat(case, workers, measure, batch, ways):
            name = f"{contender.library}, {measure}, batch {batch}, {contender.variant}"
            if contender.error:
                notes.append(f"{name}: {contender.error}")
            else:
                seconds = {"rounds": contender.rounds, "calls": contender.calls}
                entry = {"library": contender.library, "variant": contender.variant}
                times.append({"measure": measure, "batch": batch, **entry, **seconds})
                log(f"{case.name}: {name}: {1e3 * contender.median:.4g} ms")
    machine = {}
    if case.device == "cpu" and "flowkit" in libraries:
        machine["bandwidth"] = bandwidth(libraries["flowkit"]["parameters"])
        if not case.name.startswith("growth"):
            machine["rates"] = matrix_rates()
    return {
        "case": case.as_json(),
        "date": str(date.today()),
        "libraries": libraries,
        "times": times,
        "notes": notes,
        **machine,
    }


def _ways(
    library: str, case: Case, measure: str, batch: int, before: list[dict]
) -> tuple[tuple[str, ...], str | None]:
    """Return the variants to run after earlier heats, and the reason if there are none."""
    ways = variants(library, case, measure)
    medians = {
        (t["measure"], t["batch"], t["variant"]): statistics.median(t["rounds"]) for t in before
    }
    if ways and batch != case.batch:
        small = {v: s for (m, _, v), s in medians.items() if m == measure}
        if not small:
            return (), "not tried, as the smaller batch failed"
        least = min(small.values())
        if measure == "sample" and least > _TOO_SLOW:
            return (), f"not tried, as batch {case.batch} takes {least:.1f} s"
        # What lost at the smaller batch is not compiled again.
        ways = tuple(v for v in ways if small.get(v, least) <= _LOSER * least)
    if measure == "sample" and case.features > _SLOW_FEATURES and len(ways) > 1:
        scores = {v: s for (m, _, v), s in medians.items() if m == "log_prob" and v in ways}
        ways = (min(scores, key=scores.__getitem__),) if scores else ways[:1]
    return ways, None


def run_heat(
    case: Case,
    workers: Mapping[str, Worker],
    measure: str,
    batch: int,
    ways: Mapping[str, tuple[str, ...]],
) -> list[Contender]:
    """Time one measure at one batch size: prepare all contenders, then run the rounds."""
    contenders = [Contender(library, way) for library, some in ways.items() for way in some]

    def ask(contender: Contender, seconds: float) -> dict:
        request = {"case": case.as_json(), "measure": measure, "variant": contender.variant}
        request |= {"batch": batch, "seconds": seconds}
        timeout = _CALL_TIMEOUT if seconds else _PREPARE_TIMEOUT
        answer = workers[contender.library].ask(request, timeout)
        contender.error = answer.get("error")
        return answer

    def prepare(library: str) -> None:
        for contender in contenders:
            if contender.library == library:
                ask(contender, 0.0)

    with ThreadPoolExecutor(len(ways) or 1) as pool:
        list(pool.map(prepare, ways))
    for r in range(case.rounds):
        turn = r % len(contenders) if contenders else 0  # another one begins
        for contender in contenders[turn:] + contenders[:turn]:
            if contender.error or contender.spent > case.patience or _lost(contender, contenders):
                continue
            answer = ask(contender, case.slice)
            if not contender.error:
                contender.rounds.append(answer["median"])
                contender.calls += answer["calls"]
                contender.spent += answer["median"] * answer["calls"]
    return contenders


def _lost(contender: Contender, contenders: list[Contender]) -> bool:
    """Return whether another variant of the same library was faster in two rounds."""
    siblings = [c for c in contenders if c.library == contender.library and len(c.rounds) >= 2]
    return contender in siblings and any(
        min(contender.rounds) > _LOSER * min(s.rounds) for s in siblings
    )
