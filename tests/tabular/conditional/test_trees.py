"""Trees as arrays, against the predictions of the scikit-learn models that they come from."""

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from flowkit.tabular.conditional.trees import Trees

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = X[:, 0] * X[:, 1] + np.sin(3 * X[:, 2])


def with_holes(x):
    return np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)


@pytest.mark.parametrize("x", [X, with_holes(X)], ids=["whole", "holes"])
def test_boosting(x):
    model = HistGradientBoostingRegressor(max_iter=30).fit(x, Y)
    (trees,) = Trees.of_boosting(model)
    raw = trees.sums(x) + model._baseline_prediction.ravel()[0]
    assert np.allclose(raw, model.predict(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_boosted_classes(classes):
    code = np.digitize(Y, np.quantile(Y, np.arange(1, classes) / classes))
    model = HistGradientBoostingClassifier(max_iter=20).fit(X, code)
    trees = Trees.of_boosting(model)
    raw = np.stack([t.sums(X) for t in trees], 1) + model._baseline_prediction.ravel()
    expected = model.decision_function(X)
    assert np.allclose(raw.reshape(expected.shape), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("x", [X, with_holes(X)], ids=["whole", "holes"])
def test_forest(x):
    model = ExtraTreesRegressor(15, min_samples_leaf=3, random_state=0).fit(x, Y)
    values = [tree.tree_.value[:, 0] for tree in model.estimators_]
    trees = Trees.of_forest([tree.tree_ for tree in model.estimators_], values)
    assert np.allclose(trees.sums(x) / 15, model.predict(x), rtol=0, atol=1e-6)
    first = trees.leaves(x)[:, 0]
    assert np.array_equal(first, model.apply(x)[:, 0])


def test_state_restores_the_trees():
    model = HistGradientBoostingRegressor(max_iter=5).fit(X, Y)
    (trees,) = Trees.of_boosting(model)
    again = Trees.of_state(trees.state())
    assert np.array_equal(again.sums(X), trees.sums(X))
