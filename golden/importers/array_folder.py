"""A folder of arrays: .npy, .f32 and .i32 (raw, little-endian) files, called by their path in it; and files that hold several (.npz,
.safetensors, .pt), which may be numbered by forward pass: step_0.npz, step_1.npz."""

import os
import pathlib
import re

import numpy

from . import npz, safetensors_file, torch_file
from .dump import Dump, Entry, Refused

MOST_FILES = 200000
RAW = {".f32": "<f4", ".i32": "<i4"}
SEVERAL = {".npz": npz, ".safetensors": safetensors_file, ".pt": torch_file, ".pth": torch_file}
NUMBERED = re.compile(r"(?:step|call|batch|ubatch|pass|forward)?[_-]?(\d+)", re.IGNORECASE)


def _files(source):
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = pathlib.Path(folder) / name
            if path.is_file():  # else a pipe, say, which would be waited for
                yield path


def knows(source, begin):
    return begin is None and any(path.suffix.lower() in (".npy", *RAW, *SEVERAL) for path in _files(source))


def _npy(path, name):
    with open(path, "rb") as file:
        shape, _, dtype = npz.read_header(file, name)
        size = file.tell() + npz.n_bytes(shape, dtype)
    if size > path.stat().st_size:
        raise Refused(name, f"claims {size} bytes, and its file holds {path.stat().st_size}: it is cut short")

    def load():
        with open(path, "rb") as file:
            return npz.read_values(file, name, *npz.read_header(file, name))

    return Entry(name, tuple(shape), npz.dtype_name(dtype), load)


def _raw(path, name):
    kind = RAW[path.suffix.lower()]
    size = path.stat().st_size
    if size == 0 or size % 4:
        raise Refused(name, f"holds {size} bytes, expected values of 4")
    return Entry(name, (size // 4,), numpy.dtype(kind).name, lambda: numpy.fromfile(path, kind))


def _several(path, name, dump):
    """The arrays of a file in the folder; the file's number is that of the forward pass."""
    inner = SEVERAL[path.suffix.lower()].read(str(path))
    number = NUMBERED.fullmatch(path.stem)
    for entry in inner.entries:
        entry.call = int(number.group(1)) if number else entry.call
        entry.name = entry.name or name
        dump.entries.append(entry)
    dump.attributes |= inner.attributes


def read(source):
    dump = Dump([], producer="a folder of arrays")
    for n, path in enumerate(_files(source)):
        suffix, name = path.suffix.lower(), str(path.relative_to(source).with_suffix(""))
        name = name if suffix != ".f32" or "." not in path.stem else str(path.relative_to(source))[: -len(suffix)]
        if n >= MOST_FILES:
            raise Refused(None, f"holds more than {MOST_FILES} files")
        if suffix == ".npy":
            entry = _npy(path, name)
            if not npz.attribute(dump, entry):
                dump.entries.append(entry)
        elif suffix in RAW:
            dump.entries.append(_raw(path, name))
        elif suffix in SEVERAL:
            _several(path, name, dump)
    return dump
