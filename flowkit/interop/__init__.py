"""Interoperability: flows of nflows and zuko, converted to flowkit with equal densities.

Neither library is imported here. `flowkit.interop.skpro` is imported by itself.
"""

from flowkit.interop.nflows import from_nflows
from flowkit.interop.zuko import from_zuko

__all__ = ["from_nflows", "from_zuko"]
