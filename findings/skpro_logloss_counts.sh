#!/usr/bin/env bash
# Guess: skpro's `LogLoss` scores a forecast of counts, such as a Poisson distribution, by minus the
#   logarithm of the probability of the count, as it scores a density by minus its logarithm.
# So it is: with skpro 2.16.0 it calls `log_pdf` for each distribution. That of a discrete one is
#   minus infinity everywhere, so each row of a correct forecast has an infinite loss, and so has
#   the mean. `log_pmf` of the same distribution is finite and right. CRPS is finite, too.
# Version: skpro 2.16.0, pandas 3.0.6.
# Who meets it: count regression compared by log-loss, and models that predict integers, categories
#   or point masses beside others that predict densities. The remedy is the mean of `log_pmf`.
# Source: observed; skpro/metrics/_classes.py, class LogLoss.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check skpro==2.16.0 pandas==3.0.6 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import pandas as pd
import skpro
from skpro.distributions import Normal, Poisson
from skpro.metrics import CRPS, LogLoss

rows = pd.RangeIndex(3)
counts = pd.DataFrame({"y": [3, 5, 4]}, index=rows)
forecast = Poisson(mu=np.full((3, 1), 5.0), index=rows, columns=["y"])
like = Normal(mu=np.full((3, 1), 5.0), sigma=np.sqrt(5.0), index=rows, columns=["y"])
loss, crps = LogLoss()(counts, forecast), CRPS()(counts, forecast)
mass = -forecast.log_pmf(counts).to_numpy().mean()
print("skpro", skpro.__version__, "pandas", pd.__version__)
print(f"LogLoss of the Poisson forecast: {loss}; of a normal one: {LogLoss()(counts, like):.3f}")
print(f"minus the mean of log_pmf: {mass:.3f}; CRPS: {crps:.3f}")
sys.exit(0 if np.isinf(loss) and 1.7 < mass < 1.9 and np.isfinite(crps) else 1)
PYTHON
# Output seen:
# skpro 2.16.0 pandas 3.0.6
# LogLoss of the Poisson forecast: inf; of a normal one: 1.890
# minus the mean of log_pmf: 1.815; CRPS: 0.744
