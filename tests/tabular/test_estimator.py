"""FlowDensity: scikit-learn's conventions, tables as they are, and files."""

import copy
import gc
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from mixed_tables import mixed_table
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from flowkit import FlowDensity
from flowkit.errors import ArgumentError, FlowkitError, ModelFileError
from flowkit.flows import Flow
from flowkit.schema.arrow_tables import of_frame
from flowkit.tables import TableWriter

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mixed():
    return FlowDensity(effort="fast", random_state=0).fit(mixed_table(300))


# One scikit-learn check each, so that a failure is named.
CHECKS = list(estimator_checks_generator(FlowDensity(random_state=0), legacy=True))


@pytest.mark.parametrize(
    "check", [c for _, c in CHECKS], ids=[getattr(c, "func", c).__name__ for _, c in CHECKS]
)
def test_scikit_learn_check(check):
    check(FlowDensity(random_state=0))


def test_array_in_array_out():
    x = RNG.normal(size=(60, 3))
    density = FlowDensity(random_state=0).fit(x)
    assert density.score_samples(x).shape == (60,)
    assert density.score(x) == pytest.approx(density.score_samples(x).mean())
    sample = density.sample(5, random_state=1)
    assert isinstance(sample, np.ndarray)
    assert sample.shape == (5, 3)
    assert np.array_equal(sample, density.sample(5, random_state=1))
    assert not np.array_equal(sample, density.sample(5, random_state=2))
    assert density.flow_ is None  # too few rows for one
    assert sum(m["weight"] for m in density.members_) == pytest.approx(1)


def test_frame_in_frame_out(mixed):
    frame = mixed_table(300)
    sample = mixed.sample(200, random_state=0)
    assert list(sample.columns) == list(frame.columns)
    assert (sample.dtypes == frame.dtypes).all()
    assert set(sample["group"].unique()) <= {"a", "b", "c"}
    assert (sample["count"] >= 0).all()
    assert 0.1 < (sample["income"] == 0).mean() < 0.5
    assert 0.02 < sample["size"].isna().mean() < 0.25
    assert mixed.feature_names_in_.tolist() == list(frame.columns)
    shuffled = frame[frame.columns[::-1]]
    assert np.array_equal(mixed.score_samples(shuffled), mixed.score_samples(frame))


def test_scores_do_not_depend_on_batch_or_order(mixed):
    frame = mixed_table(120, seed=1)
    whole = mixed.score_samples(frame)
    order = np.random.default_rng(0).permutation(120)
    assert np.allclose(mixed.score_samples(frame.iloc[order]), whole[order], rtol=0, atol=1e-7)
    single = np.concatenate([mixed.score_samples(frame.iloc[[i]]) for i in range(10)])
    assert np.allclose(single, whole[:10], rtol=0, atol=1e-7)


def test_same_seed_same_model():
    x = np.random.default_rng(1).normal(size=(250, 2))
    one, two = (FlowDensity(effort="fast", random_state=3).fit(x) for _ in range(2))
    assert isinstance(one.flow_, Flow)
    assert np.array_equal(one.score_samples(x), two.score_samples(x))


