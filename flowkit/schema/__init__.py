"""Schemas of tables: the kind of each column, and rows as codes and real values."""

from flowkit.schema.columns import KINDS, Column
from flowkit.schema.document import read_schema, write_schema
from flowkit.schema.schema import Discrete, Encoded, Schema
from flowkit.schema.statistics import Statistics, moments

__all__ = [
    "KINDS",
    "Column",
    "Discrete",
    "Encoded",
    "Schema",
    "Statistics",
    "moments",
    "read_schema",
    "write_schema",
]
