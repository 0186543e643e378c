import json

import pytest
from smoke import STORED, chosen, compare, measured, measures, yardstick


def test_only_what_grew_beyond_the_tolerance_is_too_slow():
    stored = {"fit": 10.0, "score": 1.0, "sample": 2.0}
    new = {"fit": 13.1, "score": 1.29, "sample": 1.0, "other": 5.0}
    lines, slow = compare(stored, new, tolerance=1.3)
    assert slow == ["fit"]
    assert [line.split()[0] for line in lines] == ["fit", "score", "sample", "other"]
    assert "1.31x slower" in lines[0]
    assert lines[1].endswith("1.29x")
    assert "store it" in lines[2]
    assert lines[3].endswith("new")


def test_ratios_are_medians_over_rounds_of_the_yardsticks_around():
    # The yardstick takes 1 s, then 3 s; so the call of 8 s counts as 4 of them.
    seconds = iter([9.0, 1.0, 8.0, 3.0, 1.0, 50.0, 3.0, 1.0, 2.0, 3.0])

    def clock(_):
        return next(seconds)

    ratios = measured({"fit": lambda: None}, rounds=3, clock=clock, log=str)
    assert ratios == {"fit": pytest.approx(4.0)}


def test_ratios_of_this_machine_come_before_those_of_the_latest_other():
    stored = {
        "a": {"date": "2026-01-02", "ratios": {"fit": 1.0}},
        "b": {"date": "2026-01-03", "ratios": {"fit": 2.0}},
    }
    assert chosen(stored, "a") == ("a", {"fit": 1.0})
    assert chosen(stored, "c") == ("b", {"fit": 2.0})
    assert chosen({}, "c") is None


def test_the_yardstick_runs():
    yardstick()


def test_stored_ratios_are_of_the_measures_that_there_are():
    names = set(measures())
    for entry in json.loads(STORED.read_text()).values():
        assert set(entry["ratios"]) == names
