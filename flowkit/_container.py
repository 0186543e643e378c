"""Files of tensors and a JSON document: written atomically, and checked when read."""

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

import flowkit
from flowkit._atomic import write_atomically
from flowkit._checks import check_keys
from flowkit.errors import ArgumentError, DtypeError, ModelFileError

VERSION = 1

# Placeholder of the checksum, over which the checksum itself is computed.
_BLANK = b"0" * 64
_LONGEST_HEADER = 100_000_000  # safetensors' own limit
_ENVELOPE = ("sha256", "version", "library", "document")


def write_file(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> None:
    """Write tensors and a document to one ``.safetensors`` file, completely or not at all.

    The document is stored in the metadata as strict JSON. Beside the document are the version of
    the format, that of the library, and a SHA-256 over every byte of the file. An existing file at
    ``path`` is replaced only once the new file is on the disk.

    Args:
        path: path of the file.
        tensors: tensors by name, on any device; shared or strided tensors are copied.
        document: JSON values: finite numbers, strings, booleans, None, and lists and dictionaries
            of these. Tuples are read back as lists.

    Raises:
        ArgumentError: the document contains another type.
        DtypeError: the format does not support the kind of a tensor.
        ModelFileError: the file cannot be written.
    """
    parts = _pack(tensors, document)
    try:
        write_atomically(Path(os.path.realpath(path)), parts)
    except OSError as error:
        raise ModelFileError(path, f"cannot be written: {error.strerror or error}") from error


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_file`: the tensors, on the CPU, and the document.

    Nothing in the file is executed, unpickled or imported.

    Raises:
        ModelFileError: the file does not exist, has another kind or version, is truncated, or was
            altered after writing.
    """
    return unpack(path, _read(path))


def pack(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file of `write_file`."""
    return b"".join(_pack(tensors, document))


def unpack(
    path: str | os.PathLike[str], content: bytes
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the bytes of a file as `read_file` does; ``path`` is the name in error messages."""
    metadata = _header(path, content).get("__metadata__")
    if not isinstance(metadata, dict) or "flowkit" not in metadata:
        raise ModelFileError(path, "a safetensors file, but none that flowkit wrote")
    envelope = _loads(path, metadata["flowkit"])
    # First: another version may have another layout or checksum.
    version = envelope.get("version")
    if version != VERSION:
        raise ModelFileError(path, f"format version {version!r}, and this flowkit reads {VERSION}")
    check_part(path, "its metadata", envelope, _ENVELOPE)
    if not _intact(content, envelope["sha256"]):
        raise ModelFileError(path, "altered since it was written: its checksum differs")
    document = envelope["document"]
    if not isinstance(document, dict):
        raise ModelFileError(path, "its document is no object")
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelFileError(path, f"not a safetensors file: {error}") from error
    return {name: tensors[name] for name in sorted(tensors)}, document


def check_document(
    path: str | os.PathLike[str], document: Mapping[str, Any], kind: str, keys: Collection[str]
) -> None:
    """Raise unless the document has this "kind", and besides exactly these keys."""
    if document.get("kind") != kind:
        raise ModelFileError(path, f"holds a {document.get('kind')!r}, not a {kind!r}")
    check_part(path, f"its {kind} document", document, ("kind", *keys))


def check_part(path: str | os.PathLike[str], where: str, value: Any, keys: Collection[str]) -> None:
    """Raise unless the part ``where`` of the file at ``path`` has exactly these keys."""
    try:
        check_keys(where, value, keys)
    except ArgumentError as error:
        raise ModelFileError(path, str(error)) from error


def _check_json(where: str, value: Any) -> None:
    """Raise unless JSON preserves ``value`` (except for tuples, which become lists)."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArgumentError(where, "keys that are strings", repr(key))
            _check_json(f"{where}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(f"{where}[{i}]", item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ArgumentError(where, "a finite number (store others in a tensor)", value)
    elif not isinstance(value, str | int | float | None):  # a bool is an int
        raise ArgumentError(where, "a JSON value", type(value).__name__)


def _pack(
    tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> tuple[bytes | memoryview, ...]:
    """Return the parts of a file: the bytes before the checksum, the checksum, and the rest."""
    _check_json("document", dict(document))
    content = _serialize(tensors, document)
    at = content.find(_BLANK)  # the first value in the metadata, which precede all tensors
    digest = hashlib.sha256(content).hexdigest().encode()
    view = memoryview(content)
    return view[:at], digest, view[at + len(digest) :]


def _serialize(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> bytes:
    envelope = dict(
        zip(_ENVELOPE, (_BLANK.decode(), VERSION, flowkit.__version__, document), strict=True)
    )
    metadata = {"flowkit": json.dumps(envelope, allow_nan=False, separators=(",", ":"))}
    if "__metadata__" in tensors:
        raise ArgumentError("tensors", "names other than the format's own", "'__metadata__'")
    try:
        # Copied one by one, as safetensors refuses tensors that share memory or have strides.
        copies = {k: t.detach().to("cpu", copy=True).contiguous() for k, t in tensors.items()}
        return safetensors.torch.save(copies, metadata)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        kinds = {f"{t.dtype}, {t.layout}" for t in tensors.values()}
        raise DtypeError("tensors", "kinds that safetensors can hold", sorted(kinds)) from error


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ModelFileError(path, "not a file")
        with open(path, "rb") as file:
            # Eight bytes of length, then JSON. Other files are not read any further.
            start = file.read(9)
            if start[8:] != b"{":
                raise ModelFileError(path, "not a safetensors file, or cut to its first bytes")
            return start + file.read()
    except OSError as error:
        raise ModelFileError(path, f"cannot be read: {error.strerror or error}") from error


def _header(path: str | os.PathLike[str], content: bytes) -> dict[str, Any]:
    """Return the header, after a check that the file has the length given there."""
    end = 8 + int.from_bytes(content[:8], "little")
    if end > _LONGEST_HEADER:
        raise ModelFileError(path, "not a safetensors file: its first bytes are no length")
    if end > len(content):
        raise ModelFileError(path, f"truncated: {len(content)} bytes, and its header needs {end}")
    header = _loads(path, content[8:end])
    try:
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        size = end + max((entry["data_offsets"][1] for entry in entries), default=0)
    except (KeyError, IndexError, TypeError) as error:
        raise ModelFileError(path, "not a safetensors file: its header lists no offsets") from error
    if len(content) < size:
        raise ModelFileError(path, f"truncated: {len(content)} bytes of {size}")
    return header


def _loads(path: str | os.PathLike[str], text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in ``text``; duplicate keys and non-finite numbers are errors."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is not a finite number")
        return value

    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(path, f"altered, or not flowkit's: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(path, "altered, or not flowkit's: no JSON object")
    return value


def _intact(content: bytes, digest: Any) -> bool:
    """Return whether the bytes, with the checksum blanked, have this checksum."""
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        return False
    at = content.find(digest.encode())
    sha = hashlib.sha256(content[:at])
    sha.update(_BLANK)
    sha.update(memoryview(content)[at + len(_BLANK) :])
    return sha.hexdigest() == digest