def test_other_processes_fit_the_same():
    """Nothing hangs on the order of hashes, or on where torch's own generator starts."""
    script = (
        "from flowkit import FlowDensity\n"
        "from mixed_tables import mixed_table\n"
        "from flowkit.tabular.model import tensors_of\n"
        "table = mixed_table(120)\n"
        "density = FlowDensity(effort='fast', random_state=0).fit(table)\n"
        "for name, tensor in sorted(tensors_of(density.model_).items()):\n"
        "    print(name, tensor.numpy().tobytes().hex())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[1] / "support",
            env=os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    one, other = (process.communicate(timeout=300)[0] for process in processes)
    assert "continuous._members.0" in one
    assert one == other  # of every member, whatever its weight


def test_file_round_trip(mixed, tmp_path):
    path = tmp_path / "model.safetensors"
    mixed.save(path)
    loaded = FlowDensity.load(path)
    frame = mixed_table(50, seed=2)
    assert np.array_equal(loaded.score_samples(frame), mixed.score_samples(frame))
    pd.testing.assert_frame_equal(
        loaded.sample(20, random_state=0), mixed.sample(20, random_state=0)
    )
    assert loaded.get_params() == mixed.get_params()
    assert loaded.schema_ == mixed.schema_
    assert loaded.members_ == mixed.members_


@pytest.mark.parametrize("way", ["copy", "joblib"])
def test_copies_go_through_the_same_bytes(mixed, way):
    if way == "copy":
        other = copy.deepcopy(mixed)
    else:
        buffer = io.BytesIO()
        joblib.dump(mixed, buffer)
        buffer.seek(0)
        other = joblib.load(buffer)
    frame = mixed_table(20, seed=3)
    assert np.array_equal(other.score_samples(frame), mixed.score_samples(frame))


def test_latent_of_the_best_flow(mixed):
    frame = mixed_table(500, seed=4)
    z = mixed.latent(frame)
    schema = mixed.schema_
    size = schema.continuous.index("size")
    assert np.array_equal(np.isnan(z[:, size]), frame["size"].isna())
    for column in z.T:  # as samples of 300 rows can tell
        known = column[~np.isnan(column)]
        assert abs(known.mean()) < 0.4
        assert 0.6 < known.std() < 1.6
    # Of a plain table it is the very change of variables behind the score.
    x = np.random.default_rng(0).normal(size=(200, 2)) @ np.array([[1.0, 3.0], [0.0, 1.0]])
    density = FlowDensity(effort="fast", random_state=0).fit(x)
    plain = density.model_.continuous
    member, standardiser = plain._best_flow()
    y, log_slope = standardiser(torch.from_numpy(x), None)
    score = density.flow_.log_prob(y) + log_slope
    assert torch.allclose(member.log_prob(y) + log_slope, score, atol=1e-6)
    assert np.allclose(density.flow_.transform(y)[0].detach(), density.latent(x))
    with pytest.raises(ArgumentError, match="flow"):
        FlowDensity(random_state=0).fit(x[:50]).latent(x)


def test_no_row_is_in_the_file(tmp_path):
    """Of a continuous table, no value of the training rows is among the numbers of the model."""
    from flowkit.files import read_file

    x = np.random.default_rng(5).normal(size=(150, 2))
    density = FlowDensity(effort="fast", random_state=0).fit(x)
    density.save(tmp_path / "m.safetensors")
    tensors, document = read_file(tmp_path / "m.safetensors")
    kept = np.concatenate([t.double().numpy().ravel() for t in tensors.values()])
    scaled = (x - x.mean(0)) / x.std(0)
    interior = np.sort(x, axis=0)[1:-1].ravel()  # a support may know its ends
    for rows in (interior, scaled.ravel()):
        assert np.isin(rows.astype(np.float32), kept.astype(np.float32)).mean() < 0.01
    assert document["kind"] == "table density"


@pytest.mark.parametrize("damage", ["cut", "flip", "flow", "text"])
def test_damaged_files_are_refused(mixed, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    mixed.save(path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "text":
        content = b"name,value\n1,2\n"
    else:
        import flowkit
        from flowkit.flows import maf

        flowkit.save(maf(2, hidden=(8,)), path)
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        FlowDensity.load(path)


def test_unwritable_file(mixed, tmp_path):
    with pytest.raises(ModelFileError):
        mixed.save(tmp_path / "no" / "such" / "folder.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_clone_pipeline_and_search():
    x = np.random.default_rng(2).normal(size=(60, 2))
    density = clone(FlowDensity(effort="fast", random_state=0))
    assert density.effort == "fast"
    pipeline = make_pipeline(StandardScaler(), density).fit(x)
    assert np.isfinite(pipeline.score_samples(x)).all()
    search = GridSearchCV(density, {"random_state": [0, 1]}, cv=2).fit(x)
    assert np.isfinite(search.best_score_)


def test_weights_are_repetitions():
    x = np.random.default_rng(3).normal(size=(40, 2))
    weights = np.random.default_rng(4).integers(0, 3, 40)
    weighted = FlowDensity(random_state=0).fit(x, sample_weight=weights)
    repeated = FlowDensity(random_state=0).fit(np.repeat(x, weights, axis=0))
    assert np.allclose(weighted.score_samples(x), repeated.score_samples(x), atol=1e-6)


@pytest.mark.parametrize(
    "weights", [np.zeros(20), -np.ones(20), np.full(20, np.nan), np.ones(19), np.ones((20, 2))]
)
def test_bad_weights(weights):
    with pytest.raises(ArgumentError, match="sample_weight"):
        FlowDensity().fit(np.random.default_rng(0).normal(size=(20, 2)), sample_weight=weights)


@pytest.mark.parametrize(
    "options", [{"effort": "some"}, {"on_unknown": "guess"}, {"schema": {"nowhere": "real"}}]
)
def test_bad_options(options):
    with pytest.raises(
        FlowkitError, match=next(iter(options.values())) if "schema" not in options else "nowhere"
    ):
        FlowDensity(**options).fit(pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.1, 0.3, 0.2]}))


def test_mass_of_a_small_mixed_support():
    """Summed over flags and categories and integrated over the line, the density is one."""
    rng = np.random.default_rng(0)
    n = 400
    kind = rng.choice(["u", "v"], n)
    value = np.where(kind == "u", rng.normal(0, 1, n), rng.normal(4, 0.5, n))
    value[rng.random(n) < 0.2] = np.nan
    value[rng.random(n) < 0.1] = 0.0
    density = FlowDensity(effort="fast", random_state=0).fit(pd.DataFrame({"k": kind, "v": value}))
    grid = np.linspace(-40, 45, 20_001)
    total = 0.0
    for category in ("u", "v", "never seen"):
        rows = pd.DataFrame({"k": category, "v": grid})
        p = np.exp(density.score_samples(rows))
        atoms = np.isin(grid, [0.0])
        total += np.trapezoid(np.where(atoms, 0.0, p), grid)
        points = pd.DataFrame({"k": [category] * 2, "v": [np.nan, 0.0]})
        total += np.exp(density.score_samples(points)).sum()
    assert total == pytest.approx(1, abs=1e-3)


def test_bounded_and_circular_columns_by_override():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"share": rng.beta(2, 3, 400), "angle": rng.vonmises(1, 2, 400)})
    schema = {
        "share": {"kind": "bounded", "lower": 0.0, "upper": 1.0},
        "angle": {"kind": "circular", "period": 2 * np.pi},
    }
    density = FlowDensity(effort="fast", schema=schema, random_state=0).fit(frame)
    outside = pd.DataFrame({"share": [-0.1, 1.1], "angle": [0.0, 0.0]})
    assert (density.score_samples(outside) == -np.inf).all()
    sample = density.sample(2000, random_state=0)
    assert sample["share"].between(0, 1).all()
    truth = stats.beta(2, 3).logpdf(frame["share"]) + stats.vonmises(2, loc=1).logpdf(
        frame["angle"]
    )
    assert density.score(frame) == pytest.approx(truth.mean(), abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gaussian", "mixture", "student", "beta", "angle", "poisson", "zeros", "mixed"]
)
def test_known_answers(name):
    """Within 0.03 nats per column of the truth at 20,000 rows, and never above it."""
    train, test, truth, schema = known(name, 20_000)
    density = FlowDensity(schema=schema, random_state=0).fit(train)
    gap = density.score_samples(test) - truth
    assert gap.mean() > -0.03 * train.shape[1]
    assert gap.mean() < 3 * gap.std() / len(gap) ** 0.5


