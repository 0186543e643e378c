"""`FlowDensity`: a table in, its density out."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from flowkit._checks import check_choice, check_count
from flowkit.errors import ModelFileError
from flowkit.schema import Schema
from flowkit.tabular import model_file, table
from flowkit.tabular.model import TableModel

EFFORTS = ("fast", "default", "best")


class FlowDensity(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """The density of a table: an ensemble of normalizing flows and simpler laws, fitted to rows.

    Follows scikit-learn's conventions for densities. Tables may be NumPy arrays, masked or not,
    frames of pandas, polars or pyarrow, or what holds or computes one: narwhals, dask, astropy.
    Columns may be of any type of scalars, with missing values; what each column is taken to be
    stands in `schema_`. Columns of lists, structs, bytes or complex numbers are refused.

    The density is p(discrete block) p(continuous columns | discrete block), exact with respect to
    the product of counting and Lebesgue measure, in the table's own units. The members of the
    continuous part are weighed by their log-scores on rows that they were not fitted to.

    Args:
        effort: "fast", "default" or "best": how much work the fit is.
        schema: what the columns are, where that is not to be inferred: a `flowkit.schema.Schema`,
            or a mapping from names to kinds, options or `flowkit.schema.Column`.
        store_rows: whether the model may hold rows of the training table: admits a kernel
            density estimate as a member. People share models: off by default.
        on_unknown: what scoring does with a category that the fit has not seen: "score" gives it
            its own small mass, "raise" an error.
        max_seconds: roughly how long the fit may take. The result then depends on the clock.
        random_state: seed of all noise; the same seed and table give the same model.

    Attributes:
        schema_: the `flowkit.schema.Schema` of the table.
        flow_: the flow of most weight inside, a `flowkit.flows.Flow` over columns that were
            standardised for it (see `latent`); None where there is none, as in tables of less
            than 100 rows.
        members_: name, kind, weight and held-out score of each member of the continuous part.
        run_: how the model came about: rows, seed, versions, seconds.
        n_features_in_: number of columns.
        feature_names_in_: their names, if the table has any.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> density = FlowDensity(random_state=0).fit(rows)
        >>> density.score_samples(rows).shape
        (60,)
        >>> density.sample(3).shape
        (3, 2)
    """

    def __init__(
        self,
        *,
        effort: str = "default",
        schema: Schema | Mapping[str, Any] | None = None,
        store_rows: bool = False,
        on_unknown: str = "score",
        max_seconds: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.effort = effort
        self.schema = schema
        self.store_rows = store_rows
        self.on_unknown = on_unknown
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        progress: Callable[..., object] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Self:
        """Fit the density to the rows of a table.

        Args:
            X: the table, ``(rows, columns)``.
            y: ignored.
            sample_weight: ``(rows,)``, non-negative. A weight of two is a row that stands there
                twice.
            progress: called as the fit goes on, with (stage, done, total, message).
            stop: asked between steps whether to end with the best so far; `run_` then says so.

        Returns:
            The estimator.

        Raises:
            ArgumentError: an option is none that there is.
            DataError: the table cannot be read as one; column and row are named.
        """
        del y
        check_choice("effort", self.effort, EFFORTS)
        check_choice("on_unknown", self.on_unknown, ("score", "raise"))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        X, library = table.opened(X)
        X = table.checked(self, X, reset=True)
        weights = table.checked_weights(sample_weight, X)
        self.model_ = TableModel.fit(
            X,
            schema=self.schema,
            library=library,
            weights=weights,
            effort=self.effort,
            store_rows=self.store_rows,
            max_seconds=self.max_seconds,
            seed=seed,
            progress=progress,
            stop=stop,
        )
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the natural log-density of each row, ``(rows,)`` float64, in the table's units.

        A category, an integer and a point mass count with their probability, other numbers and
        times with their density. In a column with a step (`flowkit.schema.Column`), such as cents
        or whole minutes, the density is that of a value spread evenly within the step: the
        probability of a multiple of the step is the density times the step.

        Whatever the table does not show has a small probability: a new category, a number in a
        column of few levels, a negative count. The score is ``-inf`` only outside a hard bound.
        """
        check_is_fitted(self)
        X = table.checked(self, X, reset=False)
        return self.model_.log_prob(X, on_unknown=self.on_unknown)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows."""
        del y
        return float(np.mean(self.score_samples(X)))

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Draw rows: a table of the kind, columns and dtypes that the fit was given.

        Numbers and times are rounded to their column's step. Constants, flags and columns of few
        levels have no other value than in the table, and counts are never negative: such rows are
        scored, with a probability of half a row in all per column, but not drawn.

        Args:
            n_samples: number of rows.
            random_state: seed; by default, and like scikit-learn's densities, another draw each
                time.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        return self.model_.sample(int(n_samples), rng)

    def latent(self, X: Any) -> np.ndarray:
        """Return what `flow_` makes of each row's continuous columns, ``(rows, columns)`` float64.

        Where the flow is right they are independent and standard normal. Missing values and point
        masses are NaN.

        Raises:
            ArgumentError: there is no flow inside.
        """
        check_is_fitted(self)
        return self.model_.latent(table.checked(self, X, reset=False))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to one ``.safetensors`` file, written whole or not at all.

        Raises:
            ModelFileError: the file cannot be written.
        """
        check_is_fitted(self)
        model_file.write(path, self.model_, self._options())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FlowDensity":
        """Load what `save` saved. Nothing in the file is executed, unpickled or imported.

        Raises:
            ModelFileError: there is no such file, or it is of another kind or version, truncated
                or altered.
        """
        model, options = model_file.read(path)
        try:
            names, columns = options.pop("feature_names_in_"), options.pop("n_features_in_")
            density = cls(**options)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(path, f"describes no estimator: {error}") from error
        density.model_ = model
        density.n_features_in_ = columns
        if names is not None:
            density.feature_names_in_ = np.asarray(names, dtype=object)
        return density

    @property
    def schema_(self) -> Schema:
        """What each column was taken to be."""
        return self.model_.schema

    @property
    def members_(self) -> list[dict[str, Any]]:
        """The members of the continuous part and their weights."""
        return self.model_.members

    @property
    def flow_(self) -> Any:
        """The flow of most weight inside."""
        return self.model_.flow

    @property
    def run_(self) -> dict[str, Any]:
        """How the model came about."""
        return self.model_.run

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the options, and the fitted part as the bytes of a model file."""
        state = dict(self.__dict__)
        if "model_" in state:
            state["model_"] = model_file.to_bytes(self.model_, self._options())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "model_" in state:
            self.model_ = model_file.of_bytes(state["model_"])

    def _options(self) -> dict[str, Any]:
        """Return what a model file keeps of the estimator itself."""
        state, names = self.random_state, getattr(self, "feature_names_in_", None)
        return {
            "effort": self.effort,
            "store_rows": self.store_rows,
            "on_unknown": self.on_unknown,
            "max_seconds": self.max_seconds,
            # A generator has moved on since: what it gave the fit stands in the run.
            "random_state": int(state) if isinstance(state, int | np.integer) else None,
            "n_features_in_": self.n_features_in_,
            "feature_names_in_": None if names is None else [str(name) for name in names],
        }
