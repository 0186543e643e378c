"""Table files of any kind, read as their owner means them, and tables written to files."""

from flowkit.tables.formats import format_of
from flowkit.tables.options import Note, ReadOptions
from flowkit.tables.table_file import Reading, TableFile, read_batches, read_table
from flowkit.tables.writing import TableWriter, check_output, write_table

__all__ = [
    "Note",
    "ReadOptions",
    "Reading",
    "TableFile",
    "TableWriter",
    "check_output",
    "format_of",
    "read_batches",
    "read_table",
    "write_table",
]
