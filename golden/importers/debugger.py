"""transformers' model_addition_debugger_context: a folder with MODEL_debug_tree_FULL_TENSORS.json, the tree of calls. With use_repr=False
the tensors lie beside it as .safetensors; with use_repr=True (its default) the tree holds printed text, which is cut.
https://github.com/huggingface/transformers/blob/main/src/transformers/model_debugging_utils.py"""

import json
import pathlib

from . import safetensors_file
from .dump import Dump, Refused

TREE = "*_debug_tree_FULL_TENSORS.json"
MOST_JSON = 1 << 30  # bytes


def knows(source, begin):
    return begin is None and next(pathlib.Path(source).glob(TREE), None) is not None


def _tensor(folder, name, value, entries):
    """{"shape", "dtype", "value"}: value is the path of a .safetensors beside the tree, or printed lines."""
    path = value.get("value")
    if not isinstance(path, str):
        raise Refused(name, "is printed text, which holds a few digits of a few values: record with use_repr=False")
    file = folder / path.removeprefix("./")
    if file.parent != folder or not file.is_file():
        raise Refused(name, f"is in {path}, which does not lie beside the tree")
    for entry in safetensors_file.read(str(file)).entries:
        entry.name = name
        entries.append(entry)


def _values(folder, name, value, entries):
    if isinstance(value, dict) and {"shape", "dtype"} <= set(value):
        _tensor(folder, name, value, entries)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _values(folder, f"{name}.{i}", inner, entries)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _values(folder, f"{name}.{key}", inner, entries)


def _walk(folder, node, entries):
    path = node.get("module_path", "").split(" ")[0]
    inputs = node.get("inputs") or {}
    for i, value in enumerate(inputs.get("args", [])):
        _values(folder, f"{path}.input.{i}", value, entries)
    for key, value in inputs.get("kwargs", {}).items():
        place = {"hidden_states": f"{path}.input.0", "input_ids": f"{path}.input_ids"}.get(key, f"{path}.{key}")
        _values(folder, place, value, entries)
    if node.get("outputs"):
        _values(folder, f"{path}.output", node["outputs"], entries)
    for child in node.get("children", []):
        _walk(folder, child, entries)


def read(source):
    folder = pathlib.Path(source)
    trees = sorted(folder.glob(TREE))
    if len(trees) > 1:
        raise Refused(None, f"holds {len(trees)} trees ({trees[0].name}, {trees[1].name}): record each in a folder of its own")
    if trees[0].stat().st_size > MOST_JSON:
        raise Refused(trees[0].name, f"holds {trees[0].stat().st_size >> 20} MiB, expected at most {MOST_JSON >> 20}: record with use_repr=False")
    try:
        tree = json.loads(trees[0].read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(trees[0].name, f"is no JSON: {error}") from None
    dump = Dump([], producer="transformers (model_addition_debugger)")
    _walk(folder, tree, dump.entries)
    ids = [entry for entry in dump.entries if entry.name.endswith(".input_ids") or entry.name.endswith("embed_tokens.input.0")]
    for entry in ids[1:]:  # the same ids, handed down
        dump.entries.remove(entry)
    for entry in ids[:1]:
        entry.name = "input_ids"
    return dump
