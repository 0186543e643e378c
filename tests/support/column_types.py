"""Columns of scalars of every type that the libraries have, by name, and those that are refused."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

N = 120
RNG = np.random.default_rng(0)

REALS = RNG.normal(50, 10, N).round(2)
SMALL = RNG.integers(0, 9, N)
FLAGS = RNG.random(N) < 0.4
WORDS = RNG.choice(["red", "green", "blue"], N)
SECONDS = 1_600_000_000 + RNG.integers(0, 10**7, N)
DAYS = 18_000 + RNG.integers(0, 900, N)
CLOCKS = RNG.integers(0, 86_400, N)
HOLES = np.arange(N) % 11 == 3


def holed(values: Any) -> list[Any]:
    """Return values as Python objects, None at some of the rows."""
    return [None if hole else v for v, hole in zip(list(values), HOLES, strict=True)]


DECIMALS = [Decimal(f"{v:.2f}") for v in REALS]
DATES = [dt.date(1970, 1, 1) + dt.timedelta(days=int(d)) for d in DAYS]
TIMES = [dt.datetime(1970, 1, 1) + dt.timedelta(seconds=int(s)) for s in SECONDS]
ZONED = [t.replace(tzinfo=dt.UTC).astimezone(ZoneInfo("Asia/Tokyo")) for t in TIMES]
OF_DAY = [(dt.datetime(1970, 1, 1) + dt.timedelta(seconds=int(s))).time() for s in CLOCKS]
SPANS = [dt.timedelta(seconds=int(s)) for s in CLOCKS]


def _numpy() -> dict[str, Callable[[], np.ndarray]]:
    def plain(values: Any, dtype: str) -> Callable[[], np.ndarray]:
        return lambda: np.asarray(values).astype(dtype)

    found = {d: plain(REALS, d) for d in ("float16", "float32", "float64", "longdouble", ">f8")}
    found |= {d: plain(SMALL, d) for d in ("int8", "uint8", "int16", ">i4", "uint32", "uint64")}
    found |= {"bool": plain(FLAGS, "bool"), "U": plain(WORDS, "U"), "S": plain(WORDS, "S")}
    found["StringDType"] = lambda: WORDS.astype(np.dtypes.StringDType())
    missing = np.dtypes.StringDType(na_object=np.nan)
    found["StringDType with NaN"] = lambda: np.array(
        [np.nan if v is None else v for v in holed(WORDS)], dtype=missing
    )
    for unit in ("s", "ms", "us", "ns"):
        found[f"datetime64[{unit}]"] = plain(SECONDS.astype("M8[s]"), f"M8[{unit}]")
        found[f"timedelta64[{unit}]"] = plain(CLOCKS.astype("m8[s]"), f"m8[{unit}]")
    for unit in ("Y", "M", "W", "D", "h", "m", "25s"):
        found[f"datetime64[{unit}]"] = plain(SECONDS.astype("M8[s]"), f"M8[{unit}]")
    found["timedelta64[M]"] = plain(SMALL, "m8[M]")
    found["datetime64[ps]"] = plain(CLOCKS, "M8[ps]")
    found[">M8[us]"] = plain(SECONDS.astype("M8[s]"), ">M8[us]")
    found["masked float64"] = lambda: np.ma.MaskedArray(np.where(HOLES, -999.0, REALS), HOLES)
    found["masked int32"] = lambda: np.ma.MaskedArray(SMALL.astype(np.int32), HOLES)
    found["masked U"] = lambda: np.ma.MaskedArray(WORDS, HOLES)
    found |= {f"object of {k}": _objects(v) for k, v in OBJECTS.items()}
    return found


OBJECTS: dict[str, list[Any]] = {
    "int": holed(SMALL.tolist()),
    "bool": holed(FLAGS.tolist()),
    "float": holed(REALS.tolist()),
    "str": holed(WORDS.tolist()),
    "Decimal": holed(DECIMALS),
    "date": holed(DATES),
    "datetime": holed(TIMES),
    "datetime with zone": holed(ZONED),
    "time": holed(OF_DAY),
    "timedelta": holed(SPANS),
}


def _objects(values: list[Any]) -> Callable[[], np.ndarray]:
    def made() -> np.ndarray:
        array = np.empty(N, dtype=object)
        array[:] = values
        return array

    return made


def _pandas() -> dict[str, Callable[[], pd.Series]]:
    def series(values: Any, dtype: Any) -> Callable[[], pd.Series]:
        return lambda: pd.Series(pd.array(values, dtype=dtype))

    found: dict[str, Callable[[], pd.Series]] = {
        d: series(REALS, d) for d in ("float32", "float64", "Float32", "Float64")
    }
    found |= {d: series(SMALL, d) for d in ("int16", "uint8", "int64")}
    found |= {d: series(holed(SMALL), d) for d in ("Int8", "Int64", "UInt16")}
    found |= {"bool": series(FLAGS, "bool"), "boolean": series(holed(FLAGS), "boolean")}
    words = holed(WORDS.tolist())
    found["str"] = series(words, "str")
    found["str[python]"] = series(words, pd.StringDtype("python", na_value=np.nan))
    found["string[pyarrow]"] = series(words, pd.StringDtype("pyarrow"))
    found["string[python]"] = series(words, pd.StringDtype("python"))
    for unit in ("s", "ms", "us", "ns"):
        found[f"datetime64[{unit}]"] = series(SECONDS.astype("M8[s]"), f"datetime64[{unit}]")
        found[f"timedelta64[{unit}]"] = series(CLOCKS.astype("m8[s]"), f"timedelta64[{unit}]")
    times = pd.Series(SECONDS.astype("M8[s]"))
    for zone in ("Europe/Berlin", "America/New_York", "UTC", "+05:30"):
        found[f"datetime64 in {zone}"] = lambda z=zone: times.dt.tz_localize("UTC").dt.tz_convert(z)
    for freq in ("M", "Q-DEC", "W-SUN", "D", "h"):
        found[f"period[{freq}]"] = lambda f=freq: times.dt.to_period(f).where(~HOLES)
    colors = pd.Series(words)
    levels = ["blue", "red", "unused", "green"]
    found["category"] = lambda: colors.astype(pd.CategoricalDtype(levels))
    found["ordered category"] = lambda: colors.astype(pd.CategoricalDtype(levels, ordered=True))
    tiers = pd.Series(RNG.choice([4.5, 1.25, 9.0], N))
    found["category of floats"] = lambda: tiers.astype(pd.CategoricalDtype([9.0, 1.25, 0.0, 4.5]))
    found["category of ints"] = lambda: pd.Series(SMALL).astype("category")
    found["category of dates"] = lambda: pd.Series(DATES[:3] * (N // 3)).astype("category")
    found["category of times"] = lambda: pd.Series(pd.to_datetime(TIMES[:4] * (N // 4))).astype(
        "category"
    )
    found["category of booleans"] = lambda: pd.Series(FLAGS).astype("category")
    found["category of mixed values"] = lambda: pd.Series(["a", 1, 2.5] * (N // 3)).astype(
        "category"
    )
    found["intervals"] = lambda: pd.Series(pd.arrays.IntervalArray(pd.cut(REALS, 4).to_numpy()))
    found["pd.cut"] = lambda: pd.Series(pd.cut(REALS, [0, 20, 40, 45.5, 50, 90, 1000]))
    found["pd.cut of times"] = lambda: pd.Series(pd.cut(times, 4))
    found["Sparse[float64, 0]"] = series(np.where(FLAGS, 0.0, REALS), pd.SparseDtype("float64", 0))
    found["Sparse[float64, nan]"] = series(
        np.where(HOLES, np.nan, REALS), pd.SparseDtype("float64")
    )
    found["Sparse[int64, 0]"] = series(SMALL, pd.SparseDtype("int64", 0))
    found["Sparse[bool, False]"] = series(FLAGS, pd.SparseDtype("bool"))
    found |= {
        f"object of {k}": lambda v=v: pd.Series(_objects(v)(), dtype=object)
        for k, v in OBJECTS.items()
    }
    found |= {
        f"ArrowDtype({k})": lambda v=v: pd.Series(pd.arrays.ArrowExtensionArray(v()))
        for k, v in _pyarrow().items()
        if "extension" not in k and "run" not in k
    }
    for name, dtype in (("float64", "float64"), ("Int64", "Int64"), ("str", "str")):
        found[f"all missing {name}"] = series([np.nan if name == "float64" else None] * N, dtype)
    return found


def _polars() -> dict[str, Callable[[], pl.Series]]:
    def series(values: Any, dtype: Any) -> Callable[[], pl.Series]:
        return lambda: pl.Series(holed(values), dtype=dtype, strict=False)

    found: dict[str, Callable[[], pl.Series]] = {
        str(d): series(REALS.tolist(), d) for d in (pl.Float16, pl.Float32, pl.Float64)
    }
    found |= {
        str(d): lambda d=d: pl.Series(holed(SMALL.tolist())).cast(d)
        for d in (pl.Int8, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt64, pl.UInt128)
    }
    found["Boolean"] = series(FLAGS.tolist(), pl.Boolean)
    found["String"] = series(WORDS.tolist(), pl.String)
    found["Categorical"] = series(WORDS.tolist(), pl.Categorical)
    found["named Categorical"] = series(
        WORDS.tolist(), pl.Categorical(pl.Categories("colors", "of", pl.UInt8))
    )
    found["Enum"] = series(WORDS.tolist(), pl.Enum(["red", "unused", "green", "blue"]))
    found["Decimal(10, 2)"] = series(DECIMALS, pl.Decimal(10, 2))
    found["Date"] = series(DATES, pl.Date)
    found["Time"] = series(OF_DAY, pl.Time)
    for unit in ("ms", "us", "ns"):
        found[f"Datetime({unit})"] = series(TIMES, pl.Datetime(unit))
        found[f"Datetime({unit}, zone)"] = series(ZONED, pl.Datetime(unit, "Asia/Tokyo"))
        found[f"Duration({unit})"] = series(SPANS, pl.Duration(unit))
    found["Object"] = lambda: pl.Series(OBJECTS["Decimal"], dtype=pl.Object)
    found["Extension"] = lambda: pl.Series(holed(SMALL.tolist())).ext.to(
        pl.Extension("flowkit.test", pl.Int64)
    )
    found["Null"] = lambda: pl.Series([None] * N)
    found["all missing Float64"] = lambda: pl.Series([None] * N, dtype=pl.Float64)
    found["all missing Enum"] = lambda: pl.Series([None] * N, dtype=pl.Enum(["a", "b"]))
    return found


class Celsius(pa.ExtensionType):
    """An extension type of a user's own."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "flowkit.test.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"celsius"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Celsius":
        return cls()


