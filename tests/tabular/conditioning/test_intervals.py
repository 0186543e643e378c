"""Masses of intervals and draws within them, against scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from flowkit.tabular.conditioning import intervals

LOW = torch.tensor([-1.0, 0.5, -np.inf, 8.0, -12.0, 30.0, 1.0, -np.inf], dtype=torch.float64)
HIGH = torch.tensor([2.0, 0.6, -3.0, np.inf, -11.0, 31.0, 1.0 + 1e-7, np.inf], dtype=torch.float64)


def test_normal_masses_are_those_of_scipy():
    # By the tail in which the interval lies.
    tails = [stats.norm.logsf if low > 0 else stats.norm.logcdf for low in LOW]
    ends = [sorted((tail(a), tail(b))) for tail, a, b in zip(tails, LOW, HIGH, strict=True)]
    expected = [large + np.log1p(-np.exp(small - large)) for small, large in ends]
    assert intervals.log_normal_mass(LOW, HIGH).numpy() == pytest.approx(expected, abs=1e-8)


def test_student_masses_are_those_of_scipy():
    expected = np.log(stats.t(2).cdf(HIGH[:3]) - stats.t(2).cdf(LOW[:3]))
    got = intervals.log_student_mass(LOW[:3], HIGH[:3]).numpy()
    assert got == pytest.approx(expected, abs=1e-10)
    far = intervals.log_student_mass(torch.tensor(1e4).double(), torch.tensor(torch.inf).double())
    assert far.item() == pytest.approx(stats.t(2).logsf(1e4), abs=1e-9)


@pytest.mark.parametrize(
    ("draw", "law"),
    [(intervals.draw_normal, stats.norm), (intervals.draw_student, stats.t(2))],
    ids=["normal", "student"],
)
@pytest.mark.parametrize("ends", [(-1.0, 2.0), (2.0, np.inf), (-np.inf, -4.0), (0.3, 0.31)])
def test_draws_within_an_interval_follow_the_law(draw, law, ends):
    uniform = (torch.arange(2_000, dtype=torch.float64) + 0.5) / 2_000
    low, high = (torch.full((2_000,), end, dtype=torch.float64) for end in ends)
    drawn = draw(low, high, uniform).numpy()
    assert (drawn >= ends[0]).all()
    assert (drawn <= ends[1]).all()
    below, above = law.cdf(ends[0]), law.cdf(ends[1])
    share = np.sort((law.cdf(drawn) - below) / (above - below))
    assert share == pytest.approx(uniform.numpy(), abs=1e-6)


def test_means_within_an_interval():
    expected = stats.truncnorm(-1, 2).mean()
    ends = torch.tensor(-1.0).double(), torch.tensor(2.0).double()
    assert intervals.mean_normal(*ends).item() == pytest.approx(expected, abs=1e-12)


def test_von_mises_masses_and_draws():
    law = stats.vonmises(3.0, loc=0.4)
    low, high = torch.tensor([2.0]).double(), torch.tensor([4.5]).double()
    mean, kappa = torch.tensor([0.4]).double(), torch.tensor([3.0]).double()
    mass = law.cdf(4.5) - law.cdf(2.0)
    got = intervals.log_von_mises_mass(low, high, mean, kappa)
    assert got.item() == pytest.approx(np.log(mass), abs=1e-7)
    uniform = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
    drawn = intervals.draw_von_mises(
        low.expand(500), high.expand(500), mean.expand(500), kappa.expand(500), uniform
    )
    share = (law.cdf(drawn.numpy()) - law.cdf(2.0)) / mass
    assert share == pytest.approx(uniform.numpy(), abs=1e-4)
