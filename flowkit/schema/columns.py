"""Column of a table: its kind and the options of the kind."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from flowkit._checks import check_keys
from flowkit.errors import ArgumentError
from flowkit.schema.flags import is_flag
from flowkit.schema.precision import is_duration
from flowkit.schema.ticks import DAY

CONTINUOUS = ("real", "positive", "bounded", "circular", "datetime")
KINDS = (*CONTINUOUS, "integer", "categorical", "identifier", "empty")

# Other words for kinds.
WORDS: dict[str, dict[str, Any]] = {
    "boolean": {"kind": "categorical"},
    "code": {"kind": "categorical"},
    "text": {"kind": "categorical"},
    "number": {"kind": "real"},
    "count": {"kind": "integer", "lower": 0.0},
    "date": {"kind": "datetime"},
    "time": {"kind": "circular", "period": DAY},
    "duration": {"kind": "real"},
}

# Point masses that are printed.
_SHOWN = 12

Category = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """The kind of a column, with its options.

    Args:
        name: name of the column.
        kind: "real"; "positive"; "bounded", between ``lower`` and ``upper``, of which one may be
            None; "circular", an angle or time of day of a ``period``; "datetime"; "integer";
            "categorical"; "identifier", distinct in each row, not modelled and never stored
            (samples are numbered); "empty", without any value, not modelled.
        dtype: dtype of the column in the words of its library; samples have the same.
        lower: lower bound of a "bounded" column (excluded) or an "integer" one (included).
        upper: upper bound.
        period: of a "circular" column.
        zone: time zone of a "datetime" column, None for none.
        categories: of a "categorical" column, in order.
        missing: whether values may be missing.
        atoms: values of a continuous column that several rows share exactly: zeros, caps,
            defaults, sentinels. An atom has a probability, and no density.
        resolution: width within which a fit spreads values evenly: the step, if rounding has made
            many values equal.
        levels: all categories of the dtype in their order, also those without a row. Empty if the
            dtype has no categories.
        ordered: whether the order of the levels has a meaning.
        at_levels: whether the table has no values except the atoms: a constant, a flag, a few
            doses or prices. Samples have only these values. All other numbers share the small
            probability of an unseen category, spread by a broad distribution.
        step: greatest common step of the numbers or times; seconds for times. Samples are rounded
            to the step. The density of a continuous column is that of a value spread evenly
            within the step: a multiple has the probability density x step. An integer off the
            step has little mass.
        soft_lower: bound that the integers of the table do not cross: 0 for counts. Smaller
            integers share the probability of half a row, and are never drawn.
        sentinels: values far from all others that several rows share exactly, with their numbers
            of rows: perhaps codes for missing values.

    Raises:
        ArgumentError: options that do not fit each other.

    Example:
        >>> Column("share", "bounded", lower=0.0, upper=1.0).kind
        'bounded'
    """

    name: str
    kind: str
    dtype: str = "float64"
    lower: float | None = None
    upper: float | None = None
    period: float | None = None
    zone: str | None = None
    categories: tuple[Category, ...] = ()
    missing: bool = False
    atoms: tuple[float, ...] = ()
    resolution: float | None = None
    levels: tuple[Category, ...] = ()
    ordered: bool = False
    at_levels: bool = False
    step: float | None = None
    soft_lower: float | None = None
    sentinels: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        where = f"column {self.name!r}"
        if self.kind not in KINDS:
            words = ", ".join((*KINDS, *WORDS))
            raise ArgumentError(f"{where}, kind", f"one of {words}", repr(self.kind))
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "atoms", tuple(float(a) for a in self.atoms))
        pairs = tuple((float(value), int(rows)) for value, rows in self.sentinels)
        object.__setattr__(self, "sentinels", pairs)
        numbers = (
            *(self.lower, self.upper, self.period, self.resolution, self.step, self.soft_lower),
            *(value for value, _ in self.sentinels),
            *self.atoms,
        )
        for number in numbers:
            if number is not None and not (
                isinstance(number, int | float) and math.isfinite(number)
            ):
                raise ArgumentError(where, "finite numbers for its options", repr(number))
        if self.kind == "bounded" and self.lower is None and self.upper is None:
            raise ArgumentError(where, "lower, upper or both, as it is bounded", "neither")
        if self.kind not in ("bounded", "integer") and (self.lower, self.upper) != (None, None):
            raise ArgumentError(where, f"no bounds, as it is {self.kind}", "some")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ArgumentError(where, "lower below upper", f"{self.lower} and {self.upper}")
        if (self.kind == "circular") != (self.period is not None):
            raise ArgumentError(where, "a period exactly if it is circular", self.period)
        if self.period is not None and self.period <= 0:
            raise ArgumentError(where, "a positive period", self.period)
        if self.categories and self.kind != "categorical":
            raise ArgumentError(where, f"no categories, as it is {self.kind}", "some")
        if len(set(self.categories)) < len(self.categories):
            raise ArgumentError(where, "categories that differ", "some twice")
        if self.atoms and self.kind not in CONTINUOUS and not self.at_levels:
            raise ArgumentError(where, f"no atoms, as it is {self.kind}", "some")
        if self.at_levels and (self.kind == "categorical" or not self.atoms):
            raise ArgumentError(where, "at_levels only for numbers with atoms", self.kind)
        if self.kind == "integer":
            self._check_integer(where)
        elif self.soft_lower is not None:
            raise ArgumentError(where, f"no soft bound, as it is {self.kind}", self.soft_lower)
        if self.step is not None and (self.step <= 0 or self.kind == "categorical"):
            raise ArgumentError(where, "a positive step, and numbers", self.step)

    def _check_integer(self, where: str) -> None:
        whole = (self.step, self.soft_lower, *self.atoms)
        if any(number is not None and number != round(number) for number in whole):
            raise ArgumentError(where, "whole numbers for its options", whole)
        if self.at_levels and (self.lower, self.upper) != (None, None):
            raise ArgumentError(where, "no bounds, as its levels are all there is", "some")

    @property
    def is_modelled(self) -> bool:
        """Whether the column is part of the density."""
        return self.kind not in ("identifier", "empty")

    @property
    def is_continuous(self) -> bool:
        """Whether values other than the atoms have a density."""
        return self.kind in CONTINUOUS and not self.at_levels

    @property
    def has_flag(self) -> bool:
        """Whether the discrete block has a flag: present, missing or an atom."""
        if self.kind == "categorical" or not self.is_modelled or self.at_levels:
            return False
        return self.missing or bool(self.atoms)

    @property
    def missing_state(self) -> int:
        """The state of the flag for a missing value: after 0 (present) and the atoms."""
        return 1 + len(self.atoms)

    def describe(self, seen: tuple[float, float] | None = None) -> str:
        """Return the kind with its options, for people.

        Args:
            seen: the smallest and the largest value of a table, to show as well.
        """
        if self.kind == "empty":
            return "empty, only missing values: left out of the density, missing in samples too"
        if self.kind == "identifier":
            return "identifier, another value in each row: not modelled, samples are numbered"
        words = [self._word()]
        if self.kind == "categorical":
            words = [self._describe_categories()]
        if self.lower is not None:
            words.append(f"from {self.lower:g}")
        if self.upper is not None:
            words.append(f"to {self.upper:g}")
        if self.period is not None and self.period != DAY:
            words.append(f"of period {self.period:g}")
        if self.zone is not None:
            words.append(self.zone)
        parts = [" ".join(words)]
        if seen is not None and not self.at_levels:
            parts.append(f"{self._shown(seen[0])} to {self._shown(seen[1])}")
        if self.soft_lower is not None and not self.at_levels and self.lower is None:
            parts.append(f"none below {self.soft_lower:g}")
        step = self.step if self.step is not None else self.resolution
        if step is not None and not (self.kind == "datetime" and step == DAY):
            parts.append(f"in steps of {self._of_step(step)}")
        far = {value for value, _ in self.sentinels}
        near = sorted(self.atoms if self.at_levels else {*self.atoms} - far)
        if near:
            word = ("always" if len(near) == 1 else "one of") if self.at_levels else None
            parts.append(f"{word or 'point masses at'} {self._list(near)}")
        if self.missing:
            parts.append("may be missing")
        for value, rows in self.sentinels:
            parts.append(
                f"point mass at {self._list([value])} in {rows:,} rows, far from the rest "
                f"(--missing {self._list([value])} if it stands for a missing value)"
            )
        return ", ".join(parts)

    def _list(self, values: list[float]) -> str:
        """Return values for people, the first dozen if there are more."""
        shown = [self._shown(value) for value in values[:_SHOWN]]
        return ", ".join(shown + ["..."] * (len(values) > _SHOWN))

    def _shown(self, value: float) -> str:
        if self.kind == "circular" and self.period == DAY:
            return str(np.datetime64(round(value * 1e6), "us").astype("datetime64[s]"))[11:]
        if self.kind != "datetime":
            return f"{value:.10g}"
        unit = "D" if self._of_days else "s"
        return str(np.datetime64(round(value * 1e6), "us").astype(f"datetime64[{unit}]"))

    @property
    def _of_days(self) -> bool:
        """Whether times are whole days."""
        if self.at_levels:
            return all(atom % DAY == 0 for atom in self.atoms)
        return self.step is not None and self.step % DAY == 0

    def _of_step(self, step: float) -> str:
        """Return a step for people; of times in the largest unit that divides the step."""
        if self.kind != "datetime" and self._word() not in ("time of day", "duration"):
            return f"{step:g}"
        for unit, size in (("day", DAY), ("hour", 3600.0), ("minute", 60.0)):
            if step >= size and step % size == 0:
                return f"{step / size:g} {unit}" + "s" * (step != size)
        return f"{step:g} s"

    def _word(self) -> str:
        """Return the plainest word for the kind."""
        if self.kind == "circular" and self.period == DAY:
            return "time of day"
        if self.kind in ("real", "positive") and is_duration(self.dtype):
            return "duration"
        if self.at_levels and {*self.atoms} == {0.0, 1.0}:
            return "boolean"
        if self.kind == "datetime" and self._of_days:
            return "date"
        return self.kind

    def _describe_categories(self) -> str:
        if self.categories == (False, True):
            return "boolean"
        if len(self.categories) == 2 and is_flag(self.categories):
            return f"boolean: {self.categories[0]}, {self.categories[1]}"
        count, order = len(self.categories), "in order " if self.ordered else ""
        more = ", ..." if count > 4 else ""
        shown = ", ".join(str(c) for c in self.categories[:4])
        unused = max(len(self.levels) - count, 0)
        without = f" ({unused:,} more without a row)" if unused else ""
        word = "ordered category" if self.ordered else "categorical"
        return f"{word}, {count:,}{without}: {order}{shown}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Return the options that differ from the defaults, ready for JSON."""
        return {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name in ("name", "kind", "dtype") or getattr(self, f.name) != f.default
        }

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "Column":
        """Make a column from what `to_dict` returned.

        Raises:
            ArgumentError: unknown or missing keys, or values that make no column.
        """
        if not isinstance(options, Mapping) or not {"name", "kind"} <= set(options):
            raise ArgumentError("column", "a mapping with at least name and kind", options)
        check_keys("column", options, {f.name for f in fields(cls)} & set(options))
        try:
            return cls(**options)
        except TypeError as error:
            raise ArgumentError("column", "options of a column", str(error)) from error

    def override(self, options: "str | Mapping[str, Any] | Column") -> "Column":
        """Return the column with a kind, options, or everything overridden."""
        if isinstance(options, Column):
            return replace(options, **self._of_table())
        if isinstance(options, str):
            options = {"kind": options}
        known = {f.name for f in fields(self)} - set(self._of_table())
        if not isinstance(options, Mapping) or not set(options) <= known:
            raise ArgumentError(
                f"column {self.name!r}", f"a kind, or some of {sorted(known)}", options
            )
        options = {**WORDS.get(options.get("kind", ""), {}), **_without_word(options)}
        kind = options.get("kind", self.kind)
        # Options that were inferred for another kind are dropped.
        kept = asdict(self) if kind == self.kind else {"missing": self.missing}
        kept |= {**self._of_table(), "kind": kind}
        if kind == "integer" and {"lower", "upper"} & set(options):
            # Bounds replace what was inferred, levels among them.
            kept |= {"at_levels": False, "atoms": (), "soft_lower": None}
        return Column(**{**kept, **options})

    def _of_table(self) -> dict[str, Any]:
        """Return the options that depend on the table alone, whatever the kind."""
        of_table = ("name", "dtype", "levels", "ordered")
        return {name: getattr(self, name) for name in of_table}


def _without_word(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without a kind that is another word for one."""
    return {k: v for k, v in options.items() if k != "kind" or v not in WORDS}


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON has them."""
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
