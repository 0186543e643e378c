#!/usr/bin/env bash
# Guess: scikit-learn's histogram gradient boosting, which takes missing values, ignores a column
#   that has no other values, as its trees have nothing to split there. So does its random forest.
# So it is: with scikit-learn 1.9.1 the fit of a table with such a column ends with a ValueError of
#   numpy about the shape of a window. Neither the column nor missing values are named. One number
#   in the column is enough for the fit to pass. The forest takes the same table.
# Version: scikit-learn 1.9.1, numpy 2.4.6.
# Who meets it: cross-validation of tables with rare columns. A column with a few numbers has none
#   in some fold, so one fold of many fails. The remedy is to fill such columns with a constant.
# Source: observed; sklearn/ensemble/_hist_gradient_boosting/binning.py, _find_binning_thresholds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6 \
    2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 2))
y = x[:, 0]
x[:, 1] = np.nan
once = x.copy()
once[0, 1] = 1.0


def outcome(model, rows):
    try:
        model.fit(rows, y)
    except ValueError as error:
        return f"ValueError: {error}"
    return "fitted"


boosting = HistGradientBoostingRegressor(max_iter=5)
found = [
    outcome(boosting, x),
    outcome(boosting, once),
    outcome(RandomForestRegressor(5, random_state=0), x),
]
print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
for name, text in zip(("boosting", "boosting, one number", "forest"), found, strict=True):
    print(f"{name}: {text}")
expected = found[0].startswith("ValueError: window shape") and found[1:] == ["fitted", "fitted"]
sys.exit(0 if expected else 1)
PYTHON
# Output seen:
# scikit-learn 1.9.1 numpy 2.4.6
# boosting: ValueError: window shape cannot be larger than input array shape
# boosting, one number: fitted
# forest: fitted
