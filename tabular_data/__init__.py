"""Data sets for density estimation, read exactly as the papers read them.

``load(name)`` gives the parts, ``names()`` says what there is, ``describe(name)`` where it is from.
Files lie below a root: an argument, ``TABULAR_DATA_HOME``, or the user's cache. Needs the extra
``data`` for downloads and for some formats.
"""

import difflib
import inspect
import os
from dataclasses import replace
from functools import cache
from typing import Any

from flowkit.errors import ArgumentError
from tabular_data.dataset import Card, DataSet, Pixels
from tabular_data.errors import ChecksumError, MissingDataError, UnknownDataSetError
from tabular_data.toy import TOYS, Toy

__all__ = [
    "TOYS",
    "Card",
    "ChecksumError",
    "DataSet",
    "MissingDataError",
    "Pixels",
    "Toy",
    "UnknownDataSetError",
    "card",
    "load",
    "names",
]


@cache
def _cards() -> dict[str, Card]:
    from tabular_data.sets import (
        binarized_mnist,
        bsds300,
        bundled,
        cifar10,
        dsprites,
        frey,
        gas,
        hepmass,
        miniboone,
        mixed,
        mnist,
        power,
        sbibm,
        shapes2d,
        toys,
        uci_regression,
    )

    images = (bsds300, mnist, binarized_mnist, frey, cifar10, dsprites, shapes2d)
    rooms = (power, gas, hepmass, miniboone, *images, uci_regression, mixed, bundled, toys, sbibm)
    return {card.name: card for room in rooms for card in room.CARDS}


def names() -> tuple[str, ...]:
    """Return the names that `load` knows.

    Example:
        >>> "power" in names()
        True
    """
    return tuple(_cards())


def card(name: str) -> Card:
    """Return what is known of a data set without loading it.

    Raises:
        UnknownDataSetError: there is none of that name; the nearest are named.
    """
    if name not in _cards():
        near = difflib.get_close_matches(name, names(), 3, 0.4) or sorted(names())
        raise UnknownDataSetError("name", f"a data set, such as {', '.join(near)}", repr(name))
    return _cards()[name]


def load(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> DataSet:
    """Load a data set, fetching its files first where they are not there.

    Args:
        name: one of `names`.
        root: of all data; ``TABULAR_DATA_HOME`` or the user's cache if None.
        options: of this data set, such as the number of a published ``split``.

    Raises:
        UnknownDataSetError: there is none of that name.
        ArgumentError: the data set has no such option.
        MissingDataError: a file is not there and cannot be had; the message says what to do.
        ChecksumError: a file is not what its source published.
        DataError: a file cannot be read.

    Example:
        >>> print(load("iris"))
        iris: 108 train, 12 val, 30 test rows of 4 columns
    """
    found = card(name)
    from tabular_data.fetching import data_root

    known = list(inspect.signature(found.read).parameters)[1:]
    for option in options:
        if option not in known or option in getattr(found.read, "keywords", {}):
            raise ArgumentError(option, f"no such option of {name}", options[option])
    return replace(found.read(data_root(root), **options), card=found)
