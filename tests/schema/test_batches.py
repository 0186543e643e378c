"""Schemas of tables that come in batches, beside those of whole tables."""

import tracemalloc
from datetime import time

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.errors import ArgumentError, DataError
from flowkit.schema import Schema
from flowkit.schema.batches import BatchSummaries
from flowkit.schema.counts import NumberCounts
from flowkit.schema.distinct import DistinctCount, mixed, number_keys
from flowkit.schema.series import Series
from flowkit.schema.summary import summary_of

N = 1200
ROWS = np.arange(N)
SERIES = Series("x", "float", "double", np.zeros(0), np.zeros(0, dtype=bool))


def make(seed):
    return np.random.default_rng(seed)


def some_missing(values, every=7, kind=None):
    return pa.array(values, kind, mask=ROWS[: len(values)] % every == 3)


def mixed_table():
    rng = make(0)
    return {
        "x": rng.normal(size=N),
        "n": rng.poisson(4, N),
        "town": rng.choice(["Ulm", "Bonn", "Kiel"], N),
        "flag": rng.random(N) < 0.5,
    }


def integers():
    rng = make(1)
    return {
        "count": rng.poisson(50, N),
        "signed": rng.integers(-9, 9, N),
        "fives": 5 * rng.integers(0, 90, N),
        "doses": rng.choice([1, 2, 5, 10], N),
        "bit": rng.integers(0, 2, N),
        "gaps": some_missing(rng.integers(0, 400, N).astype(float)),
        "small": pa.array(rng.integers(0, 99, N), pa.int8()),
    }


def times():
    rng = make(2)
    days = np.datetime64("2020-01-01") + rng.integers(0, 900, N)
    moments = np.datetime64("2020-01-01T00:00", "us") + rng.integers(0, 10**13, N)
    hours = [time(int(hour)) for hour in rng.integers(0, 24, N)]
    return {
        "day": days,
        "moment": some_missing(moments),
        "zoned": pa.array(moments, pa.timestamp("us", "UTC")),
        "hour": pa.array(hours, pa.time64("us")),
        "took": 60 * rng.integers(0, 500, N).astype("timedelta64[s]"),
    }


def texts():
    rng = make(3)
    words = [f"w{i}" for i in rng.zipf(1.5, N).clip(max=300)]
    return {
        "word": words,
        "odd": [("", "a", "a\0", "ü", "b ")[i] for i in rng.integers(0, 5, N)],
        "gaps": some_missing(words),
        "mixed": [str(i % 9) if i % 3 else f"t{i % 5}" for i in ROWS],
        "size": pa.array(rng.choice(["S", "L", "M"], N)).dictionary_encode(),
        "level": pa.array(rng.choice([3, 1, 2], N)).dictionary_encode(),
    }


def sentinels():
    rng = make(4)
    x = rng.normal(size=N).round(2)
    return {
        "low": np.where(ROWS % 400 == 9, -999.0, x),
        "both": np.where(ROWS % 300 == 9, 9999, np.where(ROWS % 300 == 10, -99, rng.poisson(9, N))),
        "missing": some_missing(np.where(ROWS % 200 == 9, 999.0, x)),
    }


def point_masses():
    rng = make(5)
    x = rng.normal(size=N)
    return {
        "zeros": np.where(rng.random(N) < 0.3, 0.0, np.exp(x)),
        "capped": np.minimum(x, 1.0),
        "negative zero": np.where(rng.random(N) < 0.3, -0.0, x),
        "few": np.where(rng.random(N) < 0.98, rng.choice([1.5, 2.5, 9.0], N), x),
        "constant": np.full(N, 2.5),
    }


def rounded():
    rng = make(6)
    return {
        "cents": rng.gamma(2, 5, N).round(2),
        "single": pa.array(rng.normal(size=N).round(3).astype(np.float32)),
        "steps": rng.integers(0, 500, N) * 0.05,
        "price": pa.array(rng.gamma(2, 5, N).round(2)).cast(pa.decimal128(9, 2), safe=False),
    }


def booleans():
    flags = make(7).random(N) < 0.2
    return {"a": flags, "b": some_missing(flags), "all": np.ones(N, dtype=bool)}


def identifiers():
    rng = make(8)
    return {
        "id": ROWS,
        "email": [f"person{i}@example.org" for i in ROWS],
        "nearly": [f"p{i - i % 50 // 49}" for i in ROWS],
        "x": rng.normal(size=N),
    }


def repeated_rows():
    rng = make(9)
    again = rng.integers(0, 300, N)
    return {
        "whole": rng.permutation(300)[again].astype(float),
        "real": rng.normal(size=300).round(6)[again],
        "word": np.array([f"k{i}" for i in range(300)])[again],
    }


