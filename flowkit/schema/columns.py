"""What one column of a table is."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from flowkit._checks import check_choice, check_keys
from flowkit.errors import ArgumentError

CONTINUOUS = ("real", "positive", "bounded", "circular", "datetime")
KINDS = (*CONTINUOUS, "integer", "categorical", "empty")

Category = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """What a column is taken to be.

    Args:
        name: its name.
        kind: "real"; "positive", above zero; "bounded", between ``lower`` and ``upper``, of which
            one may be missing; "circular", an angle or time of day of some ``period``; "datetime";
            "integer", a count if ``lower`` is 0; "categorical"; "empty", without any value, which
            is left out of the density and comes back as it is.
        dtype: that of the table, in the words of its library; what samples are given.
        lower: bound from below of a "bounded" (open) or "integer" (included) column.
        upper: bound from above.
        period: of a "circular" column.
        zone: time zone of a "datetime" column, None for none.
        categories: of a "categorical" column, in order.
        missing: whether values may be missing.
        atoms: values of a continuous column that many rows share to the last digit: zeros, caps,
            defaults. They have a probability, and no density.
        levels: all categories of the table's dtype in its order, those without a row too; samples
            have them again. Empty of a dtype that has none of its own.
        ordered: whether the order of the levels has a meaning.
        resolution: the step in which a continuous column was written down, if repeated values
            show one. Fits see values spread within it.

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

    def __post_init__(self) -> None:
        where = f"column {self.name!r}"
        check_choice(f"{where}, kind", self.kind, KINDS)
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "atoms", tuple(float(a) for a in self.atoms))
        numbers = (self.lower, self.upper, self.period, self.resolution, *self.atoms)
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
        if self.atoms and self.kind not in CONTINUOUS:
            raise ArgumentError(where, f"no atoms, as it is {self.kind}", "some")

    @property
    def is_continuous(self) -> bool:
        """Whether its values have a density."""
        return self.kind in CONTINUOUS

    @property
    def has_flag(self) -> bool:
        """Whether a flag in the discrete block says if a value is present, missing or an atom."""
        plain = self.kind not in ("categorical", "empty")
        return plain and (self.missing or bool(self.atoms))

    @property
    def missing_state(self) -> int:
        """The flag's state of a missing value, after 0 for a present one and those of the atoms."""
        return 1 + len(self.atoms)

    def describe(self) -> str:
        """Return the kind with its options, for people."""
        if self.kind == "empty":
            return "empty, only missing values: left out of the density, missing in samples too"
        words = [self.kind]
        if self.kind == "categorical":
            words = [self._describe_categories()]
        if self.lower is not None:
            words.append(f"from {self.lower:g}")
        if self.upper is not None:
            words.append(f"to {self.upper:g}")
        if self.period is not None:
            words.append(f"of period {self.period:g}")
        if self.zone is not None:
            words.append(self.zone)
        text = " ".join(words)
        if self.resolution is not None:
            text += f", in steps of {self.resolution:g}"
        if self.atoms:
            text += f", point masses at {', '.join(f'{a:g}' for a in self.atoms)}"
        return text + (", may be missing" if self.missing else "")

    def _describe_categories(self) -> str:
        count, order = len(self.categories), "in order: " if self.ordered else ""
        more = ", ..." if count > 4 else ""
        shown = ", ".join(str(c) for c in self.categories[:4])
        unused = max(len(self.levels) - count, 0)
        without = f" ({unused:,} more without a row)" if unused else ""
        return f"categorical, {count:,}{without}: {order}{shown}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults, ready for JSON."""
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v
            for f in fields(self)
            if f.name in ("name", "kind", "dtype") or getattr(self, f.name) != f.default
        }

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "Column":
        """Make it from what `to_dict` returned.

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
        """Return the column with a kind, options or all of it told instead of inferred."""
        if isinstance(options, Column):
            return replace(options, **self._of_table())
        if isinstance(options, str):
            options = {"kind": options}
        known = {f.name for f in fields(self)} - set(self._of_table())
        if not isinstance(options, Mapping) or not set(options) <= known:
            raise ArgumentError(
                f"column {self.name!r}", f"a kind, or some of {sorted(known)}", options
            )
        kind = options.get("kind", self.kind)
        # What was inferred for another kind says nothing about this one.
        kept = asdict(self) if kind == self.kind else {"missing": self.missing}
        kept |= {**self._of_table(), "kind": kind}
        return Column(**{**kept, **options})

    def _of_table(self) -> dict[str, Any]:
        """Return what the table says, whatever the column is taken to be."""
        own = ("name", "dtype", "levels", "ordered")
        return {name: getattr(self, name) for name in own}
