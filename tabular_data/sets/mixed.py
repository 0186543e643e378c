"""Tables of mixed columns (categories, missing values, counts), as pyarrow tables."""

import gzip
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tabular_data.dataset import Card, DataSet
from tabular_data.errors import MissingDataError

_ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
]
_ABALONE = [
    "sex",
    "length",
    "diameter",
    "height",
    "whole_weight",
    "shucked_weight",
    "viscera_weight",
    "shell_weight",
    "rings",
]


_BANKNOTE = ("variance", "skewness", "curtosis", "entropy", "class")
_PHONEME = ("Aa", "Ao", "Dcl", "Iy", "Sh", "class")


@dataclass(frozen=True)
class _Format:
    file: str
    rows: int
    source: str
    delimiter: str = ","
    header: tuple[str, ...] = ()
    test_file: str = ""
    missing: tuple[str, ...] = ("", "NA", "?")


TABLES = {
    "california": _Format("california.csv", 20_640, "StatLib, Pace and Barry 1997"),
    "adult": _Format(
        "adult-train.csv",
        32_561,
        "UCI, Kohavi 1996",
        header=tuple(_ADULT),
        test_file="adult-test.csv",
    ),
    "bank": _Format("bank-full.csv", 45_211, "UCI, Moro, Cortez and Rita 2014", delimiter=";"),
    "diamonds": _Format("diamonds.csv", 53_940, "ggplot2, Wickham"),
    "penguins": _Format("penguins.csv", 344, "Horst, Hill and Gorman 2020"),
    "abalone": _Format("abalone.csv", 4_177, "UCI, Nash et al. 1994", header=tuple(_ABALONE)),
    "htru2": _Format("htru2.csv", 17_898, "UCI, Lyon et al. 2016"),
    "banknote_authentication": _Format(
        "banknote_authentication.csv", 1_372, "UCI, Lohweg 2013", header=_BANKNOTE
    ),
    "phoneme": _Format("phoneme.csv", 5_404, "ELENA project", header=_PHONEME),
    "magic": _Format("magic.tsv.gz", 19_020, "UCI, Bock 2004", delimiter="\t"),
}
_STEPS = (
    "blanks, NA and ? are missing; text is stripped of spaces around it",
    "shuffled by default_rng(0): a tenth for test, a tenth of the rest for validation",
)


def read(root: Path, name: str) -> DataSet:
    """Read one table, with missing values as null."""
    form = TABLES[name]
    table = _table(root / "tables" / form.file, form)
    rng = np.random.default_rng(0)
    if form.test_file:
        test = _table(root / "tables" / form.test_file, form)
        rest = table.take(rng.permutation(table.num_rows))
    else:
        order = rng.permutation(table.num_rows)
        n_test = table.num_rows // 10
        test, rest = table.take(order[:n_test]), table.take(order[n_test:])
    n_val = rest.num_rows // 10
    return DataSet(
        name, rest.slice(n_val), rest.slice(0, n_val), test, tuple(table.column_names), _STEPS
    )


def _table(path: Path, form: _Format) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    if not path.exists():
        raise MissingDataError(f"{path} is not there. Place the table of {form.source} by hand.")
    lines = path.read_bytes()
    if path.suffix == ".gz":
        lines = gzip.decompress(lines)
    # With spaces after a delimiter, numbers would be read as text.
    lines = b"\n".join(
        form.delimiter.encode().join(cell.strip() for cell in line.split(form.delimiter.encode()))
        for line in lines.splitlines()
        if line.strip() and not line.startswith(b"|")
    )
    table = csv.read_csv(
        pa.BufferReader(lines),
        csv.ReadOptions(column_names=list(form.header) or None),
        csv.ParseOptions(delimiter=form.delimiter),
        csv.ConvertOptions(null_values=list(form.missing), strings_can_be_null=True),
    )
    if "" in table.column_names:  # row numbers
        table = table.drop_columns([""])
    if form.test_file and path.name == form.test_file:  # classes of the test file end with a dot
        i = table.column_names.index(form.header[-1])
        column = pc.replace_substring(table.column(i), ".", "")
        table = table.set_column(i, form.header[-1], column)
    return table


CARDS = tuple(
    Card(
        name,
        f"{form.rows:,} rows as a table of mixed columns",
        partial(read, name=name),
        form.source,
        "CC BY 4.0" if form.source.startswith("UCI") else "see the source",
        form.source,
    )
    for name, form in TABLES.items()
)
