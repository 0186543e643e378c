"""Results of single measurements: each a file that is measured once, and a report of all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path


def measured_once(path: Path, measure: Callable[[], dict]) -> dict | None:
    """Measure what the name of a file says, and write it; None if the file was there."""
    if path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    found = measure()
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def write_report(work: Path, path: Path, report: Callable[[Sequence[dict]], str]) -> None:
    """Write all results of a work folder to a JSON file, and their report beside it."""
    results = [json.loads(file.read_text()) for file in sorted(work.glob("*.json"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(report(results))
