"""Disentanglement: agreement of the latents of a representation with known factors.

Codes ``(n, latents)`` are the means of an encoder, not draws; factors are ``(n, factors)``. Scores
that need pairs of rows with one factor in common take a function from factors to latents instead,
which renders and encodes. Constant factors are excluded.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from flowkit._checks import check_count
from flowkit.errors import ArgumentError, DataError, DtypeError, ShapeError

Represent = Callable[[np.ndarray], np.ndarray]

_DEAD = 1e-12  # variance below which a latent counts as constant


def _checked(
    codes: np.ndarray, factors: np.ndarray, prefix: str = "", *, discrete: bool = True
) -> None:
    for name, value in ((f"{prefix}codes", codes), (f"{prefix}factors", factors)):
        if value.ndim != 2 or len(value) < 2:
            raise ShapeError(name, "a matrix of at least two rows", value.shape)
        _check_finite(name, value)
    if len(codes) != len(factors):
        expected = f"{len(codes)} rows, as {prefix}codes"
        raise ShapeError(f"{prefix}factors", expected, factors.shape)
    if discrete and (factors != factors.round()).any():
        row, column = np.argwhere(factors != factors.round())[0]
        name = f"{prefix}factors, row {row}, column {column}"
        raise DataError(name, "an integer, the value of a discrete factor", factors[row, column])


def _check_finite(name: str, value: np.ndarray) -> None:
    dtype = np.asarray(value).dtype
    if dtype.kind not in "biuf":
        raise DtypeError(name, "numbers", dtype)
    if not np.isfinite(value).all():
        row, column = np.argwhere(~np.isfinite(value))[0]
        where = f"{name}, row {row}, column {column}"
        raise DataError(where, "a finite number", value[row, column])


def _checked_test(
    codes: np.ndarray, factors: np.ndarray, test_codes: np.ndarray, test_factors: np.ndarray
) -> None:
    _checked(test_codes, test_factors, "test_")
    for name, train, test in (("codes", codes, test_codes), ("factors", factors, test_factors)):
        if train.shape[1] != test.shape[1]:
            expected = f"{train.shape[1]} columns, as {name}"
            raise ShapeError(f"test_{name}", expected, test.shape)


def _varying(factors: np.ndarray) -> list[int]:
    varying = [j for j in range(factors.shape[1]) if len(np.unique(factors[:, j])) > 1]
    if not varying:
        raise ArgumentError("factors", "a column that is not constant", "none")
    return varying


class SAP(NamedTuple):
    """The separated attribute predictability score.

    Attributes:
        score: mean over factors of the score of the best latent minus that of the second best.
        each: prediction score of each factor from each latent, ``(latents, factors)``.
    """

    score: float
    each: np.ndarray


def sap(
    codes: np.ndarray,
    factors: np.ndarray,
    test_codes: np.ndarray | None = None,
    test_factors: np.ndarray | None = None,
    *,
    continuous: bool = False,
) -> SAP:
    """Return the SAP score: the gap between the two latents that predict each factor best.

    A discrete factor is predicted from one latent by a linear support vector machine (C = 0.01,
    balanced classes). The prediction score is the accuracy on *test* rows. The score of a
    continuous factor is the squared correlation.

    Args:
        codes: ``(n, latents)``, at least two latents.
        factors: ``(n, factors)``.
        test_codes: codes of test rows, for discrete factors.
        test_factors: factors of test rows.
        continuous: whether factors are continuous.

    Raises:
        ShapeError: fewer than two latents, or rows or columns that do not match.
        DataError: codes that are not finite, or discrete factors that are not integers.
        ArgumentError: discrete factors without test rows.

    Reference: Kumar, Sattigeri and Balakrishnan, *Variational inference of disentangled latent
    concepts from unlabeled observations*, 2017, section 3.

    Example:
        >>> v = np.random.default_rng(0).normal(size=(1000, 2))
        >>> round(sap(v, v, continuous=True).score, 2)  # a latent for each factor
        1.0
    """
    _checked(codes, factors, discrete=not continuous)
    if codes.shape[1] < 2:
        raise ShapeError("codes", "at least two latents", codes.shape)
    if continuous:
        each = _squared_correlations(codes, factors)
    else:
        if test_codes is None or test_factors is None:
            expected = "test rows, or continuous=True for continuous factors"
            raise ArgumentError("test_codes", expected, None)
        _checked_test(codes, factors, test_codes, test_factors)
        each = _accuracies(codes, factors, test_codes, test_factors)
    best = np.sort(each[:, _varying(factors)], axis=0)
    return SAP(float((best[-1] - best[-2]).mean()), each)


def _squared_correlations(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    z, v = codes - codes.mean(0), factors - factors.mean(0)
    of_z, of_v = (z * z).mean(0), (v * v).mean(0)
    covariance = z.T @ v / len(z)
    alive = (of_z > _DEAD)[:, None] & (of_v > _DEAD)
    return np.where(alive, covariance**2 / np.where(alive, np.outer(of_z, of_v), 1.0), 0.0)


def _accuracies(
    codes: np.ndarray, factors: np.ndarray, test_codes: np.ndarray, test_factors: np.ndarray
) -> np.ndarray:
    from sklearn.svm import LinearSVC

    each = np.zeros((codes.shape[1], factors.shape[1]))
    for i, j in np.ndindex(*each.shape):
        classes, counts = np.unique(factors[:, j], return_counts=True)
        if codes[:, i].var() <= _DEAD or len(classes) == 1:
            each[i, j] = (test_factors[:, j] == classes[counts.argmax()]).mean()
            continue
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        machine.fit(codes[:, i : i + 1], factors[:, j])
        each[i, j] = machine.score(test_codes[:, i : i + 1], test_factors[:, j])
    return each


def mutual_information(codes: np.ndarray, factors: np.ndarray, *, bins: int = 20) -> np.ndarray:
    """Return ``I(z_i; v_j)`` in nats by histograms of equal width, ``(latents, factors)``.

    Args:
        codes: ``(n, latents)``.
        factors: ``(n, factors)``, discrete.
        bins: number of bins of each latent.

    Example:
        >>> v = np.arange(1000)[:, None] % 4
        >>> mutual_information(v.astype(float), v).round(3)  # log 4
        array([[1.386]])
    """
    _checked(codes, factors)
    check_count("bins", bins, 2)
    result = np.zeros((codes.shape[1], factors.shape[1]))
    for i in range(codes.shape[1]):
        edges = np.histogram_bin_edges(codes[:, i], bins)[1:-1]
        cell = np.digitize(codes[:, i], edges)
        for j in range(factors.shape[1]):
            result[i, j] = _discrete_information(cell, factors[:, j])
    return result


def _discrete_information(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mutual information of two discrete variables ``(n,)``, in nats."""
    (_, x), (_, y) = (np.unique(c, return_inverse=True) for c in (a, b))
    joint = np.zeros((x.max() + 1, y.max() + 1))
    np.add.at(joint, (x, y), 1.0)
    joint /= len(x)
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    positive = joint > 0
    return float((joint[positive] * np.log(joint[positive] / product[positive])).sum())


