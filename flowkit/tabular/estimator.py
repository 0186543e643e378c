"""FlowDensity: the density of a table, as a scikit-learn estimator."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from flowkit._checks import check_choice, check_count
from flowkit._device import device_named
from flowkit.schema import Encoded, Schema
from flowkit.tabular import model_file, validation
from flowkit.tabular.conditioning import ConditionalDensity, MarginalDensity, explained, imputed
from flowkit.tabular.conditioning.weights import generator_of
from flowkit.tabular.model import TableModel
from flowkit.tabular.saved import ModelFile, SavedEstimator
from flowkit.tabular.settings import EFFORTS, FitSettings


class FlowDensity(DensityMixin, SavedEstimator):  # type: ignore[misc]
    """The density of a table: an ensemble of normalizing flows and simpler densities.

    `FlowDensity` follows scikit-learn's conventions for densities. Tables may be NumPy arrays,
    masked or not, and frames of pandas, polars, pyarrow, narwhals, dask or astropy. Columns may
    have any scalar type, with missing values. The kind of each column is inferred; see `schema_`.
    Columns of lists, structs, bytes or complex numbers are refused.

    The density is p(discrete block) p(continuous columns | discrete block). It is exact with
    respect to the product of counting and Lebesgue measure, in the table's own units. The members
    of the continuous part are weighted by their log-densities on held-out rows.

    Args:
        effort: amount of work of the fit: "fast", "default" or "best".
        schema: kinds of columns, to override what is inferred: a `flowkit.schema.Schema`, or a
            mapping from names to kinds, options or `flowkit.schema.Column`.
        store_rows: whether the model may store rows of the training table. This admits a kernel
            density estimate as a member. Off by default, as models are shared.
        on_unknown: treatment of unseen categories in scoring: "score" gives them a small
            probability, "raise" raises an error.
        max_seconds: approximate time limit of the fit. The result then depends on the clock.
        random_state: random seed. The same seed and table give the same model.
        device: where the flows are trained, evaluated and sampled, such as "cpu" or "cuda".
            Everything else is computed on the CPU. It is no part of a saved model.

    Attributes:
        schema_: the `flowkit.schema.Schema` of the table.
        flow_: the flow of largest weight, a `flowkit.flows.Flow` over standardised columns (see
            `latent`). None without a flow, as in tables of less than 100 rows.
        members_: name, kind, weight and held-out score of each member of the continuous part.
        run_: record of the fit: rows, seed, versions, seconds.
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

    model_: TableModel
    _model_file: ClassVar[ModelFile] = model_file
    _saved_options: ClassVar[tuple[str, ...]] = (
        "effort",
        "store_rows",
        "on_unknown",
        "max_seconds",
    )

    def __init__(
        self,
        *,
        effort: str = "default",
        schema: Schema | Mapping[str, Any] | None = None,
        store_rows: bool = False,
        on_unknown: str = "score",
        max_seconds: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.effort = effort
        self.schema = schema
        self.store_rows = store_rows
        self.on_unknown = on_unknown
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        progress: Callable[..., object] | None = None,
        stop: Callable[[], bool] | None = None,
        run_note: Mapping[str, Any] | None = None,
    ) -> Self:
        """Fit the density to the rows of a table.

        Args:
            X: the table, ``(rows, columns)``.
            y: ignored.
            sample_weight: ``(rows,)``, non-negative. A row of weight two counts as two equal rows.
            progress: called during the fit with (stage, done, total, message). Calls come from
                several threads, one at a time.
            stop: called between steps, from several threads. If it returns True, the fit ends with
                the best model so far, and ``run_["ended_early"]`` is True.
            run_note: entries to add to `run_`, such as where the table came from. They are saved
                with the model, and must be ready for JSON.

        Returns:
            The estimator.

        Raises:
            ArgumentError: an option has a value that is not allowed.
            DataError: the table is unusable; column and row are named.
        """
        del y
        check_choice("effort", self.effort, EFFORTS)
        check_choice("on_unknown", self.on_unknown, ("score", "raise"))
        seed = validation.seed_of(self.random_state)
        X, library = validation.opened(X)
        X = validation.checked(self, X, reset=True)
        weights = validation.checked_weights(sample_weight, X)
        device = device_named(self.device)
        settings = FitSettings(
            self.effort, seed, self.store_rows, self.max_seconds, progress, stop, str(device)
        )
        self.model_ = TableModel.fit(
            X, schema=self.schema, library=library, weights=weights, settings=settings
        )
        self.model_.compute_on(device)
        self.model_.run.update(run_note or {})
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
        X = validation.checked(self, X, reset=False)
        self.model_.compute_on(device_named(self.device))
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
        self.model_.compute_on(device_named(self.device))
        return self.model_.sample(int(n_samples), generator_of(random_state))

    def sample_batches(
        self, n_samples: int, random_state: int | np.random.RandomState | None = None
    ) -> Iterator[Any]:
        """Draw the rows of `sample` as tables of at most 65,536 rows, one after the other.

        Memory does not grow with ``n_samples``.

        Example:
            >>> rows = np.random.default_rng(0).normal(size=(60, 2))
            >>> density = FlowDensity(random_state=0).fit(rows)
            >>> sum(len(batch) for batch in density.sample_batches(100_000, random_state=0))
            100000
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        self.model_.compute_on(device_named(self.device))
        return self.model_.sample_batches(int(n_samples), generator_of(random_state))

    def percentile(self, log_density: np.ndarray) -> np.ndarray:
        """Return the share of training rows with a lower log-density, in percent.

        If the fit had more than 100,000 rows, the share is that of 100,000 of them at random.

        Args:
            log_density: from `score_samples`, ``(rows,)``.

        Returns:
            ``(rows,)``, each from 0 to 100.
        """
        check_is_fitted(self)
        return self.model_.percentile(log_density)

    def encode(self, X: Any, *, rows_from: int = 0) -> Encoded:
        """Return rows as codes and real values, for `score_encoded`.

        Args:
            X: the table.
            rows_from: number of the first row, for messages.

        Raises:
            DataError: the table does not fit the schema; column and row are named.
        """
        check_is_fitted(self)
        return self.schema_.encode(X, rows_from=rows_from, on_unknown=self.on_unknown)

    def score_encoded(self, encoded: Encoded, *, block: str = "all") -> np.ndarray:
        """Return the log-density of encoded rows, ``(rows,)`` float64.

        Args:
            encoded: from `encode`.
            block: "all" for the rows; "discrete" for the discrete block alone, 0 without one.
        """
        check_is_fitted(self)
        check_choice("block", block, ("all", "discrete"))
        if block == "discrete":
            return self.model_.score_codes(encoded)
        self.model_.compute_on(device_named(self.device))
        return self.model_.score_encoded(encoded)

    def given(self, conditions: Mapping[str, Any], *, method: str = "auto") -> ConditionalDensity:
        """Return the density of the other columns, given conditions on some.

        Args:
            conditions: by name of the column a value, a range ``(low, high)`` that includes its
                ends and of which one may be None, or a set of values. None, or NaN, is a missing
                value. A column with a value is left out of the result. A column with a range or a
                set remains, restricted to it.
            method: "exact" needs members with a closed form, which flows have not; "importance"
                estimates by weighted draws; "auto" is exact wherever possible.

        Raises:
            ArgumentError: a column or a condition that is not possible; the column is named.

        Example:
            >>> rows = np.random.default_rng(0).normal(size=(60, 3))
            >>> density = FlowDensity(random_state=0).fit(rows)
            >>> conditional = density.given({"x0": 1.5, "x1": (0.0, None)})
            >>> conditional.columns
            ('x1', 'x2')
            >>> bool((conditional.sample(5, random_state=0)[:, 0] >= 0).all())
            True
        """
        return ConditionalDensity(self._model().conditioner, conditions, method=method)

    def marginal(self, columns: Sequence[str], *, method: str = "auto") -> MarginalDensity:
        """Return the density of some columns alone.

        Args:
            columns: their names.
            method: as of `given`.

        Raises:
            ArgumentError: no columns, one that does not exist, or one that stands twice.

        Example:
            >>> rows = np.random.default_rng(0).normal(size=(60, 3))
            >>> density = FlowDensity(random_state=0).fit(rows)
            >>> density.marginal(["x0", "x2"]).score_samples(rows[:, [0, 2]]).shape
            (60,)
        """
        return MarginalDensity(self._model().conditioner, columns, method=method)

    def impute(
        self,
        table: Any,
        n: int = 1,
        *,
        method: str = "draw",
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Return a table with its missing cells filled, given the cells of their row.

        A column may have missing values whether the fit saw any or not. Cells are filled with
        present values. Identifiers, and columns without any value in the fit, stay as they are.

        Args:
            table: the table, which is not changed.
            n: number of tables to draw (multiple imputation).
            method: "draw", or "mean" for the mean of each cell: the commonest value of categories
                and of columns of few levels, and the mean direction of circular columns.
            random_state: seed; by default another draw each time.

        Returns:
            A table; for ``n`` above one, a list of tables.

        Raises:
            ArgumentError: an option has a value that is not allowed.
            DataError: the table does not fit the schema; column and row are named.

        Example:
            >>> rows = np.random.default_rng(0).normal(size=(60, 3))
            >>> density = FlowDensity(random_state=0).fit(rows)
            >>> rows[3, 1] = np.nan
            >>> bool(np.isfinite(density.impute(rows, random_state=0)).all())
            True
        """
        check_count("n", n)
        check_choice("method", method, ("draw", "mean"))
        conditioner = self._model().conditioner
        table = validation.checked(self, table, reset=False)
        return imputed(conditioner, table, n, method, generator_of(random_state))

    def explain(self, table: Any) -> np.ndarray:
        """Return the log-density of each column given all others, ``(rows, columns)``.

        Columns are in the order of the fit; those that are not modelled have 0. Sums over discrete
        columns are exact, but that far integers are taken in ranges. Integrals over continuous
        columns are exact without flows, and quadratures to 1e-6 with flows.

        Args:
            table: the table.

        Example:
            >>> rows = np.random.default_rng(0).normal(size=(60, 3))
            >>> density = FlowDensity(random_state=0).fit(rows)
            >>> rows[3, 1] = 9.0
            >>> density.explain(rows)[3].argmin()
            np.int64(1)
        """
        return explained(self._model().conditioner, self.encode(table))

    def flows_only(self) -> "FlowDensity":
        """Return the density with the flows alone for its continuous columns.

        Raises:
            ArgumentError: there is no flow among the members.
        """
        check_is_fitted(self)
        flows = copy(self)
        flows.model_ = self.model_.flows_only()
        return flows

    def latent(self, X: Any) -> np.ndarray:
        """Return the latents of the continuous columns under `flow_`, ``(rows, columns)`` float64.

        They are independent and standard normal where the flow has the right density. Missing
        values and point masses are NaN.

        Raises:
            ArgumentError: there is no flow inside.
        """
        check_is_fitted(self)
        return self.model_.latent(validation.checked(self, X, reset=False))

    @property
    def schema_(self) -> Schema:
        """The kind of each column."""
        return self.model_.schema

    @property
    def members_(self) -> list[dict[str, Any]]:
        """The members of the continuous part and their weights."""
        return self.model_.members

    @property
    def flow_(self) -> Any:
        """The flow of largest weight."""
        return self.model_.flow

    @property
    def curves_(self) -> list[list[float]]:
        """Held-out scores of each flow in training, in nats of its standardised columns."""
        return self.model_.curves

    def _model(self) -> TableModel:
        """Return the fitted model, computing on the device of the estimator."""
        check_is_fitted(self)
        self.model_.compute_on(device_named(self.device))
        return self.model_