def repeated_values():
    """The same values as of repeated rows, in rows that differ."""
    rng = make(10)
    return {
        "whole": rng.permutation(300)[rng.integers(0, 300, N)].astype(float),
        "real": rng.normal(size=300).round(6)[rng.integers(0, 300, N)],
    }


def empty_columns():
    return {
        "none": pa.nulls(N),
        "no float": pa.nulls(N, pa.float64()),
        "no text": pa.nulls(N, pa.string()),
        "late": pa.array(make(11).normal(size=N), mask=ROWS < 1000),
        "first": pa.array(make(13).normal(size=N), mask=ROWS < 50),
        "early": pa.array(make(12).normal(size=N), mask=ROWS >= 100),
    }


def one_column():
    return {"whole": np.repeat(np.arange(400.0), 3)}


TABLES = [
    *(mixed_table, integers, times, texts, sentinels, point_masses, rounded, booleans),
    *(identifiers, repeated_rows, repeated_values, empty_columns, one_column),
]


def batches(table, *sizes):
    """Return the rows in batches of uneven sizes, one without rows among them."""
    start, found = 0, [table.slice(0, 0).combine_chunks()]
    for size in (*sizes, table.num_rows):
        found += table.slice(start, size).combine_chunks().to_batches()
        start += size
    return found


def whole(table, kinds=None):
    schema = Schema.infer(table, kinds)
    return schema, schema.describe(table)


def in_batches(table, kinds=None, *sizes):
    inferred = Schema.infer_batches(batches(table, *(sizes or (1, 100, 350, 7))), kinds)
    return inferred, inferred.schema.describe(ranges=inferred.ranges)


def limit(monkeypatch, numbers, texts=200_000):
    monkeypatch.setattr("flowkit.schema.batches._NUMBERS", numbers)
    monkeypatch.setattr("flowkit.schema.batches._TEXTS", texts)


@pytest.mark.parametrize("make_table", TABLES)
def test_batches_have_the_schema_of_the_whole_table(make_table):
    table = pa.table(make_table())
    expected, description = whole(table)
    for sizes in ((1, 100, 350, 7), (), (600,)):
        inferred, described = in_batches(table, None, *sizes)
        assert inferred.schema == expected
        assert described == description
        assert not inferred.sampled


@pytest.mark.parametrize(
    "kinds",
    [
        {"cents": "positive", "steps": "categorical", "price": "identifier"},
        {"a": "integer", "b": "real"},
        {"word": "categorical", "odd": "identifier", "size": "categorical"},
        {"day": "categorical", "took": "real", "hour": "circular"},
        {"none": "empty", "late": "real"},
    ],
)
def test_kinds_given_are_kept_to(kinds):
    (columns,) = [t() for t in TABLES if kinds.keys() <= t().keys()]
    table = pa.table(columns)
    schema, description = whole(table, kinds)
    inferred, described = in_batches(table, kinds)
    assert (inferred.schema, described) == (schema, description)


def test_categories_of_a_dtype_may_differ_between_batches():
    pieces = [pa.table({"c": pa.array(list(t)).dictionary_encode()}) for t in ("aab", "cba", "d")]
    table = pa.concat_tables(pieces)
    inferred = Schema.infer_batches([piece.to_batches()[0] for piece in pieces])
    assert inferred.schema == Schema.infer(table)
    assert inferred.schema.columns[0].levels == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("values", "kinds", "message"),
    [
        (np.where(ROWS == 777, np.inf, 0.5), {}, "row 777: expected a finite number"),
        (np.where(ROWS == 777, 0.5, 2.0), {"x": "integer"}, "row 777: expected an integer"),
        (np.where(ROWS == 777, 0.5, 2.0), {"x": "count"}, "row 777: expected an integer"),
        ([*map(str, range(N - 1)), "oops"], {}, r"row 1199: expected a number.*1,199 rows.*'oops'"),
        (pa.array(np.ones(N), mask=ROWS != 600), {"x": "empty"}, "row 600: expected no value"),
        (pa.nulls(N), {}, "a value in at least one column"),
        ([f"p{i}" for i in ROWS], {}, "identifiers alone"),
        (["t"] * N, {"x": "real"}, "expected numbers, as it is real, got text"),
    ],
)
def test_errors_are_those_of_the_whole_table(values, kinds, message):
    table = pa.table({"x": values})
    with pytest.raises(DataError, match=message) as expected:
        Schema.infer(table, kinds)
    with pytest.raises(DataError) as got:
        in_batches(table, kinds)
    assert str(got.value) == str(expected.value)


def test_tables_without_rows_and_unknown_columns_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        Schema.infer_batches([])
    with pytest.raises(ArgumentError, match="names of columns: x"):
        Schema.infer_batches(pa.table({"x": [1.0]}).to_batches(), {"y": "real"})