def known(name: str, n: int):
    """Return training and test frames, the true log-density of the latter, and what to override."""
    rng = np.random.default_rng(7)

    def frames(draw, log_density, schema=None):
        train, test = draw(n), draw(n)
        return train, test, log_density(test), schema

    if name == "gaussian":
        law = stats.multivariate_normal([1, -2, 0], [[1, 0.6, 0], [0.6, 2, 0.3], [0, 0.3, 0.5]])
        return frames(
            lambda k: pd.DataFrame(law.rvs(k, random_state=rng), columns=list("abc")),
            lambda t: law.logpdf(t.to_numpy()),
        )
    if name == "mixture":
        parts = [stats.multivariate_normal(m, 0.3 * np.eye(2)) for m in ([0, 0], [3, 0], [0, 3])]

        def draw(k):
            which = rng.integers(0, 3, k)
            rows = np.stack([p.rvs(k, random_state=rng) for p in parts])[which, np.arange(k)]
            return pd.DataFrame(rows, columns=["a", "b"])

        return frames(
            draw, lambda t: np.logaddexp.reduce([p.logpdf(t) for p in parts], 0) - np.log(3)
        )
    if name == "student":
        law = stats.t(3)
        return frames(
            lambda k: pd.DataFrame(law.rvs((k, 2), random_state=rng), columns=["a", "b"]),
            lambda t: law.logpdf(t).sum(1),
        )
    if name == "beta":
        law = stats.beta(2, 0.8)
        bounds = {"a": {"kind": "bounded", "lower": 0.0, "upper": 1.0}}
        return frames(
            lambda k: pd.DataFrame({"a": law.rvs(k, random_state=rng)}),
            lambda t: law.logpdf(t["a"]),
            bounds,
        )
    if name == "angle":
        law = stats.vonmises(3, loc=2.5)
        return frames(
            lambda k: pd.DataFrame({"a": law.rvs(k, random_state=rng)}),
            lambda t: law.logpdf(t["a"]),
            {"a": {"kind": "circular", "period": 2 * np.pi}},
        )
    if name == "poisson":
        law = stats.poisson(4)
        return frames(
            lambda k: pd.DataFrame({"a": law.rvs(k, random_state=rng)}),
            lambda t: law.logpmf(t["a"]),
        )
    if name == "mixed":
        return frames(mixed_joint(rng), mixed_joint_log_density)
    law = stats.lognorm(0.7)

    def zeros(k):
        value = law.rvs(k, random_state=rng)
        value[rng.random(k) < 0.4] = 0.0
        return pd.DataFrame({"a": value})

    return frames(
        zeros,
        lambda t: np.where(t["a"] == 0, np.log(0.4), np.log(0.6) + law.logpdf(t["a"].clip(1e-12))),
    )


