"""JSON lines and JSON arrays: one object a row, whose texts are looked at like those of a CSV."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from duckdb import Error as DuckError

from flowkit.errors import DataError
from flowkit.tables.arrow_table import left_out_note
from flowkit.tables.engine import connect
from flowkit.tables.formats import check_text, compression_of
from flowkit.tables.header import choose
from flowkit.tables.observations import observe
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.relation import Relation
from flowkit.tables.streams import HEAD, open_bytes
from flowkit.tables.survey import survey
from flowkit.tables.text_table import columns_in_batches, context_of, file_notes

_SAMPLE = 2000
_NESTED = {"OBJECT": "an object", "ARRAY": "a list"}


class JSONTable:
    """A file of JSON objects, surveyed.

    Args:
        path: the file.
        options: what is known of it.
        scratch: a folder for copies.

    Raises:
        DataError: no JSON, or columns that are lists or objects.
    """

    def __init__(self, path: Path, options: ReadOptions, scratch: Path) -> None:
        self.notes: list[Note] = []
        with open_bytes(path) as stream:
            head = stream.read(HEAD)
        check_text(path, head)
        source = path if compression_of(_start(path)) is None else scratch / "rows.json"
        if source != path:
            with open_bytes(path) as stream, open(source, "wb") as to:
                while chunk := stream.read(HEAD):
                    to.write(chunk)
        self._path = source.absolute()
        is_array = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        if is_array and b"]\n[" in head.replace(b"\r", b""):
            raise DataError("table", "one object a line, {...}", f"{path}: lists, [...]")
        kind = "array" if is_array else "newline_delimited"
        self._relation, names = _connect(self._path, kind, scratch, path)
        if names == ["json"] and b'"json"' not in head and head.split() != [b"[]"]:
            expected = 'objects with a name for each value, {"x": 1}'
            raise DataError("table", expected, f"other values in {path}")
        chosen = choose(names, options)
        self._check_flat(chosen, names)
        positions = {j: names[j] for j in chosen}
        samples = self._samples(chosen)
        context = context_of(options, None)
        told = options.columns
        found, self.n_rows, _ = survey(
            self._relation, positions, samples, context, told, lambda _: None
        )
        self.notes += file_notes(found, options)
        blank = [f for f in found if f.present == 0]
        if blank and not options.empty:
            found = [f for f in found if f.present]
            self.notes += left_out_note([f.name for f in blank])
        if self.n_rows == 0:
            raise DataError("table", "at least one row", f"none in {path}")
        if not found:
            raise DataError("table", "at least one value", f"none in {path}")
        found, notes, self.hints = observe(self._relation, found, self.n_rows, ())
        self.notes += notes
        self._found = found
        self.dates = next((f.form.order for f in found if f.form.order), None)
        self.schema = pa.schema([(f.name, f.arrow) for f in found])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Return the rows in pieces."""
        return columns_in_batches(self._relation, self._found, self.schema, rows)

    def _check_flat(self, chosen: list[int], names: list[str]) -> None:
        nested = f"SELECT {', '.join(f'k{j}' for j in chosen)} FROM source LIMIT 2"
        first = self._relation.rows(nested)
        if len(first) == 1 and len(chosen) and all(kind in _NESTED for kind in first[0]):
            expected = (
                "one object a row, {...}; write the rows as objects, e.g. with "
                "to_json(orient='records') of pandas"
            )
            raise DataError("table", expected, "a single object that holds lists or objects")
        parts = ", ".join(f"list_sort(list(DISTINCT k{j}))" for j in chosen)
        row = self._relation.rows(f"SELECT {parts} FROM source")[0]
        for j, kinds in zip(chosen, row, strict=True):
            for kind in kinds or ():
                if kind in _NESTED:
                    raise DataError(
                        f"column {names[j]!r}",
                        "numbers, texts or times; leave it out with --drop, or make columns of "
                        "what is inside",
                        _NESTED[kind],
                    )

    def _samples(self, chosen: list[int]) -> dict[int, dict[str, float]]:
        columns = ", ".join(f"c{j}" for j in chosen)
        found: dict[int, dict[str, float]] = {j: {} for j in chosen}
        for row in self._relation.rows(f"SELECT {columns} FROM source LIMIT {_SAMPLE}"):
            for j, cell in zip(chosen, row, strict=True):
                text = "" if cell is None else cell.strip()
                found[j][text] = found[j].get(text, 0) + 1
        return found


def _connect(path: Path, kind: str, scratch: Path, shown: Path) -> tuple[Relation, list[str]]:
    connection = connect([path], scratch)
    read = (
        f"read_json(?, format='{kind}', maximum_depth=1, sample_size=-1, "
        "map_inference_threshold=-1, hive_partitioning=false)"
    )
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {read}", [str(path)]).fetchall()
    except DuckError as error:
        first = str(error).partition("\n")[0].replace(str(path), str(shown))
        expected = "JSON: one object a line, or a list of objects"
        raise DataError("table", expected, first) from error
    names: list[str] = [row[0] for row in described]
    if not names or (names == ["json"] and "[]" in described[0][1]):
        raise DataError("table", "one object a row, {...}", f"other values in {shown}")
    columns = ", ".join(
        f"{_quoted(name)} ->> '$' AS c{j}, json_type({_quoted(name)}) AS k{j}"
        for j, name in enumerate(names)
    )
    return Relation(connection, f"SELECT {columns} FROM {read}", (str(path),)), names


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)
