"""Data sets for density estimation, with the preprocessing of the papers.

``load(name)`` returns a data set, ``names()`` all names, and ``card(name)`` source and licence.
Files are below a root folder: an argument, ``TABULAR_DATA_HOME``, or the user's cache. Downloads
and some formats need the extra ``data``.
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
    maf = (power, gas, hepmass, miniboone)
    modules = (*maf, *images, uci_regression, mixed, bundled, toys, sbibm)
    return {card.name: card for module in modules for card in module.CARDS}


def names() -> tuple[str, ...]:
    """Return the names of all data sets.

    Example:
        >>> "power" in names()
        True
    """
    return tuple(_cards())


def card(name: str) -> Card:
    """Return source, licence and files of a data set, without loading.

    Raises:
        UnknownDataSetError: an unknown name; similar names are listed.
    """
    if name not in _cards():
        near = difflib.get_close_matches(name, names(), 3, 0.4) or sorted(names())
        raise UnknownDataSetError("name", f"a data set, such as {', '.join(near)}", repr(name))
    return _cards()[name]


def load(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> DataSet:
    """Load a data set; missing files are downloaded first.

    Args:
        name: one of `names`.
        root: folder of all data; ``TABULAR_DATA_HOME`` or the user's cache if None.
        options: options of the data set, such as the number of a published ``split``.

    Raises:
        UnknownDataSetError: an unknown name.
        ArgumentError: an unknown option.
        MissingDataError: a file is missing and cannot be downloaded; the message has a remedy.
        ChecksumError: the checksum of a file is not the published one.
        DataError: a file cannot be read.

    Example:
        >>> print(load("iris"))
        iris: 108 train, 12 val, 30 test rows of 4 columns
    """
    entry = card(name)
    from tabular_data.fetching import data_root

    parameters = list(inspect.signature(entry.read).parameters)[1:]
    known = [p for p in parameters if p not in getattr(entry.read, "keywords", {})]
    for option in options:
        if option not in known:
            expected = f"an option of {name} ({', '.join(known) or 'there are none'})"
            raise ArgumentError("options", expected, repr(option))
    return replace(entry.read(data_root(root), **options), card=entry)
