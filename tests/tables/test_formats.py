"""Formats of tables: what is written in each comes back as it was."""

import datetime as dt
import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from flowkit.errors import ArgumentError, DataError
from flowkit.tables import TableWriter, read_batches, read_table, write_table

N = 60
r = np.random.default_rng(0)
TABLE = pa.table(
    {
        "real": r.normal(size=N),
        "whole": pa.array([int(i * 7 % 23) for i in range(N)]),
        "holes": pa.array([None if i % 7 == 3 else i % 5 for i in range(N)], pa.int64()),
        "flag": [bool(i % 3) for i in range(N)],
        "town": [("Ulm", "Bonn", "Kiel")[i % 3] for i in range(N)],
        "zip": [("02139", "10001")[i % 2] for i in range(N)],
        "day": [dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in range(N)],
        "at": pa.array([dt.datetime(2023, 1, 1, 5, i) for i in range(N)], pa.timestamp("us")),
        "clock": pa.array([dt.time(i % 24, i) for i in range(N)], pa.time64("us")),
        "took": pa.array([dt.timedelta(minutes=i * 70) for i in range(N)], pa.duration("us")),
    }
)
TEXTS = ("csv", "tsv", "txt", "data", "dat", "jsonl", "ndjson", "json", "csv.gz", "tsv.zst")
TYPED = ("parquet", "feather", "arrow", "ipc")


def needs(*libraries: str) -> pytest.MarkDecorator:
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"without {', '.join(missing)}")


