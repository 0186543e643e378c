"""Description of the machine, without host name."""

import os
import platform
import re
from pathlib import Path

import torch


def cpu_model() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def machine() -> dict:
    """Return processor, threads, GPU and software as a JSON document."""
    return {
        "cpu": cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.machine()} {platform.system()}",
        "python": platform.python_version(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def slug(model: str | None = None, cores: int | None = None) -> str:
    """Return the processor and its cores as part of a file name.

    >>> slug("Intel(R) Xeon(R) Processor @ 2.80GHz", 2)
    'xeon-2.80ghz-2-cores'
    >>> slug("AMD EPYC 7B13 64-Core Processor", 8)
    'epyc-7b13-8-cores'
    """
    name = (model or cpu_model()).lower()
    name = re.sub(r"\((r|tm)\)|\d+-core|\b(intel|amd|cpu|processor|with .*)\b|@", " ", name)
    words = re.findall(r"[a-z0-9.]+", name)
    return "-".join([*words, str(cores or os.cpu_count()), "cores"])
