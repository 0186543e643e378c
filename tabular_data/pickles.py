"""Frames out of a pickle, with nothing else let in.

MAF's archive holds GAS as a pickled pandas frame. A pickle is a program: what it may call is held
to the few names that a frame of numbers is made of.
"""

import pickle
from pathlib import Path
from typing import Any

from flowkit.errors import DataError

_NAMES = {
    "builtins": {"slice", "object"},
    "__builtin__": {"slice", "object"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "_codecs": {"encode"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "pandas": {"DataFrame", "Index", "RangeIndex"},
    "pandas.core.frame": {"DataFrame"},
    "pandas.core.internals": {"BlockManager"},
    "pandas.core.internals.managers": {"BlockManager"},
    "pandas.core.internals.blocks": {"new_block"},
    "pandas._libs.internals": {"_unpickle_block"},
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.indexes.numeric": {"Int64Index"},
    "pandas.core.index": {"Index", "_new_Index", "Int64Index"},
    "pandas.indexes.base": {"Index", "_new_Index"},
    "pandas.indexes.numeric": {"Int64Index"},
    "pandas.indexes.range": {"RangeIndex"},
}
# Where names of old versions of pandas live today.
_MOVED = {
    ("pandas.core.index", "_new_Index"): ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.index", "Index"): ("pandas", "Index"),
    ("pandas.core.index", "Int64Index"): ("pandas", "Index"),
    ("pandas.indexes.base", "_new_Index"): ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.indexes.base", "Index"): ("pandas", "Index"),
    ("pandas.indexes.numeric", "Int64Index"): ("pandas", "Index"),
    ("pandas.core.indexes.numeric", "Int64Index"): ("pandas", "Index"),
    ("pandas.indexes.range", "RangeIndex"): ("pandas", "RangeIndex"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _NAMES.get(module, ()):
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which no frame is made of")
        return super().find_class(*_MOVED.get((module, name), (module, name)))


def read_frame(path: Path) -> Any:
    """Return the pandas frame in a pickle.

    Raises:
        DataError: the file asks for anything that a frame of numbers does not need, is truncated,
            or holds something else. Nothing of it has been called then but what frames are made by.
    """
    import pandas as pd

    try:
        with path.open("rb") as file:
            frame = _Unpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError) as error:
        raise DataError(str(path), "a pickled pandas frame of numbers", error) from error
    if not isinstance(frame, pd.DataFrame):
        raise DataError(str(path), "a pickled pandas frame", f"a {type(frame).__name__}")
    return frame
