#!/usr/bin/env python3
"""Writes golden/decode_vectors.bin: rows of random blocks of every weight format, and their values by gguf's dequantiser.

One record a format: GGUF type number, number of elements, number of bytes (u32 each), the blocks, the values (f32). The elements
are rows of 1152 and 288 if the block size divides these, else of 1280 and 256. Scales are ordinary, small (subnormal in f16)
and zero. tests/reference/formats.c reads the file.
"""
import re
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, quants

TABLE = Path(__file__).resolve().parents[1] / "shaders/dtypes.h"


def formats():
    """{format: bytes of a block where an f16 begins} of the rows of shaders/dtypes.h whose elements are no floats."""
    found = {}
    for row in re.findall(r"^ +X\((.*)\)", TABLE.read_text(), re.MULTILINE):
        name, _, _, _, _, _, scale, d_at, _, m_times, *_ = [cell.strip() for cell in row.split(",")]
        if scale != "SCALE_NONE":
            found[T[name]] = ([int(d_at)] if scale == "SCALE_HALF" else []) + ([int(d_at) + 2] if m_times != "0" else [])
    return dict(sorted(found.items()))


SCALES = formats()


def blocks(dtype, n, rng):
    """[n, bytes]: random bytes, except that f16 values in the format are finite."""
    size = GGML_QUANT_SIZES[dtype][1]
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in SCALES[dtype]:
        half = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 2, n)).astype(np.float16)
        half[2:3] = 0
        data[:, at:at + 2] = half.view(np.uint8).reshape(n, 2)
    return data


def main():
    rng = np.random.default_rng(20251218)
    with open(Path(__file__).with_name("decode_vectors.bin"), "wb") as out:
        for dtype in SCALES:
            elems = GGML_QUANT_SIZES[dtype][0]
            rows = [1152, 288] if elems == 32 else [1280, 256]
            data = np.concatenate([blocks(dtype, n // elems, rng) for n in rows])
            values = quants.dequantize(data, dtype).astype(np.float32).reshape(-1)
            assert values.size == sum(rows) and np.isfinite(values).all()
            out.write(struct.pack("<III", int(dtype), values.size, data.size) + data.tobytes() + values.tobytes())


main()
