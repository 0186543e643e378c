"""Errors of conditions, each a sentence that names the column and the remedy."""

import numpy as np
import pandas as pd
import pytest
from table_models import continuous, density_of, mixed_density, three_components

from flowkit import FlowDensity
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Column, Schema


@pytest.fixture(scope="module")
def density():
    return mixed_density(n=300)[0]


@pytest.fixture(scope="module")
def bounded():
    columns = (
        Column("share", "bounded", lower=0.0, upper=1.0),
        Column("size", "positive"),
        Column("id", "identifier"),
        Column("x", "real"),
    )
    return density_of(Schema(columns, "pandas"), continuous(three_components(3)))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"age": 3}, "conditions: there is no column 'age'; the columns are kind, count, x, y, z"),
        ({"kind": "t"}, "column 'kind': the fit has not seen 't'; it has seen 'u', 'v', 'w'"),
        ({"kind": None}, "column 'kind': the fit saw no missing value, so a missing value has"),
        ({"x": (2.0, 1.0)}, r"column 'x': the range \(2.0, 1.0\) ends before it starts; give the"),
        ({"x": (2.0, 2.0)}, r"column 'x': the range \(2.0, 2.0\) holds no value with a density"),
        ({"count": (1.2, 1.8)}, r"column 'count': the range \(1.2, 1.8\) holds no value"),
        ({"x": (None, None)}, r"column 'x': expected a range \(low, high\), of which one end"),
        ({"x": (1.0,)}, r"column 'x': expected a range \(low, high\)"),
        ({"x": set()}, "column 'x': the set of values is empty"),
        ({"x": {1.0, 2.0}}, "column 'x': a set of numbers has probability 0 in a continuous"),
        ({"x": [1.0]}, r"column 'x': expected a value, a range \(low, high\) or a set"),
        ({"x": "much"}, "column 'x': expected a number, as it is real, got 'much'"),
        ({"count": 1.5}, "column 'count': expected an integer within"),
        ({"kind": ("a", "b")}, "column 'kind': expected a range between numbers or times"),
        ({"kind": (1, 2)}, "column 'kind': a range needs numbers, and its values are words; give"),
        ({}, "conditions: expected a mapping of column names"),
        ("kind", "conditions: expected a mapping of column names"),
        (
            {"kind": "u", "count": 1, "x": 0.0, "y": 0.0, "z": 0.0},
            "conditions: every column has a value, so that no column is left; leave one out",
        ),
    ],
    ids=str,
)
def test_conditions_that_are_not_possible(density, conditions, message):
    with pytest.raises(ArgumentError, match=message):
        density.given(conditions)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"share": 1.5}, "column 'share': 1.5 is outside the bounds 0.0 and 1.0, so its density"),
        ({"size": -1.0}, "column 'size': -1.0 is outside the bounds 0.0 and None, so its density"),
        ({"share": (1.0, 2.0)}, r"column 'share': the range \(1.0, 2.0\) holds no value"),
        ({"size": (None, -1.0)}, r"column 'size': the range \(None, -1.0\) holds no value"),
        ({"id": "a"}, "conditions: column 'id' is no part of the density, as its kind is ident"),
    ],
    ids=str,
)
def test_values_outside_of_the_support(bounded, conditions, message):
    with pytest.raises(ArgumentError, match=message):
        bounded.given(conditions)


def test_ranges_reach_over_bounds(bounded):
    drawn = bounded.given({"share": (0.5, 7.0)}).sample(500, random_state=0)
    assert drawn["share"].between(0.5, 1.0).all()
    whole = bounded.given({"share": (-1.0, 2.0)})
    assert whole.log_evidence == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, np.nan, [0.5, 2.0]])
def test_quantiles_are_of_probabilities(density, q):
    with pytest.raises(ArgumentError, match="q: expected probabilities above 0 and below 1"):
        density.given({"kind": "u"}).quantiles(q)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "columns: expected a list of one column at least"),
        ("kind", "columns: expected a list of one column at least, got 'kind'"),
        (["x", "y", "x"], "columns: column 'x' stands twice; name each column once"),
        (["x", "age"], "columns: there is no column 'age'"),
    ],
    ids=str,
)
def test_marginals_that_are_not_possible(density, columns, message):
    with pytest.raises(ArgumentError, match=message):
        density.marginal(columns)


def test_rows_lack_a_column(density):
    with pytest.raises(DataError, match="column 'z': expected a column of that name, got none"):
        density.given({"kind": "u"}).score_samples(
            pd.DataFrame({"count": [1], "x": [0.0], "y": [0.0]})
        )


def test_a_density_that_is_not_fitted():
    from sklearn.exceptions import NotFittedError

    for call in (lambda d: d.given({"a": 1}), lambda d: d.marginal(["a"]), lambda d: d.explain([])):
        with pytest.raises(NotFittedError):
            call(FlowDensity())


def test_options_of_impute(density):
    frame = density.sample(3, random_state=0)
    with pytest.raises(ArgumentError, match="n: expected 1 with method='mean'"):
        density.impute(frame, 2, method="mean")
    with pytest.raises(ArgumentError, match="method: expected one of 'draw', 'mean'"):
        density.impute(frame, method="median")
