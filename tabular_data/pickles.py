"""Safe reader of pickled pandas frames.

The archive of MAF contains GAS as a pickled frame. A pickle may call any function; this reader
permits only the names that a frame of numbers needs.
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
# Present places of names of old versions of pandas.
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
            raise pickle.UnpicklingError(f"{module}.{name} is not permitted in a pickled frame")
        return super().find_class(*_MOVED.get((module, name), (module, name)))


def read_frame(path: Path) -> Any:
    """Return the pandas frame in a pickle.

    Raises:
        DataError: the file is truncated, needs other names than a frame of numbers does, or
            contains another object. No other functions have been called then.
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
