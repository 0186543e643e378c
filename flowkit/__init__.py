"""flowkit: normalizing-flow density estimation in PyTorch.

``import flowkit`` is fast: torch is loaded at the first use of a flow.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flowkit.distributions import Flow
    from flowkit.files import load, save
    from flowkit.tables import TableFile, read_batches, read_table, write_table
    from flowkit.tabular import FlowDensity
    from flowkit.tabular.conditional import ConditionalFlowDensity

# Public names of submodules, loaded at first use.
_LAZY = {
    "ConditionalFlowDensity": "flowkit.tabular.conditional",
    "Flow": "flowkit.flows",
    "FlowDensity": "flowkit.tabular",
    "TableFile": "flowkit.tables",
    "load": "flowkit.files",
    "read_batches": "flowkit.tables",
    "read_table": "flowkit.tables",
    "save": "flowkit.files",
    "write_table": "flowkit.tables",
}
_SUBMODULES = (
    "errors",
    "estimators",
    "files",
    "flows",
    "gan",
    "images",
    "interop",
    "metrics",
    "nets",
    "report",
    "schema",
    "tables",
    "tabular",
    "testing",
    "training",
    "transforms",
    "vae",
)

__all__ = [
    "ConditionalFlowDensity",
    "Flow",
    "FlowDensity",
    "TableFile",
    "__version__",
    "load",
    "read_batches",
    "read_table",
    "save",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"flowkit.{name}")
    raise AttributeError(f"module 'flowkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
