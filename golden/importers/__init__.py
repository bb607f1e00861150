"""Turns what other programs dump into a trace: `lockstep import`, and every command that takes a SOURCE, call convert().

A format is a module of this folder and its name in FORMATS. It has two functions:
    knows(source, begin)  whether the path is such a dump; begin: a file's first bytes, None for a folder. Looks at nothing else at length.
    read(source)          a Dump (dump.py): its arrays by name, none of them loaded yet; raises Refused with one line that says what to do.
What all share: names.py (which stage a name is), fit.py (which way a shape lies), assemble.py (rows to a trace file), mapping.py (--map FILE).
"""

import errno
import importlib
import json
import os
import warnings

from .dump import Refused
from .mapping import read_map

# The first that knows a source reads it.
FORMATS = ["debugger", "sglang", "npz", "safetensors_file", "torch_file", "array_folder", "record", "printed_text"]


def _reader(source):
    """The name and the module of the format that a source has."""
    begin = None
    if not os.path.isdir(source):
        if not os.path.isfile(source):
            raise Refused(None, "is neither a file nor a folder")
        with open(source, "rb") as file:
            begin = file.read(4096)
        if not begin:
            raise Refused(None, "is empty, expected a trace or a dump")
    for name in FORMATS:
        module = importlib.import_module(f".{name}", __name__)
        if module.knows(source, begin):
            return name, module
    if begin is None:
        raise Refused(None, "is a folder without arrays, expected .npy, .npz, .safetensors, .pt or .f32 files in it")
    if begin.startswith(b"GGUF"):
        raise Refused(None, "is a GGUF, which holds weights: it is a MODEL, expected a dump of its run")
    raise Refused(None, "is no dump that is known, expected .h5, .npz, .safetensors, .pt or a folder of arrays (docs/traces.md, Import)")


def _convert(source, target, model, map_path, list_all):
    from .assemble import assemble

    mapping = read_map(map_path)
    name, reader = _reader(source)
    result = assemble(reader.read(source), model, mapping, target, list_all)
    return {"format": name, **result}


def convert(source, target, model_json, map_path, list_all):
    """Writes the trace file `target` of a source. model_json: what is known of MODEL (workbench/python/python_import.c), or "".
    list_all: notes name every array that was not matched. Returns JSON: {"format", "notes": [...]}, or {"field", "error", "status"}."""
    warnings.simplefilter("ignore")  # numpy and torch warn of odd headers, on a line of their own
    try:
        result = _convert(source, target, json.loads(model_json) if model_json else None, map_path, list_all)
    except Refused as refused:
        result = {"field": refused.field, "error": refused.text, "status": refused.status}
    except MemoryError:
        result = {"field": None, "error": "does not fit into memory", "status": "bad-input"}
    except ModuleNotFoundError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error)
        what = "the trace that is made of it does not fit into TMPDIR, or /tmp" if full else f"cannot be read: {error.strerror or error}"
        result = {"field": None, "error": what, "status": "io"}
    except Exception as error:  # whatever the bytes of a foreign file lead a library to
        what = " ".join(str(error).split())[:200]
        result = {"field": None, "error": f"is damaged: {type(error).__name__}: {what}", "status": "bad-input"}
    return json.dumps(result)