SHARES, RATES, ZEROS = np.array([0.5, 0.3, 0.2]), np.array([2, 4, 7]), np.array([0.2, 0.5, 0.1])


def mixed_joint(rng):
    """A category, a count given it, a zero-inflated amount given it, a number given both."""

    def draw(k):
        kind = rng.choice(3, k, p=SHARES)
        count = rng.poisson(RATES[kind])
        amount = np.where(rng.random(k) < ZEROS[kind], 0.0, rng.lognormal(kind / 2, 0.5, k))
        size = rng.normal(kind + 0.2 * count, 1.0)
        size[rng.random(k) < 0.1] = np.nan
        columns = {"kind": np.array(list("abc"))[kind], "count": count, "amount": amount}
        return pd.DataFrame(columns | {"size": size})

    return draw


def mixed_joint_log_density(table):
    kind = table["kind"].map({"a": 0, "b": 1, "c": 2}).to_numpy()
    amount, size = table["amount"].to_numpy(), table["size"].to_numpy()
    positive = stats.lognorm(0.5, scale=np.exp(kind / 2)).logpdf(np.where(amount > 0, amount, 1))
    here = stats.norm(kind + 0.2 * table["count"], 1).logpdf(np.nan_to_num(size))
    return (
        np.log(SHARES[kind])
        + stats.poisson(RATES[kind]).logpmf(table["count"])
        + np.where(amount == 0, np.log(ZEROS[kind]), np.log1p(-ZEROS[kind]) + positive)
        + np.where(np.isnan(size), np.log(0.1), np.log(0.9) + here)
    )


