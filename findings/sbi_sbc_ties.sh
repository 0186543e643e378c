#!/usr/bin/env bash
# Guess: sbi's `run_sbc` ranks a discrete parameter with ties broken at random, so that an exact
#   posterior of counts has uniform ranks, with a mean of L / 2.
# So it is: with sbi 0.27.0 only draws strictly below the parameter are counted. Ties all count as
#   above. For an exact posterior of a Poisson count the mean rank is about 0.27 L, with p = 0.
# Version: sbi 0.27.0, torch 2.13.0 (CPU).
# Who meets it: posteriors of counts, classes and flags, which sbi itself fits by its MNPE, and
#   densities of rounded columns. A correct one looks shifted upwards. The remedy is to add the same
#   kind of uniform noise from 0 to 1 to the parameters and to the draws before they are ranked.
# Source: observed; sbi/diagnostics/sbc.py, _run_sbc. Documentation and issues of sbi do not name
#   ties; another package mended the same: https://github.com/hyunjimoon/SBC/issues/16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check sbi==0.27.0 torch==2.13.0 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import sbi
import torch
from sbi.diagnostics import run_sbc
from sbi.diagnostics.sbc import check_uniformity_frequentist  # the ks_pvals of check_sbc
from sbi.inference.posteriors.base_posterior import NeuralPosterior


class Exact(NeuralPosterior):
    """Posterior of a Poisson count of mean 1, of which each unit is seen with probability 1/2."""

    def __init__(self, noise):
        self.noise = noise

    def sample(self, sample_shape, x, **options):
        unseen = torch.poisson(torch.full((*sample_shape, *x.shape), 0.5))
        return x + unseen + self.noise * torch.rand_like(unseen)

    sample_batched = sample


print("sbi", sbi.__version__, "torch", torch.__version__)
torch.manual_seed(0)
pairs, draws, means, p_values = 1000, 199, [], []
for noise in (0.0, 1.0):
    theta = torch.poisson(torch.ones(pairs, 1))
    x = torch.binomial(theta, torch.full((pairs, 1), 0.5))
    noisy = theta + noise * torch.rand_like(theta)
    ranks, _ = run_sbc(noisy, x, Exact(noise), draws, show_progress_bar=False)
    means.append(ranks.mean().item() / draws)
    p_values.append(check_uniformity_frequentist(ranks, draws).item())
    name = "with the remedy" if noise else "counts"
    print(f"{name}: mean rank {means[-1]:.3f} L, p = {p_values[-1]:.2g}")
expected = 0.22 < means[0] < 0.32 and p_values[0] < 1e-6
expected &= 0.45 < means[1] < 0.55 and p_values[1] > 0.001
sys.exit(0 if expected else 1)
PYTHON
# Output seen:
# sbi 0.27.0 torch 2.13.0+cpu
# counts: mean rank 0.248 L, p = 0
# with the remedy: mean rank 0.503 L, p = 0.84
