"""Holdout: a split of rows into fitted and held-out ones, and a fingerprint to repeat it."""

import hashlib
from typing import Any

import numpy as np

from flowkit.schema import Encoded


def split_rows(n: int, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to fit and those to hold out, ascending; at least two are fitted."""
    order = np.random.default_rng(seed).permutation(n)
    kept = max(n - round(holdout * n), 2)
    return np.sort(order[:kept]), np.sort(order[kept:])


def describe_split(rows: Encoded, holdout: float, seed: int) -> dict[str, Any]:
    """Return a description of a split for `split_again`, ready for JSON."""
    return {
        "holdout": holdout,
        "seed": seed,
        "rows": len(rows.codes),
        "sha256": _fingerprint(rows),
    }


def split_again(rows: Encoded, split: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the split of a table; None if the table is not the one that was split."""
    if len(rows.codes) != split["rows"] or _fingerprint(rows) != split["sha256"]:
        return None
    return split_rows(split["rows"], split["holdout"], split["seed"])


def _fingerprint(rows: Encoded) -> str:
    """Return a hash of all values, which does not depend on the file format."""
    digest = hashlib.sha256(np.ascontiguousarray(rows.codes, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(rows.values, dtype="<f8").tobytes())
    return digest.hexdigest()