def test_run_card_is_strict_json(mixed):
    card = json.loads(json.dumps(mixed.run_, allow_nan=False))
    assert card["rows"] == 300
    assert card["columns"] == 5


def test_a_fit_that_is_told_to_stop_keeps_the_best_so_far():
    x = np.random.default_rng(0).normal(size=(3_000, 3)) @ np.array(
        [[1, 2, 0], [0, 1, 1], [0, 0, 1.0]]
    )
    steps = []

    def tell(stage, done, total, message):
        steps.append(stage)

    # Once at the very start, and once amid the first flow.
    for enough in (0, 150):
        steps.clear()
        stop = lambda: len(steps) > enough  # noqa: B023, E731
        density = FlowDensity(random_state=0).fit(x, progress=tell, stop=stop)
        assert density.run_["ended_early"]
        assert len(steps) < enough + 10
        expected = 3 * 0.5 * np.log(2 * np.pi * np.e)  # the matrix has determinant one
        assert abs(density.score(x) + expected) < (1.0 if enough == 0 else 0.3)
    assert density.flow_ is not None


def test_memory_of_a_file_of_draws_does_not_grow_with_its_rows(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.tabular.model.CHUNK", 2000)
    sizes = []
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        with TableWriter(tmp_path / "drawn.csv") as writer:
            for chunk in mixed.sample_batches(40_000, random_state=0):
                writer.write(of_frame(chunk))
                held, _ = tracemalloc.get_traced_memory()
                sizes.append((len(gc.get_objects()), held, pa.total_allocated_bytes()))
    finally:
        tracemalloc.stop()
        gc.enable()
    objects, held, of_arrow = np.diff(sizes[4::5], axis=0).max(axis=0)
    assert objects < 20  # of 5 chunks; a sweep left in a cycle has 100 and more
    assert held < 100_000  # bytes, of Python's free lists; the rows of 5 chunks have 400,000
    assert of_arrow < 100_000


def test_a_column_without_missing_values_has_none_in_samples():
    """A point mass makes a flag; its states are only those that there are."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=600), np.where(rng.random(600) < 0.3, 0.0, 1.0)], axis=1)
    rows[:, 1] *= rng.lognormal(size=600)
    density = FlowDensity(effort="fast", random_state=0).fit(rows)
    assert "point masses at 0" in str(density.schema_)
    drawn = density.sample(20_000, random_state=1)
    assert not np.isnan(drawn).any()
    assert abs((drawn[:, 1] == 0).mean() - 0.3) < 0.05
    assert np.isfinite(density.score_samples(drawn)).all()


def test_device_by_name_computes_the_same_and_a_missing_one_is_named():
    rows = np.random.default_rng(0).normal(size=(150, 2))
    density = FlowDensity(effort="fast", random_state=0).fit(rows)
    named = FlowDensity(effort="fast", random_state=0, device="cpu").fit(rows)
    np.testing.assert_array_equal(named.score_samples(rows), density.score_samples(rows))
    np.testing.assert_array_equal(named.sample(9, 1), density.sample(9, 1))
    absent = FlowDensity(device="no such device")
    for use in (lambda: absent.fit(rows), lambda: named.set_params(device="x").score_samples(rows)):
        with pytest.raises(ArgumentError, match="a device of this machine"):
            use()
