"""Methods of other libraries, with the settings that their own documents recommend.

Each is fitted to a split, and returns a function for the predictive distributions of its test rows.
"""

from typing import Any

import numpy as np
import torch

from flowkit.tabular.conditional.normal_mixture import NormalMixture
from regression.data import Split
from regression.predictive import Draws, Mixture, Prediction, Predictive, Quantiles

_DRAWS = 500
_MOST_TREES = 2_000
_LEVELS = np.round(np.arange(1, 100) / 100, 2)
_FEWER_LEVELS = np.round(np.concatenate([[0.01], np.arange(1, 20) / 20, [0.99]]), 2)


def held_out(data: Split) -> int:
    """Return the number of training rows, the last ones, that are for validation."""
    return max(len(data.x) // 10, 1)


def ngboost(data: Split, seed: int, quick: bool) -> Prediction:
    """Natural gradient boosting of a normal distribution.

    The number of trees is that of the best score on a tenth of the rows; the final fit is to all
    rows, as in the paper (Duan and others, 2020).
    """
    from ngboost import NGBRegressor

    k = held_out(data)
    options = {"natural_gradient": True, "learning_rate": 0.01, "verbose": False}
    options |= {"random_state": seed}
    first = NGBRegressor(n_estimators=20 if quick else _MOST_TREES, **options)
    first.fit(data.x[:-k], data.y[:-k], data.x[-k:], data.y[-k:], early_stopping_rounds=50)
    trees = (first.best_val_loss_itr or 0) + 1
    final = NGBRegressor(n_estimators=trees, **options).fit(data.x, data.y)

    def predict() -> Predictive:
        found = final.pred_dist(data.x_test)
        mean, scale = (np.asarray(part)[:, None] for part in (found.loc, found.scale))
        return Mixture(NormalMixture(np.ones_like(mean), mean, scale))

    return predict


def treeffuser(data: Split, seed: int, quick: bool) -> Prediction:
    """Diffusion with boosted trees; it has draws, and the density is a kernel estimate of them."""
    from treeffuser import Treeffuser

    model = Treeffuser(seed=seed, n_jobs=torch.get_num_threads())
    model.fit(data.x, data.y[:, None])
    n = 50 if quick else _DRAWS

    def predict() -> Predictive:
        draws = model.sample(data.x_test, n_samples=n, seed=seed, verbose=False)
        return Draws(np.asarray(draws, dtype=float).reshape(n, -1).T, data.step)

    return predict


def forest(data: Split, seed: int, quick: bool) -> Prediction:
    """Quantile regression forest (Meinshausen, 2006) of 500 trees, with all rows of each leaf.

    The least size of a leaf is 1, 5 or 10, by the score per cell on a tenth of the rows.
    """
    from quantile_forest import RandomForestQuantileRegressor

    def fitted(trees: int, leaf: int, x: np.ndarray, y: np.ndarray) -> Any:
        options = {"n_estimators": trees, "min_samples_leaf": leaf, "random_state": seed}
        options |= {"max_samples_leaf": None, "n_jobs": torch.get_num_threads()}
        return RandomForestQuantileRegressor(**options).fit(x, y)

    def predicted(model: Any, x: np.ndarray) -> Quantiles:
        values = model.predict(x, quantiles=list(_LEVELS))
        return Quantiles(_LEVELS, values, data.step, 0.01 * data.y.std())

    k = held_out(data)
    held = {}
    for leaf in (5,) if quick else (1, 5, 10):
        trial = fitted(100, leaf, data.x[:-k], data.y[:-k])
        held[leaf] = predicted(trial, data.x[-k:]).log_mass(data.y[-k:], data.step).mean()
    leaf = max(held, key=held.__getitem__)
    model = fitted(20 if quick else 500, leaf, data.x, data.y)
    return lambda: predicted(model, data.x_test)


def lightgbm(data: Split, seed: int, quick: bool) -> Prediction:
    """Boosted trees for each of 21 quantiles, stopped by the loss on a tenth of the rows.

    The least size of a leaf is 5 or 20, by the same loss.
    """
    from lightgbm import LGBMRegressor, early_stopping

    k = held_out(data)
    options = {"objective": "quantile", "learning_rate": 0.05, "verbose": -1}
    options |= {"n_estimators": 10 if quick else 1_000, "n_jobs": torch.get_num_threads()}

    def fitted(level: float, leaf: int) -> Any:
        model = LGBMRegressor(alpha=level, min_child_samples=leaf, random_state=seed, **options)
        held = [(data.x[-k:], data.y[-k:])]
        stop = early_stopping(30, verbose=False)
        return model.fit(data.x[:-k], data.y[:-k], eval_set=held, callbacks=[stop])

    def loss(model: Any) -> float:
        return float(model.best_score_["valid_0"]["quantile"])

    models = [min((fitted(q, leaf) for leaf in (5, 20)), key=loss) for q in _FEWER_LEVELS]

    def predict() -> Predictive:
        values = np.stack([model.predict(data.x_test) for model in models], 1)
        return Quantiles(_FEWER_LEVELS, values, data.step, 0.01 * data.y.std())

    return predict
