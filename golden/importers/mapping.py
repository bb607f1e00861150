"""--map FILE: what the table of names does not know, said by the user in TOML.

    [names]                               # a name or a pattern of the dump -> a stage; {i} is the layer
    "blk.{i}.wq" = "q_proj"
    "tok" = "embed"
    "debug.*" = "ignore"
    [layout]
    q_norm = "heads-first"                # or "positions-first"
    q_k = "pairs"                         # q and k in the order of adjacent pairs; or "halves"
    [trace]                               # attributes, and what the dump lacks
    model_type = "llama"
    kv_dtype = "float16"
    tokens = [1, 2, 3]
    prompt = 2                            # the first two are prefill, the rest decode
"""

import re
import tomllib

from .dump import ATTRIBUTES, Refused
from .names import STAGES

LAYOUTS = {"heads-first", "positions-first"}


def _pattern(name):
    parts = re.split(r"(\{i\}|\*)", name)
    return re.compile("".join({"{i}": r"(?P<i>\d+)", "*": ".*"}.get(part, re.escape(part)) for part in parts))


class Mapping:
    def __init__(self, path=None, tables=None):
        tables = tables or {}
        self.path = path
        self.names = [(_pattern(name), stage, name) for name, stage in tables.get("names", {}).items()]
        self.layout = tables.get("layout", {})
        self.trace = tables.get("trace", {})
        self.unused = {name for _, _, name in self.names}

    def find(self, name):
        """(stage, layer or None) of a name, "ignore", or None: it says nothing of it."""
        for pattern, stage, key in self.names:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            self.unused.discard(key)
            if stage in ("ignore", "tokens", "phase"):
                return stage
            base, _, layer = stage.partition(".")
            layer = match.groupdict().get("i") if not layer else layer
            return base, None if layer is None else int(layer)
        return None


def _check(path, tables):
    for table in tables:
        if table not in ("names", "layout", "trace") or not isinstance(tables[table], dict):
            raise Refused(table, f"is unknown in {path}, expected [names], [layout], [trace]")
    for name, stage in tables.get("names", {}).items():
        base, _, layer = str(stage).partition(".")
        if base not in (*STAGES, "ignore", "tokens", "phase") or (layer and not layer.isdigit()):
            raise Refused(f"names.{name}", f"is {stage!r} in {path}, expected a stage (layer_out, layer_out.3), tokens, phase or ignore")
        if base in STAGES and STAGES[base] and not layer and "{i}" not in name:
            raise Refused(f"names.{name}", f"is {stage!r} in {path}, whose layer is missing: write {{i}} in the name, or {stage}.0")
    for name, layout in tables.get("layout", {}).items():
        expected = {"pairs", "halves"} if name == "q_k" else LAYOUTS
        if (name != "q_k" and name not in STAGES) or layout not in expected:
            raise Refused(f"layout.{name}", f"is {layout!r} in {path}, expected a stage with one of {', '.join(sorted(LAYOUTS))}; or q_k with halves, pairs")
    for name in tables.get("trace", {}):
        if name not in (*ATTRIBUTES, "tokens", "prompt"):
            raise Refused(f"trace.{name}", f"is unknown in {path}, expected tokens, prompt or an attribute of a trace")


def read_map(path):
    if not path:
        return Mapping()
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise Refused("--map", f"{path} is no TOML: {error}") from None
    except OSError as error:
        raise Refused("--map", f"{path} cannot be read: {error.strerror}", "io") from None
    _check(path, tables)
    return Mapping(path, tables)
