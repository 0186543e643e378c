"""The discrete block: normalised, near the truth, and sampled as it scores."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from flowkit.errors import ArgumentError
from flowkit.schema import Discrete
from flowkit.tabular.discrete import DiscreteBlock

FLAG = Discrete("a", "flag", 3)
LETTER = Discrete("b", "categorical", 3)
DIGIT = Discrete("c", "integer", lower=0, upper=4)
COUNT = Discrete("n", "integer", lower=0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Return codes of FLAG, LETTER and DIGIT that depend on each other."""
    rng = np.random.default_rng(seed)
    flag = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    letter = (flag + (rng.random(n) < 0.3)) % 3
    digit = rng.binomial(4, np.array([0.2, 0.5, 0.8])[letter])
    return np.stack([flag, letter, digit], axis=1)


def truth(codes: np.ndarray) -> np.ndarray:
    flag, letter, digit = codes.T
    p = np.array([0.6, 0.3, 0.1])[flag] * np.where(letter == flag, 0.7, 0.3)
    return np.log(p) + stats.binom(4, np.array([0.2, 0.5, 0.8])[letter]).logpmf(digit)


COLUMNS = (FLAG, LETTER, DIGIT)


@pytest.fixture(scope="module")
def block() -> DiscreteBlock:
    return DiscreteBlock.fit(rows(4000), COLUMNS, seed=0)


@pytest.mark.parametrize("n", [30, 600])
def test_probabilities_sum_to_one(n):
    block = DiscreteBlock.fit(rows(n), COLUMNS, effort="fast")
    every = np.array(list(itertools.product(range(3), range(4), range(5))))
    assert np.exp(block.log_prob(every)).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("lower", "upper"), [(None, None), (0, None), (None, 60), (0, 60)])
def test_integers_sum_to_one(lower, upper):
    codes = stats.poisson(20).rvs((500, 1), random_state=0)
    block = DiscreteBlock.fit(codes, [Discrete("n", "integer", lower=lower, upper=upper)])
    every = np.arange(-200_000, 200_000)[:, None]
    p = np.exp(block.log_prob(every))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    inside = np.ones(len(every), dtype=bool)
    if lower is not None:
        inside &= every[:, 0] >= lower
    if upper is not None:
        inside &= every[:, 0] <= upper
    assert (p[~inside] == 0).all()
    near = inside & (np.abs(every[:, 0] - 20) < 500)
    assert (p[near] > 0).all()


def test_dependence_is_learned(block):
    test = rows(4000, seed=1)
    gap = block.log_prob(test) - truth(test)
    assert gap.mean() > -0.03
    assert gap.mean() < 3 * gap.std() / len(gap) ** 0.5
    assert (block.shares[1:] > 0.5).all()


def test_samples_follow_the_probabilities(block):
    sample = block.sample(40_000, generator())
    assert sample[:, 1].max() < 3  # nothing unseen is drawn
    found, counts = np.unique(sample, axis=0, return_counts=True)
    expected = np.exp(block.log_prob(found))
    error = (counts / len(sample) - expected) / np.sqrt(expected / len(sample))
    assert np.abs(error).max() < 5


def test_scores_depend_on_neither_batch_nor_order(block):
    test = rows(200, seed=2)
    whole = block.log_prob(test)
    single = np.concatenate([block.log_prob(test[i : i + 1]) for i in range(200)])
    assert np.allclose(single, whole, rtol=0, atol=1e-7)


def test_few_rows_are_not_overfitted():
    """With nothing to learn the block is no worse than smoothed frequencies."""
    rng = np.random.default_rng(0)
    codes, test = (rng.integers(0, 3, (300, 3)) for _ in range(2))
    columns = [Discrete(c, "categorical", 3) for c in "abc"]
    assert DiscreteBlock.fit(codes, columns).log_prob(test).mean() > -3 * np.log(3) - 0.06