def test_what_must_be_exact_is_so_of_a_sample(monkeypatch):
    """Each of these is a matter of a few rows, of which the sample may have none."""
    limit(monkeypatch, 2000, 500)
    rng, n = make(13), 60_000
    rows = np.arange(n)
    table = pa.table({
        "x": np.where(rows == 40_123, 80.5, rng.normal(size=n)),
        "far": np.where(rows % 20_000 == 3, -9999.0, rng.normal(size=n)),
        "n": np.where(rows == 50_000, -1, rng.integers(0, 10**6, n)),
        "count": rng.integers(0, 10**6, n),
        "whole": np.where(rows == 55_555, 10_000.5, rng.integers(0, 20_000, n)),
        "gap": pa.array(rng.normal(size=n), mask=rows == 59_999),
        "word": [f"w{i}" for i in rng.integers(0, 30_000, n)],
        "id": [f"person{i}" for i in rows],
        "few": rng.choice(["a", "b"], n, p=[0.9999, 0.0001]),
    })  # fmt: skip
    schema, description = whole(table)
    inferred, described = in_batches(table, None, *[5000] * 12)
    exact = dict(zip(schema.names, schema.columns, strict=True))
    found = dict(zip(schema.names, inferred.schema.columns, strict=True))
    assert set(inferred.sampled) == set(schema.names) - {"few"}
    of_text = {"word", "id"}
    assert all(1000 <= inferred.sampled[n] <= 2200 for n in inferred.sampled.keys() - of_text)
    assert all(200 <= inferred.sampled[name] <= 600 for name in of_text)
    for name in set(schema.names) - {"word", "whole"}:
        assert found[name] == exact[name]
    assert exact["far"].sentinels == ((-9999.0, 3),)
    assert (exact["n"].soft_lower, exact["count"].soft_lower) == (None, 0.0)
    assert exact["gap"].missing
    assert found["whole"].kind == exact["whole"].kind == "real"  # one of 60,000 is not whole
    assert found["word"].kind == exact["word"].kind == "categorical"
    assert set(found["word"].categories) < set(exact["word"].categories)
    for line, other in zip(described.splitlines(), description.splitlines(), strict=True):
        if not line.startswith(("word", "whole")):
            assert line == other


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_the_ends_of_a_sample_are_repeated_exactly_if_the_rows_are(rows):
    """Of forty rows none, one or several may be drawn."""
    for seed in range(20):
        counts, rng = NumberCounts(500, seed), make(seed)
        values = rng.permutation(np.append(rng.normal(size=20_000 - rows), np.full(rows, -999.0)))
        for piece in np.array_split(values, 10):
            counts.add(piece, number_keys(piece), piece)
        summary = counts.fill(summary_of(SERIES))
        assert summary.values[0] == -999
        assert min(2, rows) <= summary.counts[0] <= rows
        assert summary.ends[-999.0] == rows
        assert (summary.counts > 0).all()
        assert summary.sampled <= summary.counts.sum() <= summary.sampled + 32


