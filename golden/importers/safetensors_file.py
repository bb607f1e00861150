""".safetensors: a JSON header, then the arrays' bytes. numpy alone reads it. https://github.com/huggingface/safetensors#format"""

import json
import os

import numpy

from .dump import ATTRIBUTES, Dump, Entry, Refused

MOST_HEADER = 100 << 20  # bytes, as the format says
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool"}


def knows(source, begin):
    return begin is not None and source.lower().endswith(".safetensors")


def itemsize(dtype):
    return 2 if dtype == "bfloat16" else numpy.dtype(dtype).itemsize


def _header(source):
    """The header's JSON, and where the arrays begin."""
    size = os.path.getsize(source)
    with open(source, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MOST_HEADER, size - 8):
            raise Refused("header", f"claims {length} bytes of {size}: the file is cut short or no .safetensors")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise Refused("header", f"is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise Refused("header", "is no JSON object")
    return header, 8 + length, size


def _entry(source, name, row, begin, size):
    try:
        dtype, shape, (first, last) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise Refused(name, "has no dtype, shape and data_offsets in the header") from None
    if dtype not in DTYPES:
        raise Refused(name, f"has type {dtype}, expected one of {', '.join(DTYPES)}")
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)):
        raise Refused(name, f"has shape {list(shape)}, expected whole numbers")
    wanted = itemsize(DTYPES[dtype])
    for n in shape:
        wanted *= n
    if last - first != wanted or begin + last > size:
        raise Refused(name, f"claims {wanted} bytes, and the file holds {max(0, min(last, size - begin) - first)}: it is cut short or damaged")
    kind = "<u2" if dtype == "BF16" else numpy.dtype(DTYPES[dtype]).newbyteorder("<")

    def load():
        with open(source, "rb") as file:
            return numpy.fromfile(file, kind, count=wanted // itemsize(DTYPES[dtype]), offset=begin + first).reshape(shape)

    return Entry(name, shape, DTYPES[dtype], load)


def read(source):
    header, begin, size = _header(source)
    dump = Dump([], producer="arrays (.safetensors)")
    for name, value in (header.pop("__metadata__", None) or {}).items():
        if name in ATTRIBUTES:
            dump.attributes[name] = value
    dump.entries = [_entry(source, name, row, begin, size) for name, row in header.items()]
    if dump.entries and all(entry.name.endswith((".weight", ".bias")) for entry in dump.entries):
        raise Refused(None, "holds weights: it is a MODEL, expected a dump of its run")
    return dump