def test_an_absent_integer_is_not_scored():
    columns = (Discrete("n", "flag", 2), Discrete("n", "integer", lower=0, absent_if=0))
    rng = np.random.default_rng(0)
    missing = rng.random(500) < 0.4
    codes = np.stack([missing, np.where(missing, 0, rng.poisson(4, 500))], axis=1).astype(np.int64)
    block = DiscreteBlock.fit(codes, columns, effort="fast")
    assert block.log_prob(np.array([[1, 0]])) == pytest.approx(np.log(missing.mean()), abs=0.02)
    sample = block.sample(2000, generator())
    assert (sample[sample[:, 0] == 1, 1] == 0).all()
    assert sample[sample[:, 0] == 0, 1].mean() == pytest.approx(4, abs=0.4)
    assert (block.context(codes)[missing, 2:] == 0).all()


def test_unseen_categories_have_a_small_mass():
    codes = np.random.default_rng(0).integers(0, 3, (1000, 1))
    block = DiscreteBlock.fit(codes, [Discrete("b", "categorical", 3)])
    p = np.exp(block.log_prob(np.array([[3]])))[0]
    assert 1e-5 < p < 1e-2


def test_weights_are_repetitions():
    codes = rows(60)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    weighted = DiscreteBlock.fit(codes[weights > 0], COLUMNS, weights[weights > 0].astype(float))
    repeated = DiscreteBlock.fit(np.repeat(codes, weights, axis=0), COLUMNS)
    assert np.allclose(weighted.log_prob(codes), repeated.log_prob(codes), atol=1e-9)


def test_a_hundred_thousand_categories():
    codes = np.random.default_rng(0).permutation(100_000)[:, None]
    block = DiscreteBlock.fit(codes, [Discrete("name", "categorical", 100_000)])
    assert np.isfinite(block.log_prob(codes[:1000])).all()
    assert block.context(codes[:10]).shape == (10, 16)
    assert block.sample(1000, generator()).max() < 100_000


def test_huge_counts():
    codes = np.exp(np.random.default_rng(0).normal(12, 3, (2000, 1))).astype(np.int64)
    block = DiscreteBlock.fit(codes, [COUNT], effort="fast")
    score = block.log_prob(codes).mean()
    law = stats.lognorm(3, scale=np.exp(12))
    exact = np.log(law.cdf(codes + 1) - law.cdf(codes)).mean()
    assert score == pytest.approx(exact, abs=0.1)
    assert block.sample(1000, generator()).min() >= 0


def test_configuration_and_state_make_it_again(block):
    again = DiscreteBlock.from_config(block.config())
    again.load_state_dict(block.state_dict())
    test = rows(100, seed=3)
    assert np.array_equal(again.eval().log_prob(test), block.log_prob(test))
    with pytest.raises(ArgumentError):
        DiscreteBlock.from_config({**block.config(), "more": 1})


