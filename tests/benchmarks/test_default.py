import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from default.cases import GROWTH, NAMED, QUICK, Case, case_from_json, plan, rows_of
from default.report import ratio, report
from default.run import measure_case
from default.worker import Bench
from default.worktree import revision, worktree

import flowkit

BUILD = Path(flowkit.__file__).parents[1]


class Scripted:
    """A worker of fixed answers: fits of so many seconds, and scores."""

    def __init__(self, seconds, score=0.0, fails=()):
        self.seconds, self.score, self.fails, self.asked = seconds, score, fails, []

    def ask(self, request, timeout):
        measure = request.get("measure")
        self.asked.append(measure)
        if measure in self.fails:
            return {"error": "broken"}
        if measure is None:
            sizes = {"rows": 5, "columns": 2, "test rows": 3}
            return {**sizes, "measures": ["fit", "score", "sample"]}
        answer = {"seconds": self.seconds, "processor": 2 * self.seconds, "memory": 0.5}
        return answer | {"scores": [self.score, self.score + 1, self.score + 2]}


def measured(case, **workers):
    return json.loads(json.dumps(measure_case(case, workers, log=str)))


def as_results(*results):
    machine = {"cpu": "c", "cores": 1, "threads": 1, "capability": "a", "system": "s"}
    machine |= {"python": "3", "torch": "2"}
    cases = {r["case"]["name"]: {**r, "revisions": {"today": "abc"}} for r in results}
    return {"machine": machine, "command": "python", "cases": cases}


@pytest.mark.filterwarnings("ignore")
def test_today_and_peers_are_measured_and_reported():
    case = replace(QUICK[0], rows=60)  # a fit of few rows is quick
    workers = {name: Bench(name) for name in ("today", *case.peers)}
    result = measured(case, **workers)

    assert result["notes"] == []
    found = {name: set(c["seconds"]) for name, c in result["contenders"].items()}
    every = {"fit", "score", "sample"}
    assert found == {"today": every, "mixture": every, "kde": {"score"}}
    assert all(np.isfinite(c["score"]) for c in result["contenders"].values())
    page = report(as_results(result), "picture.png")
    assert "| quick | 60 x 3 | fast |" in page
    assert "kde: score, s (x)" in page


def test_ratios_are_of_medians_and_gains_of_the_same_rows():
    case = Case("one", peers=())
    result = measured(case, today=Scripted(2.0, score=0.25), base=Scripted(5.0))
    assert ratio(result, "fit") == pytest.approx(2.5)
    assert result["difference"] == pytest.approx({"mean": 0.25, "standard error": 0.0})
    page = report(as_results(result), "picture.png")
    assert "2 / 5, 2.50x" in page
    assert "4 / 10, 2.50x" in page  # of the processor
    assert "+0.250 ± 0.000" in page


def test_builds_have_the_same_rounds_and_a_slow_peer_has_fewer():
    case = Case("one", peers=("mixture",), rounds=3, patience=10.0)
    result = measured(case, today=Scripted(1), base=Scripted(2), mixture=Scripted(50))
    rounds = {name: len(c["seconds"]["fit"]) for name, c in result["contenders"].items()}
    assert rounds == {"today": 3, "base": 3, "mixture": 1}
    result = measured(case, today=Scripted(1), base=Scripted(20))
    rounds = {name: len(c["seconds"]["fit"]) for name, c in result["contenders"].items()}
    assert rounds == {"today": 1, "base": 1}


def test_a_failure_is_noted_and_its_other_measures_are_left_out():
    broken = Scripted(1, fails=("fit",))
    result = measured(Case("one", peers=()), today=Scripted(1), base=broken)
    assert result["notes"] == ["base, fit: broken"]
    assert "score" not in broken.asked
    assert list(result["contenders"]) == ["today"]


def test_flowkit_of_another_folder_is_not_measured(tmp_path):
    answer = Bench("base", str(tmp_path)).ask({"case": QUICK[0].as_json()})
    assert "another folder than base's" in answer["error"]
    assert "error" not in Bench("base", str(BUILD)).ask({"case": QUICK[0].as_json()})


def test_cases_are_unique_survive_json_and_have_the_same_rows_each_time():
    names = [case.name for case in plan(Path())]
    assert len(names) == len(set(names))
    assert {c.name for c in NAMED} <= set(names)
    assert {c.name for axis in GROWTH.values() for c in axis} <= set(names)
    assert not any(case.table for case in plan(None))
    assert case_from_json(json.loads(json.dumps(QUICK[0].as_json()))) == QUICK[0]
    np.testing.assert_array_equal(rows_of(QUICK[0], None)[0], rows_of(QUICK[0], None)[0])
    frame, _ = rows_of(QUICK[1], None)
    assert [frame[c].nunique() for c in ("c0", "c3")] == [3, 3]


def test_a_worktree_has_the_files_of_its_revision_and_is_removed(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    git("init", "-q")
    for text in ("old", "new"):
        (tmp_path / "file").write_text(text)
        git("add", "file")
        git("commit", "-q", "-m", text)
    with worktree(tmp_path, "HEAD~1") as folder:
        assert (folder / "file").read_text() == "old"
    assert not folder.exists()
    assert not list((tmp_path / ".git" / "worktrees").glob("*"))
    assert len(revision(tmp_path)) == 7
    with pytest.raises(ValueError, match="no git revision 'none'"):
        revision(tmp_path, "none")
