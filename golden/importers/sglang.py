"""SGLang's --debug-tensor-dump-output-folder: in it a folder a rank, TP0_PP0_Rank0_pid…, and in that Pass00000.pt, one a forward pass:
{module's path: its output}. vLLM's tensor dump (VLLM_DEBUG_TENSOR_DUMP_OUTPUT_FOLDER) is written alike.
https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/debug_utils/tensor_dump_forward_hook.py"""

import pathlib
import re

from . import torch_file
from .dump import Dump, Refused

PASS = re.compile(r"Pass(\d+)\.pt")
# Modules that run after the one whose end writes a file: what they made lies in the next pass's file.
LATE = ("model", "logits_processor", "lm_head")


def _passes(folder):
    found = [(int(match.group(1)), path) for path in folder.iterdir() if (match := PASS.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _folders(source):
    source = pathlib.Path(source)
    if _passes(source):
        return [source]
    return sorted(path for path in source.iterdir() if path.is_dir() and re.match(r"TP\d+_PP\d+_Rank\d+", path.name) and _passes(path))


def knows(source, begin):
    return begin is None and bool(_folders(source))


def _sequences(passes):
    """Groups of passes of one sequence each: the first position of a sequence is 0."""
    groups = []
    for entries in passes:
        positions = next((entry.load() for entry in entries if entry.name.endswith("forward_batch_info.positions")), None)
        if positions is None or positions.size == 0:
            raise Refused("forward_batch_info.positions", "is missing: which rows are of which position is not known")
        if int((positions == 0).sum()) > 1:
            raise Refused("forward_batch_info.positions", "holds several sequences in one pass: send one request at a time")
        if positions[0] == 0:
            groups.append([])
        elif not groups:
            raise Refused("forward_batch_info.positions", f"begin at {positions[0]}: start the server with --disable-radix-cache")
        groups[-1].append(entries)
    return groups


def _rope_layer(entry):
    match = re.search(r"layers\.(\d+)\.self_attn\.rotary_emb\.0$", entry.name)
    return None if match is None else int(match.group(1))


def _shared_rope(entries):
    """Whether all layers' rotary_emb hold the same: SGLang and vLLM make one module for all, whose hooks call it by every layer's name."""
    rotated = [entry.load() for entry in entries if _rope_layer(entry) is not None]
    return len(rotated) > 1 and all((other == rotated[0]).all() for other in rotated[1:])


def _without_others(entries):
    last = max(_rope_layer(entry) or 0 for entry in entries)
    return [entry for entry in entries if ".rotary_emb." not in entry.name or f"layers.{last}." in entry.name]


def read(source):
    folders = _folders(source)
    if len(folders) > 1:
        raise Refused(None, f"holds {len(folders)} ranks ({folders[0].name}, {folders[1].name}, …): run with --tp 1, or give one rank's folder")
    dump, passes = Dump([], producer="SGLang (tensor dump)"), []
    for path in _passes(folders[0]):
        entries = []
        torch_file.flatten("", torch_file.load_file(path), entries, dump.attributes)
        passes.append(entries)
    late = [[entry for entry in entries if entry.name.split(".")[0] in LATE and "." not in entry.name] for entries in passes[1:]] + [[]]
    passes = [[entry for entry in entries if entry.name not in LATE] + after for entries, after in zip(passes, late)]
    groups = _sequences(passes)
    if _shared_rope(groups[-1][0]):
        dump.notes.append("rotary_emb is one module for all layers: what is recorded of it is the last layer's")
        groups[-1] = [_without_others(entries) for entries in groups[-1]]
    if len(groups) > 1:
        dump.notes.append(f"{len(groups)} sequences: the last one is taken, of {len(groups[-1])} passes (the first ones warm the server up)")
    for call, entries in enumerate(groups[-1]):
        for entry in entries:
            entry.call = call
            dump.entries.append(entry)
    return dump
