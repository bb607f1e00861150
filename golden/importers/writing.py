"""Rows of chosen arrays, and the trace file that they are written to."""

import h5py
import numpy

from .dump import Refused
from .fit import halves
from .names import dataset

Q_K = ("q_proj", "k_proj", "q_rope", "k_rope")


def _load(assembly, entry, take, how, end):
    """Rows, and whether they are bfloat16 widened to float32."""
    if take is None:
        array = entry.load()
    else:  # a stack of all layers is loaded once
        if assembly.stack[0] is not entry:
            assembly.stack = entry, entry.load()
        array = assembly.stack[1][take]
    is_bf16 = entry.dtype == "bfloat16" or (entry.dtype == "uint16" and array.dtype == numpy.uint16)
    rows = numpy.ascontiguousarray(how.apply(array, end))
    if is_bf16:
        rows = (rows.astype(numpy.uint32) << 16).view(numpy.float32)
        if entry.dtype == "uint16":
            assembly.told["bf16 in uint16 widened"] += 1
    elif rows.dtype.kind in "iu":
        rows = rows.astype(numpy.int32)
    elif rows.dtype.itemsize not in (2, 4, 8):
        rows = rows.astype(numpy.float64)
    for what in how.told:
        assembly.told[what] += 1
    return rows, is_bf16


def rows_of(assembly, kept):
    """All rows of a stage (or of fused ones), and its storage: None or "bfloat16"."""
    whole, stored, end = [], None, 0
    for at, (place, call, entry, take, how, _) in enumerate(kept):
        if place.addend == 1:
            continue
        end += how.rows
        if how.rows == 0:
            continue
        rows, is_bf16 = _load(assembly, entry, take, how, end)
        if place.addend == 0:
            rows = _with_residual(assembly, rows, is_bf16, kept, call, entry)
        stored = "bfloat16" if is_bf16 else stored
        whole.append(rows)
    return numpy.concatenate(whole) if len(whole) > 1 else whole[0], stored


def _with_residual(assembly, rows, is_bf16, kept, call, entry):
    """The sum that the engine makes next, in its own type."""
    for place, other_call, other, take, how, _ in kept:
        if place.addend == 1 and other_call == call:
            residual, _ = _load(assembly, other, take, how, None)
            if residual.shape != rows.shape:
                raise Refused(other.name, f"has {residual.shape[0]} rows, expected {rows.shape[0]} as {entry.name}")
            total = (rows.astype(numpy.float32) + residual.astype(numpy.float32)).astype(rows.dtype)
            assembly.told["residual added to the layer's output"] += 1
            return round_bf16(total) if is_bf16 else total
    return rows


def round_bf16(values):
    """float32 to the nearest bfloat16, ties to even, as float32."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & numpy.uint32(0xFFFF0000)).view(numpy.float32)


def rows_by_pass(kept):
    return {call: how.rows for place, call, _, _, how, _ in kept if place.addend != 1}


def chunks_of(chosen, n):
    """{forward pass: its rows}, by the stages that have a row a position; {None: n}: no stage has."""
    best = {None: n}
    for _, _, kept in chosen:
        rows = rows_by_pass(kept)
        if sum(rows.values()) == n and len(rows) >= len(best):
            best = rows
    return best


def _trimmed_positions(kept, chunks, n):
    """The last rows of each forward pass. None: all are there."""
    rows = rows_by_pass(kept)
    if sum(rows.values()) == n:
        return None
    if not set(rows) <= set(chunks):
        raise Refused(kept[0][2].name, f"has {sum(rows.values())} of {n} rows, and no other stage tells of which forward passes")
    positions, end = [], 0
    for call, chunk in chunks.items():
        end += chunk
        if rows.get(call, 0) > chunk:
            raise Refused(kept[0][2].name, f"has {rows[call]} rows in a forward pass of {chunk}")
        positions += range(end - rows.get(call, 0), end)
    return positions


def _in_pairs(assembly, place):
    """Whether q and k are in llama.cpp's order: adjacent pairs of rope, for models of the Llama family."""
    said = assembly.mapping.layout.get("q_k") or assembly.dump.rope_order
    return said == "pairs" if said else place.engine == "llama.cpp" and assembly.model_type in (None, "llama")


def _write_stage(file, assembly, parts, layer, kept, chunks, n):
    rows, stored = rows_of(assembly, kept)
    positions = _trimmed_positions(kept, chunks, n)
    begin = 0
    widths = kept[0][5] if kept[0][5][0] is not None else [rows.shape[1]]
    if len(widths) > 1:
        assembly.told[f"{' '.join(parts.split())} split"] += 1
    for stage, width in zip(parts.split(), widths):
        part = rows[:, begin : begin + width]
        begin += width
        if stage in Q_K and _in_pairs(assembly, kept[0][0]):
            if assembly.model is None:
                raise Refused(dataset(stage, layer), "is in llama.cpp's order of pairs: --model MODEL tells the head's width")
            part = halves(part, assembly.model["head_dim"])
            assembly.told["q and k from pairs to halves"] += 1
        created = file.create_dataset(dataset(stage, layer), data=numpy.ascontiguousarray(part))
        if positions is not None:
            created.attrs["positions"] = numpy.array(positions, numpy.int32)
            assembly.told["rows of the last positions alone"] += 1
        if stored and "storage_dtype" not in file.attrs:
            created.attrs["storage_dtype"] = stored
        for _, _, entry, *_ in kept:
            created.attrs.update(entry.attributes)


def write_trace(target, assembly, chosen, tokens, phase):
    n, chunks = len(tokens), chunks_of(chosen, len(tokens))
    # The target has no name any more (python_import.c), and HDF5 asks for one: it writes through Python's file.
    with open(target, "w+b") as raw, h5py.File(raw, "w") as file:
        said = {name: value for name, value in assembly.mapping.trace.items() if name not in ("tokens", "prompt")}
        file.attrs.update({"producer": assembly.dump.producer, "model_type": assembly.model_type or "unknown", **assembly.dump.attributes, **said})
        file.attrs.update(format="lockstep-trace", version=1, n_layers=assembly.n_layers)
        file["tokens"], file["phase"] = tokens.astype(numpy.int32), phase
        for parts, layer, kept in chosen:
            _write_stage(file, assembly, parts, layer, kept, chunks, n)
