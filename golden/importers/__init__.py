"""Turns what other programs dump into a trace: `lockstep import`, and every command that takes a SOURCE, call convert().

One file a format (its read() returns a Dump), one row of FORMATS for each. What all formats share: dump.py (what a reader returns),
names.py (which stage a name is), fit.py (which way a shape lies), assemble.py (rows to a trace file), mapping.py (--map FILE).
"""

import importlib
import json
import os

from .dump import Refused
from .mapping import read_map

# A format: its name, the module that reads it, the endings of its files, and what a file begins with. The first row that knows a
# source reads it. A folder is asked for by `holds`, a function of the module: does it hold such a dump?
FORMATS = [
    ("npz", "npz", (".npz",), b"PK\x03\x04"),
]
FOLDERS = []


def _reader(source):
    """The name and the module of the format that a source has."""
    if os.path.isdir(source):
        for name, module in FOLDERS:
            found = importlib.import_module(f".{module}", __name__)
            if found.holds(source):
                return name, found
        raise Refused(None, f"is a folder without arrays, expected one of: {', '.join(name for name, _ in FOLDERS) or 'none'}")
    if not os.path.isfile(source):
        raise Refused(None, "is neither a file nor a folder")
    with open(source, "rb") as file:
        begin = file.read(4096)
    if not begin:
        raise Refused(None, "is empty, expected a trace or a dump")
    for name, module, endings, magic in FORMATS:
        found = source.lower().endswith(endings)
        if found or (magic and begin.startswith(magic)):
            return name, importlib.import_module(f".{module}", __name__)
    if begin.startswith(b"GGUF"):
        raise Refused(None, "is a GGUF, which holds weights: it is a MODEL, expected a dump of its run")
    known = " ".join(ending for _, _, endings, _ in FORMATS for ending in endings)
    raise Refused(None, f"is no dump that is known, expected .h5 {known} or a folder of arrays (docs/traces.md, Import)")


def _convert(source, target, model, map_path):
    from .assemble import assemble

    mapping = read_map(map_path)
    name, reader = _reader(source)
    result = assemble(reader.read(source), model, mapping, target)
    return {"format": name, **result}


def convert(source, target, model_json, map_path):
    """Writes the trace file `target` of a source. model_json: what is known of MODEL (workbench/python/python_import.c), or "".
    Returns JSON: {"format", "notes": [...]}, or {"field", "error", "status"}."""
    try:
        result = _convert(source, target, json.loads(model_json) if model_json else None, map_path)
    except Refused as refused:
        result = {"field": refused.field, "error": refused.text, "status": refused.status}
    except MemoryError:
        result = {"field": None, "error": "does not fit into memory", "status": "bad-input"}
    except ModuleNotFoundError:
        raise
    except OSError as error:
        result = {"field": None, "error": f"cannot be read: {error.strerror or error}", "status": "io"}
    except (ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        result = {"field": None, "error": f"is damaged: {type(error).__name__}: {what}", "status": "bad-input"}
    return json.dumps(result)