def test_the_same_seed_gives_the_same_block_and_leaves_torch_alone():
    state = torch.random.get_rng_state()
    one, two = (DiscreteBlock.fit(rows(400), COLUMNS, seed=1, effort="fast") for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(one.log_prob(rows(50)), two.log_prob(rows(50)))


def probabilities(train, at, **options) -> np.ndarray:
    """Return what numbers have after a fit to others, of a column that no other is beside."""
    column = Discrete("n", "integer", **options)
    block = DiscreteBlock.fit(np.array(train)[:, None], [column])
    return np.exp(block.log_prob(np.array(at)[:, None]))


@pytest.mark.parametrize("k", range(1, 11))
def test_rare_numbers_have_their_share_however_few(k):
    """The same number k times, and k different numbers, beside a thousand rows of 0 and 1."""
    common = [0] * 900 + [1] * 100
    same = probabilities(common + [9] * k, [9], soft_lower=0)[0]
    assert 0.6 * k / (1000 + k) < same < 1.5 * k / (1000 + k)
    spread = probabilities(common + [20 + 3 * i for i in range(k)], np.arange(5, 500), soft_lower=0)
    assert 0.75 * k / (1000 + k) < spread.sum() < 1.5 * k / (1000 + k)


def test_rare_numbers_as_they_were_reported():
    nine, ten, minus = probabilities([0] * 1000 + [9] * 3, [9, 10, -1], soft_lower=0)
    assert nine == pytest.approx(3 / 1003, rel=0.25)
    assert ten < 1e-4
    assert 0 < minus < 0.5 / 1003
    zero, two = probabilities([1] * 116 + [0] * 4, [0, 2], soft_lower=0)
    assert zero == pytest.approx(4 / 120, rel=0.25)
    assert two < 0.002


@pytest.mark.parametrize(
    ("name", "law", "gap"),
    [
        ("poisson", stats.poisson(3), 0.05),
        ("poisson", stats.poisson(20), 0.10),
        ("geometric", stats.geom(0.2), 0.06),
        ("uniform", stats.randint(100, 900), 0.09),
    ],
)
def test_held_out_numbers_are_scored_near_their_law(name, law, gap):
    """At 500 rows, over six tables; smoothing must not cost what the frequencies know."""
    losses = []
    for seed in range(6):
        train, test = law.rvs(500, random_state=seed), law.rvs(4000, random_state=100 + seed)
        found = np.log(probabilities(train, test, soft_lower=0))
        losses.append(law.logpmf(test).mean() - found.mean())
    assert 0 < np.mean(losses) < gap


def test_numbers_below_a_soft_bound_are_scored_and_not_drawn():
    codes = np.random.default_rng(0).poisson(2, (500, 1))
    block = DiscreteBlock.fit(codes, [Discrete("n", "integer", soft_lower=0)])
    below = np.exp(block.log_prob(np.arange(-300_000, 0)[:, None]))
    assert (below > 0).all()
    assert 0 < below.sum() < 0.5 / 501
    assert (np.diff(below) > 0).all()
    sample = block.sample(40_000, generator())[:, 0]
    assert sample.min() == 0
    assert abs((sample == 0).mean() - np.exp(block.log_prob(np.zeros((1, 1), int)))[0]) < 0.01


@pytest.mark.parametrize("step", [1, 5, 25])
@pytest.mark.parametrize(
    "bounds", [{}, {"soft_lower": 0}, {"lower": -3}, {"lower": 3, "upper": 1234}]
)
def test_multiples_of_a_step_sum_to_one_and_are_what_is_drawn(step, bounds):
    codes = step * np.random.default_rng(0).poisson(12, (500, 1)) + (step if step > 1 else 5)
    block = DiscreteBlock.fit(codes, [Discrete("n", "integer", step=step, **bounds)])
    every = np.arange(-200_000, 200_000)
    p = np.exp(block.log_prob(every[:, None]))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    odd = every % step != 0
    if "lower" in bounds:
        assert (p[every < bounds["lower"]] == 0).all()
        odd &= every >= bounds["lower"]
    if "upper" in bounds:
        assert (p[every > bounds["upper"]] == 0).all()
        odd &= every <= bounds["upper"]
    assert (p[odd] > 0).all()
    assert p[odd].sum() < 0.5 / 501
    drawn = block.sample(20_000, generator())[:, 0]
    assert (drawn % step == 0).all()
    common = 20_000 * p > 5
    counts = (drawn[:, None] == every[common]).sum(0)
    expected = 20_000 * p[common]
    assert (counts.sum() - expected.sum()) ** 2 < 25 * (20_000 - expected.sum() + 1)
    assert np.abs((counts - expected) / np.sqrt(expected)).max() < 5


def test_weights_of_few_rare_numbers_are_repetitions():
    codes = np.array([0, 1, 9, 12])[:, None]
    columns = [Discrete("n", "integer", soft_lower=0)]
    weights = np.array([300.0, 40, 3, 1])
    weighted = DiscreteBlock.fit(codes, columns, weights)
    repeated = DiscreteBlock.fit(np.repeat(codes, weights.astype(int), axis=0), columns)
    every = np.arange(-20, 60)[:, None]
    assert np.allclose(weighted.log_prob(every), repeated.log_prob(every), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [3.5, 40.0])
def test_poisson_counts(rate):
    law = stats.poisson(rate)
    codes, test = law.rvs((2, 20_000, 1), random_state=0)
    gap = DiscreteBlock.fit(codes, [COUNT]).log_prob(test) - law.logpmf(test[:, 0])
    assert -0.03 < gap.mean() < 3 * gap.std() / len(gap) ** 0.5
