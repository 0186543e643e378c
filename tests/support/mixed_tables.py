"""Tables of mixed columns."""

import numpy as np
import pandas as pd


def mixed_table(n: int, seed: int = 0) -> pd.DataFrame:
    """A table with every kind of column, holes and an atom."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    shift = pd.Series(group).map({"a": 0.0, "b": 2.0, "c": -1.0}).to_numpy()
    income = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(1.0 + 0.3 * shift))
    size = rng.normal(shift, 1.0)
    size[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "group": pd.Categorical(group),
            "count": rng.poisson(3.0, n),
            "income": income,
            "size": size.astype(np.float32),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, n), "s"),
        }
    )
