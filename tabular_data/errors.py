"""Errors of data sets."""

from flowkit.errors import DataError, FlowkitError


class UnknownDataSetError(DataError):
    """A data set has an unknown name."""


class MissingDataError(FlowkitError, FileNotFoundError):
    """A file is missing and cannot be downloaded; the message states the file and its place."""


class ChecksumError(FlowkitError, ValueError):
    """A file does not have the published checksum, or cannot be unpacked."""