pa.register_extension_type(Celsius())


def _pyarrow() -> dict[str, Callable[[], pa.Array]]:
    def array(values: Any, kind: pa.DataType) -> Callable[[], pa.Array]:
        return lambda: pa.array(holed(values), kind)

    found: dict[str, Callable[[], pa.Array]] = {
        str(t): array(REALS.tolist(), t) for t in (pa.float32(), pa.float64())
    }
    found["halffloat"] = lambda: pa.array(holed(REALS.tolist())).cast(pa.float16())
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()):
        found[str(kind)] = array(SMALL.tolist(), kind)
    found["bool"] = array(FLAGS.tolist(), pa.bool_())
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        found[str(kind)] = array(WORDS.tolist(), kind)
    for kind in (
        *(pa.decimal32(7, 2), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(50, 2)),
    ):
        found[str(kind)] = array(DECIMALS, kind)
    for kind in (pa.date32(), pa.date64()):
        found[str(kind)] = array(DATES, kind)
    for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        found[str(kind)] = array(OF_DAY, kind)
    for unit in ("s", "ms", "us", "ns"):
        found[f"timestamp[{unit}]"] = array(TIMES, pa.timestamp(unit))
        found[f"duration[{unit}]"] = array(SPANS, pa.duration(unit))
    found["timestamp with zone"] = array(ZONED, pa.timestamp("us", "Asia/Tokyo"))
    found["timestamp with offset"] = array(ZONED, pa.timestamp("us", "+05:30"))
    found["month_day_nano_interval"] = array([(1, 2, 3), (0, 7, 0)] * (N // 2), MONTHS)
    found["dictionary of text"] = lambda: _dictionary(["x", "unused", "y"], pa.string(), pa.int8())
    found["ordered dictionary"] = lambda: _dictionary(
        ["y", "unused", "x"], pa.large_string(), pa.int32(), ordered=True
    )
    found["dictionary of integers"] = lambda: _dictionary([7, 3, 5], pa.int64(), pa.uint8())
    found["dictionary of dates"] = lambda: _dictionary(DATES[:3], pa.date32(), pa.int16())
    stamps, money = pa.timestamp("ns", "UTC"), pa.decimal128(9, 2)
    found["dictionary of times"] = lambda: _dictionary(ZONED[:3], stamps, pa.int8())
    found["dictionary of decimals"] = lambda: _dictionary(DECIMALS[:3], money, pa.int8())
    numbers, words = (pa.array(holed(np.sort(v).tolist())) for v in (SMALL, WORDS))
    found["run-end encoded integers"] = lambda: pc.run_end_encode(numbers)
    found["run-end encoded text"] = lambda: pc.run_end_encode(words)
    found["extension bool8"] = lambda: pa.ExtensionArray.from_storage(
        pa.bool8(), pa.array(holed(FLAGS.astype(int).tolist()), pa.int8())
    )
    ids = [uuid.UUID(int=int(i)).bytes for i in SMALL]
    found["extension uuid"] = lambda: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array(holed(ids), pa.binary(16))
    )
    found["extension json"] = lambda: pa.ExtensionArray.from_storage(
        pa.json_(), pa.array(holed([f'{{"a": {i}}}' for i in SMALL]), pa.string())
    )
    found["extension of a user"] = lambda: pa.ExtensionArray.from_storage(
        Celsius(), pa.array(holed(REALS.tolist()))
    )
    found["null"] = lambda: pa.nulls(N)
    found["all missing decimal"] = lambda: pa.nulls(N, pa.decimal128(10, 2))
    return found


MONTHS = pa.month_day_nano_interval()


def _dictionary(
    levels: Any, kind: pa.DataType, index: pa.DataType, ordered: bool = False
) -> pa.Array:
    codes = pa.array(holed([0, 2, 2, 0] * (N // 4)), index)
    return pa.DictionaryArray.from_arrays(codes, pa.array(levels, kind), ordered=ordered)


COLUMNS: dict[str, dict[str, Callable[[], Any]]] = {
    "numpy": _numpy(),
    "pandas": _pandas(),
    "polars": _polars(),
    "pyarrow": _pyarrow(),
}

REFUSED: dict[str, dict[str, Callable[[], Any]]] = {
    "numpy": {
        "object of lists": lambda: _objects([[1]] * N)(),
        "object of bytes": lambda: _objects([b"a"] * N)(),
        "object of complex": lambda: _objects([1j] * N)(),
    },
    "pandas": {
        "complex128": lambda: pd.Series(REALS + 1j),
        "object of lists": lambda: pd.Series([[1, 2]] * N),
        "object of dicts": lambda: pd.Series([{"a": 1}] * N),
        "object of bytes": lambda: pd.Series([b"a"] * N),
        "ArrowDtype(list)": lambda: pd.Series([[1]] * N, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        "ArrowDtype(binary)": lambda: pd.Series([b"a"] * N, dtype=pd.ArrowDtype(pa.binary())),
    },
    "polars": {
        "Binary": lambda: pl.Series([b"a"] * N),
        "List": lambda: pl.Series([[1]] * N),
        "Array": lambda: pl.Series([[1, 2]] * N, dtype=pl.Array(pl.Int64, 2)),
        "Struct": lambda: pl.Series([{"a": 1}] * N),
        "Object of sets": lambda: pl.Series([{1}] * N, dtype=pl.Object),
    },
    "pyarrow": {
        "binary": lambda: pa.array([b"a"] * N),
        "large_binary": lambda: pa.array([b"a"] * N, pa.large_binary()),
        "binary_view": lambda: pa.array([b"a"] * N, pa.binary_view()),
        "fixed_size_binary": lambda: pa.array([b"ab"] * N, pa.binary(2)),
        "list": lambda: pa.array([[1]] * N),
        "list_view": lambda: pa.array([[1]] * N, pa.list_view(pa.int64())),
        "fixed_size_list": lambda: pa.array([[1, 2]] * N, pa.list_(pa.int64(), 2)),
        "struct": lambda: pa.array([{"a": 1}] * N),
        "map": lambda: pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
        "union": lambda: pa.UnionArray.from_dense(
            pa.array([0] * N, pa.int8()), pa.array(range(N), pa.int32()), [pa.array(SMALL)]
        ),
        "dictionary of lists": lambda: pa.DictionaryArray.from_arrays(
            pa.array([0] * N, pa.int8()), pa.array([[1]])
        ),
        "tensor": lambda: pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int64(), [2]), pa.array([[1, 2]] * N, pa.list_(pa.int64(), 2))
        ),
    },
}


def table_of(library: str, column: Any, name: str = "tint") -> Any:
    """Return a table with a column, and beside it one of plain numbers."""
    if library == "numpy":
        return column[:, None]
    if library == "pandas":
        return pd.DataFrame({"z": REALS, name: column})
    if library == "polars":
        return pl.DataFrame({"z": REALS, name: column})
    return pa.table({"z": pa.array(REALS), name: column})


def column_of(table: Any, name: str = "tint") -> Any:
    """Return the column of a table again."""
    return table[:, 0] if isinstance(table, np.ndarray) else table[name]


def dtype_of(column: Any) -> Any:
    """Return the dtype of a column, and of its objects if it is of objects."""
    dtype = column.type if hasattr(column, "type") else column.dtype
    if dtype in (np.dtype(object), pl.Object):
        values = column.to_list() if hasattr(column, "to_list") else column.tolist()
        return dtype, {type(v) for v in values if v is not None and v == v}
    return dtype
