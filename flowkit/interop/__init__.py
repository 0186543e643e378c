"""Flows trained with other libraries, turned into flowkit's own: same density, same samples.

Neither library is imported here: a flow that can be converted brings its own.
"""

from flowkit.interop.nflows import from_nflows
from flowkit.interop.zuko import from_zuko

__all__ = ["from_nflows", "from_zuko"]