@pytest.mark.parametrize("ending", [*TEXTS, "csv.bz2", "jsonl.xz", *TYPED])
def test_round_trip(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    write_table(path, TABLE.to_batches(max_chunksize=25))
    reading = read_table(path)
    assert reading.table.schema == TABLE.schema
    assert reading.table.equals(TABLE)
    assert {p.name for p in tmp_path.iterdir()} == {path.name}
    assert sum(batch.num_rows for batch in read_batches(path, rows=7)) == N


def test_types_of_parquet_and_arrow_stay(tmp_path):
    table = pa.table(
        {
            "f": pa.array([1.5, None], pa.float32()),
            "i": pa.array([1, 2], pa.uint8()),
            "c": pa.array(["b", "a"]).dictionary_encode(),
            "z": pa.array([1, 2], pa.timestamp("ns", "Europe/Berlin")),
            "s": pa.array(["2023-01-01", "2023-01-02"]),
            "n": pa.nulls(2),
        }
    )
    for ending in TYPED:
        write_table(tmp_path / f"t.{ending}", table)
        reading = read_table(tmp_path / f"t.{ending}")
        assert reading.table.equals(table.drop(["n"]))
        assert "1 empty column left out: n" in str(reading.notes[0])


@pytest.mark.parametrize("ending", TYPED)
def test_typed_columns_that_count_rows_or_hold_codes_for_missing(tmp_path, ending):
    n = 70_000
    size = [-999.0 if i % 7 == 3 else i / 2 for i in range(n)]
    table = pa.table(
        {
            "id": pa.array(range(5, n + 5), pa.int32()),
            "nearly": [*range(n - 1), 0],
            "size": size,
            "word": ["none" if i % 5 == 2 else "w" for i in range(n)],
        }
    )
    table = table.append_column("kind", table["word"].dictionary_encode())
    write_table(tmp_path / f"t.{ending}", table)
    reading = read_table(tmp_path / f"t.{ending}", missing=("-999", "none"))
    assert reading.table["size"].to_pylist()[:5] == [0.0, 0.5, 1.0, None, 2.0]
    assert reading.table["word"].null_count == reading.table["kind"].null_count == n // 5
    assert [*map(str, reading.notes)] == ["id: counts the rows: an index? (--drop id)"]
    assert read_table(tmp_path / f"t.{ending}").table.equals(table)


def test_nested_columns_are_refused_by_name(tmp_path):
    table = pa.table({"x": [1.0], "tags": [["a", "b"]], "raw": pa.array([b"a"])})
    for ending in ("parquet", "arrow"):
        write_table(tmp_path / f"t.{ending}", table)
        with pytest.raises(DataError, match=r"--drop tags --drop raw.*tags \(list"):
            read_table(tmp_path / f"t.{ending}")
        assert read_table(tmp_path / f"t.{ending}", drop=["tags", "raw"]).table["x"][0].as_py() == 1
    (tmp_path / "t.jsonl").write_text('{"x": 1, "y": {"z": 2}}\n{"x": 2, "y": null}\n')
    with pytest.raises(DataError, match="column 'y'.*an object"):
        read_table(tmp_path / "t.jsonl")
    assert read_table(tmp_path / "t.jsonl", drop=["y"]).table["x"].to_pylist() == [1, 2]


def test_json_is_read_with_all_of_its_keys(tmp_path):
    rows = [{"a": i, "b": f"0{i}", "c": "?" if i == 3 else i / 2} for i in range(30)]
    rows.append({"a": 1, "late": "2023-05-01"})
    for name, text in {
        "t.jsonl": "\n".join(map(json.dumps, rows)),
        "t.json": json.dumps(rows, indent=1),
    }.items():
        (tmp_path / name).write_text(text)
        reading = read_table(tmp_path / name)
        types = {f.name: f.type for f in reading.table.schema}
        expected = {"a": pa.int64(), "b": pa.string(), "c": pa.float64(), "late": pa.date32()}
        assert types == expected
        assert reading.table["b"][0].as_py() == "00"
        assert any("`?` in 1 row taken as missing" in str(note) for note in reading.notes)
    for text, message in {
        '{"a": 1}\n{"a": 2\n': "JSON: one object a line",
        "[1, 2]\n[3, 4]\n": "one object a line",
        "[]": "at least one row",
        "5": "objects with a name for each value",
        "{}\n{}\n": "objects with a name for each value",
        '{"data": [{"a": 1}, {"a": 2}]}': "one object a row.*records.*a single object that holds",
    }.items():
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(DataError, match=message):
            read_table(tmp_path / "bad.jsonl")


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather", "json", "xlsx", "h5", "root"])
def test_damaged_files(tmp_path, ending):
    (tmp_path / f"t.{ending}").write_bytes(b"no such file at all" * 10)
    with pytest.raises(DataError, match=r"t\.|installed"):
        read_table(tmp_path / f"t.{ending}")


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "xz"])
def test_a_compressed_file_that_is_cut_off(tmp_path, ending):
    path = tmp_path / f"t.csv.{ending}"
    lines = "\n".join(f"{i},{i * 7919 % 1000}" for i in range(50_000))
    with TableWriter(path) as writer:
        writer.write(pa.table({"a": list(range(50_000)), "b": [i * 7919 for i in range(50_000)]}))
    assert lines
    assert read_table(path).table.num_rows == 50_000
    whole = path.read_bytes()
    for cut in (1, 9, len(whole) // 3):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DataError, match="cut off|damaged"):
            read_table(path)


def test_compressed_files_whatever_their_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a,b\n1,2\n3,4\n"))
    assert read_table(tmp_path / "t.csv").table["b"].to_pylist() == [2, 4]


def test_nothing_half_written(tmp_path):
    class Stop(Exception):
        pass

    for ending in (*TEXTS, *TYPED):
        with pytest.raises(Stop), TableWriter(tmp_path / f"t.{ending}") as writer:
            writer.write(TABLE)
            raise Stop
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no such folder"), TableWriter(tmp_path / "no" / "t.csv"):
        pass
    for name, message in {"t.sas7bdat": r"\.xpt", "t.parquet.gz": "no other compression"}.items():
        with pytest.raises(ArgumentError, match=message):
            TableWriter(tmp_path / name)


def check_in(path: Path, table: pa.Table, same: tuple[str, ...]) -> pa.Table:
    """Write a table, read it, and compare columns."""
    write_table(path, table.to_batches(max_chunksize=25))
    got = read_table(path).table
    assert got.num_rows == table.num_rows
    for name in same:
        assert got[name].type == table[name].type, name
        assert got[name].to_pylist() == table[name].to_pylist(), name
    return got


@needs("openpyxl")
def test_excel(tmp_path):
    same = ("whole", "holes", "flag", "town", "zip", "day", "at", "clock", "took")
    got = check_in(tmp_path / "t.xlsx", TABLE, same)
    assert got["real"].to_pylist() == pytest.approx(TABLE["real"].to_pylist(), rel=1e-15)


@needs("openpyxl")
def test_excel_as_people_have_it(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    first = book.active
    first.title = "prices"
    first.append(["Prices of the year", None, None])
    first.append([])
    first.append(["price", "share", "since", "note", None])
    for i in range(30):
        first.append([f"{1000 + i:,}", "n/a" if i == 3 else i / 4, dt.datetime(2023, 1, 1 + i), ""])
    other = book.create_sheet("other")
    other.append(["x"])
    other.append([1])
    book.save(tmp_path / "t.xlsx")
    reading = read_table(tmp_path / "t.xlsx")
    notes = "\n".join(map(str, reading.notes))
    assert reading.table.schema.types == [pa.int64(), pa.float64(), pa.date32()]
    assert reading.table["price"][0].as_py() == 1000
    for note in ("the first of 2 (--sheet)", "1 row taken as missing", "line 1 left out"):
        assert note in notes
    assert read_table(tmp_path / "t.xlsx", sheet="other").table["x"].to_pylist() == [1]
    assert read_table(tmp_path / "t.xlsx", sheet=2).table["x"].to_pylist() == [1]
    with pytest.raises(DataError, match="one of prices, other"):
        read_table(tmp_path / "t.xlsx", sheet="none")


@needs("astropy")
def test_fits(tmp_path):
    from astropy.table import MaskedColumn, Table

    same = ("real", "whole", "holes", "flag", "town", "zip", "day", "at", "clock", "took")
    check_in(tmp_path / "t.fits", TABLE, same)
    table = Table(
        {
            "mag": np.arange(20, dtype=">f4") / 4,
            "id": np.arange(20, dtype=">i2"),
            "class": np.array([b"STAR", b"GALAXY"] * 10),
            "flux": MaskedColumn(np.arange(20), mask=np.arange(20) == 3),
            "psf": np.ones((20, 2)),
        }
    )
    table.write(tmp_path / "sky.fits")
    with pytest.raises(DataError, match="column 'psf'.*arrays of shape"):
        read_table(tmp_path / "sky.fits")
    got = read_table(tmp_path / "sky.fits", drop=["psf"]).table
    assert got.schema.types == [pa.float32(), pa.int16(), pa.string(), pa.int64()]
    assert got["flux"].to_pylist()[2:5] == [2, None, 4]
    assert got["class"].to_pylist()[:2] == ["STAR", "GALAXY"]
    with pytest.raises(DataError, match="column 'town'.*ASCII"):
        write_table(tmp_path / "u.fits", pa.table({"town": ["Köln"]}))


@needs("uproot", "awkward")
def test_root(tmp_path):
    import awkward as ak
    import uproot

    same = ("real", "whole", "flag", "town", "zip", "day", "at", "clock", "took")
    got = check_in(tmp_path / "t.root", TABLE, same)
    holes = got["holes"].to_numpy()
    assert np.isnan(holes[3])
    assert (holes[:3] == [0, 1, 2]).all()
    with uproot.recreate(tmp_path / "u.root") as file:
        file["events"] = {"pt": np.arange(50, dtype="f4"), "n": np.arange(50, dtype="i4")}
        file["runs"] = {"run": np.arange(3)}
    reading = read_table(tmp_path / "u.root")
    # An assignment writes an RNTuple, whose columns are in the order of the alphabet.
    assert {f.name: f.type for f in reading.table.schema} == {"n": pa.int32(), "pt": pa.float32()}
    assert "the tree 'events', the first of 2" in str(reading.notes[0])
    assert read_table(tmp_path / "u.root", sheet="runs").table["run"].to_pylist() == [0, 1, 2]
    with uproot.recreate(tmp_path / "v.root") as file:
        file.mktree("jets", {"met": np.dtype("f8"), "pt": "var * float64"})
        file["jets"].extend({"met": np.arange(2.0), "pt": ak.Array([[1.0, 2.0], [3.0]])})
    with pytest.raises(DataError, match="column 'pt'.*vectors of any length"):
        read_table(tmp_path / "v.root")
    assert read_table(tmp_path / "v.root", drop=["pt"]).table["met"].to_pylist() == [0, 1]


@needs("h5py")
def test_hdf5(tmp_path):
    import h5py

    same = ("real", "whole", "flag", "town", "zip", "day", "at", "clock", "took")
    check_in(tmp_path / "t.h5", TABLE, same)
    records = np.array([(1.5, 2, b"ab"), (2.5, 3, b"c")], [("x", ">f8"), ("n", "i2"), ("s", "S4")])
    with h5py.File(tmp_path / "u.h5", "w") as file:
        file["deep/records"] = records
        file["deep/image"] = np.zeros((4, 4))
    got = read_table(tmp_path / "u.h5").table
    assert got.to_pydict() == {"x": [1.5, 2.5], "n": [2, 3], "s": ["ab", "c"]}
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["a"], file["b"] = np.zeros((4, 4)), np.zeros((3, 3))
    with pytest.raises(DataError, match="a table in v.h5"):
        read_table(tmp_path / "v.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:  # as DataFrame.to_hdf marks its groups
        file.create_group("frame").attrs["pandas_type"] = "frame"
        file["frame/block0_values"] = np.zeros((3, 2))
        file["frame/axis1"] = np.arange(3)
    with pytest.raises(DataError, match="pandas' own layout.*pickles"):
        read_table(tmp_path / "w.h5")


@needs("pyreadstat", "pandas")
@pytest.mark.parametrize("ending", ["dta", "sav", "zsav", "xpt"])
def test_statistics_packages(tmp_path, ending):
    table = TABLE.append_column("grade", pa.array(["low", "high"] * 30).dictionary_encode())
    got = check_in(tmp_path / f"t.{ending}", table, ("real", "town", "zip", "day", "at", "clock"))
    assert got["holes"].to_pylist() == TABLE["holes"].to_pylist()
    assert got["flag"].cast(pa.bool_()).to_pylist() == TABLE["flag"].to_pylist()
    if ending != "xpt":
        assert got["grade"].to_pylist() == ["low", "high"] * 30
        assert pa.types.is_dictionary(got["grade"].type)


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    import flowkit.tables.formats as formats

    def without(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(formats.importlib, "import_module", without)
    for ending, extra in {
        "fits": "fits",
        "root": "root",
        "dta": "statistics",
        "xlsx": "excel",
    }.items():
        (tmp_path / f"t.{ending}").write_bytes(b"x" * 100)
        with pytest.raises(DataError, match=rf"pip install 'flowkit-density\[{extra}\]'"):
            read_table(tmp_path / f"t.{ending}")
