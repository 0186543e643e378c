import importlib.util
import json
from dataclasses import replace

import pytest
from speed.cases import QUICK_CASES, QUICK_GROWTH, case_from_json
from speed.machine import slug
from speed.report import report
from speed.run import measure_case
from speed.worker import Bench

LIBRARIES = [
    name
    for name in ("flowkit", "zuko", "nflows", "normflows")
    if importlib.util.find_spec(name) is not None
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", QUICK_CASES, ids=lambda case: case.name)
def test_every_library_is_measured_on_the_same_architecture(case):
    case = replace(case, libraries=tuple(LIBRARIES), slice=0.002)
    benches = {name: Bench(name) for name in LIBRARIES}
    result = json.loads(json.dumps(measure_case(case, benches, log=str)))

    assert result["notes"] == []
    sizes = result["libraries"]
    assert len({s["parameters"] for s in sizes.values()}) == 1
    ours = sizes["flowkit"]["connections"]
    assert ours > 0
    assert all(s["connections"] == pytest.approx(ours, rel=0.15) for s in sizes.values())
    timed = [(t["library"], t["measure"]) for t in result["times"]]
    assert sorted(timed) == sorted((n, m) for n in LIBRARIES for m in case.measures)
    assert all(0 < seconds < 10 for t in result["times"] for seconds in t["rounds"])

    machine = {"cpu": "c", "cores": 1, "threads": 1, "capability": "a", "system": "s"}
    machine |= {"python": "3", "gpu": None}
    results = {"machine": machine, "command": "python", "cases": {case.name: result}}
    page = report(results, QUICK_GROWTH, "picture.png")
    assert all(f"| {name} |" in page for name in LIBRARIES)
    assert "There was no GPU" in page


def test_a_failure_is_noted_and_ends_nothing():
    case = replace(QUICK_CASES[0], libraries=("flowkit",), kind="none", hidden=(0,))
    result = measure_case(case, {"flowkit": Bench("flowkit")}, log=str)
    assert result["times"] == []
    assert "hidden" in result["notes"][0]


def test_a_case_survives_json():
    case = QUICK_CASES[0]
    assert case_from_json(json.loads(json.dumps(case.as_json()))) == case


def test_a_machine_is_named_by_its_processor():
    assert slug("Intel(R) Xeon(R) Processor @ 2.80GHz", 2) == "xeon-2.80ghz-2-cores"
    assert slug("AMD EPYC 7B13 64-Core Processor", 8) == "epyc-7b13-8-cores"