def test_each_row_is_drawn_with_the_same_probability():
    """The rows before the first and the last change of the share too."""
    drawn, rows = np.zeros(8), np.arange(4000.0)
    for seed in range(40):
        counts = NumberCounts(500, seed)
        for piece in np.array_split(rows, 16):
            counts.add(piece, number_keys(piece), piece)
        summary = counts.fill(summary_of(SERIES))
        inside = summary.values[8:-8]  # the ends are always there
        drawn += np.bincount((inside // 500).astype(int), minlength=8)
    expected = drawn[1:-1].mean()
    assert expected > 1000
    assert (np.abs(drawn - expected) < 4.5 * np.sqrt(expected) + 8 * 40).all()
    assert (np.abs(drawn - expected)[1:-1] < 4.5 * np.sqrt(expected)).all()
    assert abs(drawn[0] - drawn[-1]) < 4.5 * np.sqrt(2 * expected)


def test_samples_are_of_all_rows(monkeypatch):
    """The first half has a coarser step and no point mass."""
    limit(monkeypatch, 1000)
    rng, n = make(14), 40_000
    x = np.where(np.arange(n) < n // 2, rng.normal(size=n).round(4) * 8, rng.normal(size=n))
    x[rng.permutation(np.arange(n // 2, n))[: n // 5]] = 0.125
    half = np.arange(n) * 1.5
    inferred, _ = in_batches(pa.table({"x": x, "half": half}), None, *[3000] * 20)
    column = inferred.schema.columns[0]
    assert (column.atoms, column.step) == ((0.125,), None)

    counted = BatchSummaries({})
    counted.read(batches(pa.table({"half": half, "x": x}), *[3000] * 20))
    summary = counted.summary(0)
    drawn = summary.sampled
    later = summary.counts[summary.values >= half[n // 2]].sum()
    assert abs(later - drawn / 2) < 4.5 * np.sqrt(drawn / 4) + 8
    share = drawn / n
    mass = counted.summary(1)
    of_mass = mass.counts[mass.values == 0.125].sum() / mass.sampled
    assert abs(of_mass - 0.2) < 4.5 * np.sqrt(0.16 / mass.sampled)
    assert 0.01 < share < 0.03


@pytest.mark.parametrize("repeated", [False, True])
def test_repeated_values_and_rows_are_estimated_from_all_rows(repeated, monkeypatch):
    """In a small sample hardly a value comes twice."""
    limit(monkeypatch, 1000, 300)
    monkeypatch.setattr("flowkit.schema.batches._ROW_KEYS", 2000)
    rng, n = make(15), 40_000
    first = rng.permutation(n) % (n // 4)
    second = first if repeated else rng.permutation(n) % (n // 4)
    table = pa.table({
        "whole": rng.permutation(n // 4)[first].astype(float),
        "word": [f"w{i}" for i in second],
        "real": rng.normal(size=n // 4).round(5)[second],
    })  # fmt: skip
    schema, (inferred, _) = Schema.infer(table), in_batches(table, None, *[4000] * 10)
    for column, exact in zip(inferred.schema.columns, schema.columns, strict=True):
        assert (column.kind, column.resolution) == (exact.kind, exact.resolution)
    assert schema.columns[0].kind == ("real" if repeated else "integer")
    assert schema.columns[1].kind == "categorical"
    assert schema.columns[2].resolution == 1e-5


def test_long_texts_are_limited_by_their_characters(monkeypatch):
    monkeypatch.setattr("flowkit.schema.batches._CHARACTERS", 20_000)
    table = pa.table({"t": [f"{i % 300:0100d}a" for i in ROWS], "x": ROWS * 1.0})
    inferred, _ = in_batches(table, {"t": "categorical"})
    assert 0 < len(inferred.schema.columns[0].categories) <= 200
    assert set(inferred.sampled) == {"t"}


@pytest.mark.parametrize("distinct", [0, 10, 500, 501, 30_000])
def test_distinct_keys_are_counted_or_estimated(distinct):
    count = DistinctCount(500)
    keys = mixed(np.arange(distinct, dtype=np.uint64))
    for seed in range(4):
        for piece in np.array_split(make(seed).permutation(keys), 7):
            count.add(piece)
    if distinct <= 500:
        assert count.total() == distinct
    else:
        assert count.total() == pytest.approx(distinct, rel=4 / np.sqrt(500))


def peak(pieces):
    """Return the peak of allocated bytes while a schema is inferred from random batches."""

    def rows():
        rng = make(16)
        for at in range(pieces):
            yield pa.record_batch({
                "x": rng.normal(size=2000),
                "n": rng.integers(0, 10**9, 2000),
                "id": [f"person{at}-{i}" for i in range(2000)],
                "word": [f"w{i}" for i in rng.integers(0, 10**6, 2000)],
                "same": rng.integers(0, 50, 2000),
            })  # fmt: skip

    tracemalloc.start()
    Schema.infer_batches(rows())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    limit(monkeypatch, 4000, 2000)
    monkeypatch.setattr("flowkit.schema.batches._ROW_KEYS", 4000)
    peak(2)
    # Samples are between half full and full. One number kept of each row would add 70 percent.
    small, large = max(peak(20), peak(40)), peak(160)
    assert large < 1.4 * small, (small, large)


@pytest.fixture
def csv(tmp_path):
    rng = make(17)
    rows = [f"{rng.normal():.4f},{i % 9},t{i % 300}" for i in range(3000)]
    (tmp_path / "t.csv").write_text("x,n,word\n" + "\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def run(*arguments):
    result = CliRunner().invoke(app, ["schema", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("large", ["_CELLS", "_BYTES"])
def test_large_files_are_inspected_in_batches(large, csv, tmp_path, monkeypatch):
    out, again = tmp_path / "s.toml", tmp_path / "b.toml"
    output = run(csv, "--out", out)
    monkeypatch.setattr(f"flowkit.commands.shared.{large}", 100)
    monkeypatch.setattr("flowkit.tables.TableFile.read", None)
    assert run(csv, "--out", again) == output.replace(str(out), str(again))
    assert again.read_text() == out.read_text()
    limit(monkeypatch, 1000, 100)
    words = " ".join(run(csv, "--drop", "n").split())
    assert "x: too many different values to count them all: point masses and steps are" in words
    assert "word: too many different values to count them all: categories are those of" in words
    assert "rows drawn at random (`flowkit fit` counts all rows)" in words
