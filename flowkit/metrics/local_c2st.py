"""Local classifier two-sample test of posterior draws at chosen observations."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit._checks import check_count, kind_of
from flowkit.errors import ArgumentError, ShapeError
from flowkit.metrics.posterior_draws import Draws, draws_at, finite_array, paired
from flowkit.metrics.two_sample import FEWEST_ROWS


@dataclass(frozen=True)
class LocalC2ST:
    """Result of a local classifier two-sample test, at k observations.

    Attributes:
        statistic: mean squared distance of predicted probabilities from 1/2, ``(k,)``: 0 for
            equal distributions, 1/4 for disjoint ones.
        null: the statistics of classifiers trained on exchanged labels, ``(trials, k)``.
        high: the ``level`` quantile of ``null``, ``(k,)``. The test is one-sided: the band of a
            correct posterior reaches from 0 to ``high``.
        level: probability that the statistic of a correct posterior stays within the band.
        p_value: probability that a correct posterior has a statistic at least as large, ``(k,)``.
    """

    statistic: np.ndarray
    null: np.ndarray
    high: np.ndarray
    level: float
    p_value: np.ndarray


def local_c2st(
    theta: Any,
    draws: Draws,
    x: Any,
    at: Any,
    at_draws: Any = None,
    *,
    classifier: Any = None,
    trials: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> LocalC2ST:
    """Test whether posterior draws at chosen observations have the distribution of the parameters.

    A classifier is trained to distinguish pairs ``(draw, x)``, label 0, from ``(theta, x)``, label
    1. The statistic at an observation is the mean of ``(p - 1/2)²`` over draws at the observation,
    with p the probability of label 0. For the null distribution, the classifier is trained again on
    labels exchanged at random within each row. Draw and parameter of a row are exchangeable under
    a correct posterior, so the p-value is exact if the posterior is correct at every observation.
    Labels permuted over all rows would unbalance ``x`` between labels: such a null is too wide.

    Each trial trains one classifier, for all observations ``at`` together. Faults that the
    classifier cannot represent stay undetected.

    Args:
        theta: true parameters, drawn from the prior, ``(n, d)``, n at least 20, in any unit.
        draws: posterior draws given each observation, ``(n, L, d)``, of which the first of each row
            is used, or a function ``draws(x)`` that returns draws.
        x: observations simulated from ``theta``, ``(n, c)``.
        at: observations to test at, ``(k, c)``.
        at_draws: posterior draws given ``at``, ``(k, M, d)``, independent of ``draws``. Not needed
            if ``draws`` is a function.
        classifier: a classifier of scikit-learn with ``predict_proba``; it is cloned. Default: a
            network of two layers of 10 d units on standardised columns, stopped early.
        trials: number of classifiers for the null distribution.
        level: level of the band.
        seed: random seed of exchanges and of the default classifier.

    Raises:
        ShapeError: an array of another shape, or fewer than 20 rows.
        DataError: a number that is not finite.
        ArgumentError: an option is out of range, or draws at the observations are missing.

    Reference: Linhart, Gramfort and Rodrigues, *L-C2ST: local diagnostics for posterior
    approximations in simulation-based inference*, 2023, section 3.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> rng = np.random.default_rng(0)
        >>> theta = rng.normal(size=(500, 1))
        >>> x = theta + rng.normal(size=(500, 1))
        >>> shifted = lambda x: 1 + x[:, None] / 2 + 0.5**0.5 * rng.normal(size=(len(x), 99, 1))
        >>> at = np.array([[0.0], [1.0]])
        >>> found = local_c2st(theta, shifted, x, at, classifier=LogisticRegression(), trials=39)
        >>> found.statistic > found.high
        array([ True,  True])
    """
    check_count("trials", trials)
    if not 0 < level < 1:
        raise ArgumentError("level", "a probability between 0 and 1", level)
    theta, drawn, x_rows, at_rows, at_drawn = _inputs(theta, draws, x, at, at_draws)
    k, m, d = at_drawn.shape
    model = _network(d, seed) if classifier is None else classifier
    if isinstance(model, type) or not hasattr(model, "predict_proba"):
        expected = "None or a classifier of scikit-learn with predict_proba"
        raise ArgumentError("classifier", expected, kind_of(model))
    pairs = np.stack([np.hstack([drawn, x_rows]), np.hstack([theta, x_rows])])  # (2, n, d + c)
    repeated = np.broadcast_to(at_rows[:, None], (k, m, at_rows.shape[1]))
    places = np.concatenate([at_drawn, repeated], axis=2).reshape(k * m, -1)
    rng = np.random.default_rng(seed)

    def statistic(pairs: np.ndarray) -> np.ndarray:
        """Train the classifier on pairs ``(2, n, d + c)``; return its statistics ``(k,)``."""
        from sklearn.base import clone

        rows = pairs.reshape(-1, pairs.shape[2])
        fitted = clone(model).fit(rows, np.repeat([0, 1], pairs.shape[1]))
        probability = fitted.predict_proba(places)[:, 0].reshape(k, m)
        result: np.ndarray = np.square(probability - 0.5).mean(1)
        return result

    observed = statistic(pairs)
    null = np.empty((trials, k))
    for trial in range(trials):
        exchanged = rng.random(len(theta)) < 0.5
        null[trial] = statistic(np.where(exchanged[:, None], pairs[::-1], pairs))
    return LocalC2ST(
        statistic=observed,
        null=null,
        high=np.quantile(null, level, axis=0, method="higher"),
        level=level,
        p_value=(1 + (null >= observed).sum(0)) / (1 + trials),
    )


def _inputs(
    theta: Any, draws: Draws, x: Any, at: Any, at_draws: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return parameters and one draw ``(n, d)`` each, ``x``, ``at`` and draws ``(k, M, d)``."""
    x_rows = finite_array("x", x, 2, "shape (n, c), n at least 1")
    at_rows = finite_array("at", at, 2, f"shape (k, {x_rows.shape[1]}), as x")
    if at_rows.shape[1] != x_rows.shape[1]:
        raise ShapeError("at", f"shape (k, {x_rows.shape[1]}), as x", at_rows.shape)
    if at_draws is None and not callable(draws):
        raise ArgumentError("at_draws", "draws (k, M, d), because draws is no function", None)
    theta, drawn = paired(theta, draws, x)
    if len(x_rows) != len(theta) or len(theta) < FEWEST_ROWS:
        expected = f"as many rows as theta, {len(theta)}, at least {FEWEST_ROWS}"
        raise ShapeError("x", expected, x_rows.shape)
    source = draws if at_draws is None else at_draws
    at_drawn = draws_at("at_draws", source, at, (len(at_rows), theta.shape[1]))
    return theta, drawn[:, 0], x_rows, at_rows, at_drawn


def _network(d: int, seed: int) -> Any:
    """Return the default classifier for d parameters, with the settings of sbi 0.27."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier(
        (10 * d,) * 2,
        max_iter=1000,
        early_stopping=True,
        n_iter_no_change=50,
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), network)
