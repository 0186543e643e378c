"""What can go wrong between a name and a data set."""

from flowkit.errors import DataError, FlowkitError


class UnknownDataSetError(DataError):
    """There is no data set of that name."""


class MissingDataError(FlowkitError, FileNotFoundError):
    """A file is not there, and could not be fetched; the message says what to place where."""


class ChecksumError(FlowkitError, ValueError):
    """A file is not what its source published; the message shows both sums."""