def group_information(codes: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the mutual information of a group of latents and each factor, ``(factors,)`` nats.

    The estimate is ``H(v) - H(v | z)``, truncated at 0. The conditional entropy is estimated by
    out-of-bag predictions of a random forest, so the result is a lower bound up to noise.

    Args:
        codes: codes of the group, ``(n, size)``.
        factors: ``(n, factors)``, discrete.
        seed: random seed of the forest.

    Example:
        >>> v = np.random.default_rng(0).integers(4, size=(2000, 1))
        >>> z = np.concatenate([v % 2, v // 2], 1) + 0.1
        >>> group_information(z, v).round(1)  # of log 4 = 1.39
        array([1.4])
    """
    from sklearn.ensemble import RandomForestClassifier

    _checked(codes, factors)
    result = np.zeros(factors.shape[1])
    for j in _varying(factors):
        _, labels, counts = np.unique(factors[:, j], return_inverse=True, return_counts=True)
        share = counts / len(labels)
        forest = RandomForestClassifier(
            100, min_samples_leaf=20, oob_score=True, max_features=None, random_state=seed
        )
        forest.fit(codes, labels)
        # Mixed with marginal frequencies, so that no class has probability 0.
        predicted = 0.99 * np.nan_to_num(forest.oob_decision_function_) + 0.01 * share
        conditional = -np.log(predicted[np.arange(len(labels)), labels]).mean()
        result[j] = max(-(share * np.log(share)).sum() - conditional, 0.0)
    return result


def mig(codes: np.ndarray, factors: np.ndarray, *, bins: int = 20) -> float:
    """Return the mutual information gap of the two best latents, as a share of the entropy.

    Args:
        codes: ``(n, latents)``, at least two latents.
        factors: ``(n, factors)``, discrete.
        bins: number of bins of each latent.

    Reference: Chen, Li, Grosse and Duvenaud, *Isolating sources of disentanglement in VAEs*, 2018,
    equation 6.

    Example:
        >>> v = np.random.default_rng(0).integers(4, size=(4000, 2))
        >>> round(mig(v.astype(float), v), 1)
        1.0
    """
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ShapeError("codes", "at least two latents (n, latents)", codes.shape)
    information = np.sort(mutual_information(codes, factors, bins=bins), axis=0)
    gaps = []
    for j in _varying(factors):
        entropy = _discrete_information(factors[:, j], factors[:, j])
        gaps.append((information[-1, j] - information[-2, j]) / entropy)
    return float(np.mean(gaps))


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each between 0 and 1.

    Attributes:
        disentanglement: 1 if each latent is important for one factor only.
        completeness: 1 if each factor depends on one latent only.
        informativeness: mean accuracy of factors predicted from all latents, on test rows.
        importance: importance of each latent for each factor, ``(latents, factors)``.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(
    codes: np.ndarray,
    factors: np.ndarray,
    test_codes: np.ndarray,
    test_factors: np.ndarray,
    *,
    seed: int = 0,
) -> DCI:
    """Return disentanglement, completeness and informativeness, by random forests.

    Args:
        codes: ``(n, latents)``.
        factors: ``(n, factors)``, discrete.
        test_codes: codes of test rows.
        test_factors: factors of test rows.
        seed: random seed of the forests.

    Reference: Eastwood and Williams, *A framework for the quantitative evaluation of disentangled
    representations*, 2018.

    Example:
        >>> v = np.random.default_rng(0).integers(3, size=(600, 2))
        >>> score = dci(v.astype(float), v, v.astype(float), v)
        >>> score.disentanglement > 0.99, score.informativeness
        (True, 1.0)
    """
    from sklearn.ensemble import RandomForestClassifier

    _checked(codes, factors)
    _checked_test(codes, factors, test_codes, test_factors)
    varying = _varying(factors)
    importance = np.zeros((codes.shape[1], factors.shape[1]))
    accuracy = []
    for j in varying:
        forest = RandomForestClassifier(
            50, min_samples_leaf=5, max_features=None, random_state=seed
        )
        forest.fit(codes, factors[:, j])
        importance[:, j] = forest.feature_importances_
        accuracy.append(forest.score(test_codes, test_factors[:, j]))
    table = importance[:, varying]
    return DCI(_concentration(table), _concentration(table.T), float(np.mean(accuracy)), importance)


def _concentration(table: np.ndarray) -> float:
    """Return 1 minus the normalised entropy of rows, averaged with their sums as weights."""
    totals = table.sum(1)
    if totals.sum() == 0:  # no latent is important for any factor
        return 0.0
    if table.shape[1] == 1:
        return 1.0
    share = table / np.where(totals > 0, totals, 1.0)[:, None]
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(1) / np.log(table.shape[1])
    return float(((1 - entropy) * totals).sum() / totals.sum())


def beta_vae_score(
    represent: Represent,
    sizes: Sequence[int],
    *,
    pairs: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    seed: int = 0,
) -> float:
    """Return the accuracy of a linear classifier of the factor that pairs of rows have in common.

    Each point is the mean of ``|z(v) - z(v')|`` over ``pairs`` pairs with one factor in common;
    other factors are independent draws. Random latents score 1 over the number of factors.

    Args:
        represent: maps factors ``(n, factors)`` to latents ``(n, latents)``.
        sizes: number of values of each factor; constant factors are excluded.
        pairs: number of pairs L.
        train: number of training points; each costs ``2 pairs`` rows.
        test: number of test points.
        seed: random seed.

    Raises:
        ArgumentError: fewer than two factors that vary, no pairs, or no points.
        ShapeError: ``represent`` returns another shape.
        DataError: ``represent`` returns a value that is not finite.

    Reference: Higgins et al., *beta-VAE*, 2017, section 3 and appendix A.

    Example:
        >>> round(beta_vae_score(lambda v: v, (4, 5), train=200, test=100), 1)
        1.0
    """
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    varying = _choices(sizes)
    if len(varying) < 2:
        raise ArgumentError("sizes", "two factors of more than one value", tuple(sizes))
    for name, count in (("pairs", pairs), ("train", train), ("test", test)):
        check_count(name, count)

    def points(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(varying, size=n)
        features = []
        for label in labels:
            first, second = (_draw_factors(sizes, pairs, rng) for _ in range(2))
            second[:, label] = first[:, label]
            z = _represented(represent, np.concatenate([first, second]))
            features.append(np.abs(z[:pairs] - z[pairs:]).mean(0))
        return np.stack(features), labels

    x, y = points(train)
    scale = x.std(0)
    scale[scale == 0] = 1.0
    classifier = LogisticRegression(max_iter=2_000).fit(x / scale, y)
    x, y = points(test)
    return float(classifier.score(x / scale, y))


def factor_vae_score(
    represent: Represent,
    sizes: Sequence[int],
    *,
    rows: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    seed: int = 0,
) -> float:
    """Return the accuracy of a majority vote for the factor that a set of rows has in common.

    Each point is the latent with the smallest relative variance over ``rows`` rows with one factor
    in common. Latents with a standard deviation below 0.05 are excluded.

    Args:
        represent: maps factors ``(n, factors)`` to latents ``(n, latents)``.
        sizes: number of values of each factor; constant factors are excluded.
        rows: number of rows L.
        train: number of training points.
        test: number of test points.
        seed: random seed.

    Raises:
        ArgumentError: no factor that varies, no rows, or no points.
        ShapeError: ``represent`` returns another shape.
        DataError: ``represent`` returns a value that is not finite.

    Reference: Kim and Mnih, *Disentangling by factorising*, 2018, section 4.

    Example:
        >>> factor_vae_score(lambda v: v * 1.0, (4, 5), train=200, test=100)
        1.0
    """
    rng = np.random.default_rng(seed)
    varying = _choices(sizes)
    check_count("rows", rows, 2)
    check_count("train", train)
    check_count("test", test)
    variance = _represented(represent, _draw_factors(sizes, 10_000, rng)).var(0)
    alive = np.flatnonzero(variance >= 0.05**2)
    if not len(alive):
        return 0.0

    def points(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(varying, size=n)
        least = np.zeros(n, dtype=int)
        for i, label in enumerate(labels):
            factors = _draw_factors(sizes, rows, rng)
            factors[:, label] = factors[0, label]
            z = _represented(represent, factors)
            least[i] = int(np.argmin(z[:, alive].var(0) / variance[alive]))
        return least, labels

    least, labels = points(train)
    votes = np.zeros((len(alive), len(sizes)))
    np.add.at(votes, (least, labels), 1.0)
    winner = votes.argmax(1)
    least, labels = points(test)
    return float((winner[least] == labels).mean())


def active_units(means: np.ndarray, *, threshold: float = 0.01) -> int:
    """Return the number of latents whose posterior mean varies over the rows.

    Args:
        means: ``(n, latents)``.
        threshold: variance above which a latent is active.

    Reference: Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2015, section
    5.2.

    Example:
        >>> active_units(np.array([[0.0, 1.0], [0.0, -1.0]]))
        1
    """
    if means.ndim != 2:
        raise ShapeError("means", "a matrix (n, latents)", means.shape)
    _check_finite("means", means)
    return int((means.var(0) > threshold).sum())


def _choices(sizes: Sequence[int]) -> list[int]:
    counts = [int(size) if isinstance(size, np.integer) else size for size in sizes]
    varying = [j for j, size in enumerate(counts) if check_count("sizes", size) > 1]
    if not varying:
        raise ArgumentError("sizes", "a factor of more than one value", tuple(sizes))
    return varying


def _draw_factors(sizes: Sequence[int], n: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.integers(size, size=n) for size in sizes], axis=1)


def _represented(represent: Represent, factors: np.ndarray) -> np.ndarray:
    z = np.asarray(represent(factors))
    if z.ndim != 2 or len(z) != len(factors):
        raise ShapeError("represent", f"latents ({len(factors)}, latents)", z.shape)
    if not np.isfinite(z).all():
        raise DataError("represent", "finite latents", "NaN or infinity")
    return z
