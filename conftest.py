"""Modules whose doctests need a library that is not installed are left out."""

import importlib.util

collect_ignore = []
if importlib.util.find_spec("skpro") is None:  # the extra [skpro]
    collect_ignore.append("flowkit/interop/skpro.py")
