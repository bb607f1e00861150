"""The stages of a trace as numpy arrays that share the program's memory, for `py` at the prompt."""

import os
import shutil

import numpy


def set_width(columns):
    """Has arrays, and what asks for the terminal's size, keep to this many columns."""
    numpy.set_printoptions(linewidth=columns)
    shutil.get_terminal_size = lambda fallback=(80, 24): os.terminal_size((columns, fallback[1]))


class Trace:
    """engine["layer_out", 17] is [positions, width]. Rows that have not run are NaN. Outside the layers: engine["logits"]."""

    def __init__(self, name, tokens, phase, stages, fetch):
        self.name = name
        self.tokens = numpy.frombuffer(tokens, dtype=numpy.int32)
        self.phase = numpy.frombuffer(phase, dtype=numpy.uint8)
        self._stages = stages  # (stage, layer or None): (memory of the rows, width)
        self._fetch = fetch  # computes a stage that was not recorded: fetch(stage, layer) is like a value of _stages, or None

    def __getitem__(self, key):
        stage, layer = key if isinstance(key, tuple) else (key, None)
        found = self._stages.get((stage, layer)) or (self._fetch(stage, layer) if self._fetch else None)
        if found is None:
            where = "" if layer is None else f" of layer {layer}"
            raise KeyError(f"{self.name} holds no {stage}{where}")
        self._stages[stage, layer] = rows, width = found
        return numpy.frombuffer(rows, dtype=numpy.float32).reshape(-1, width)

    def __contains__(self, key):
        return (key if isinstance(key, tuple) else (key, None)) in self._stages

    def keys(self):
        """(stage, layer) of all recorded stages, in plan order. layer is None outside the layers."""
        return list(self._stages)

    def __repr__(self):
        return f"<{self.name}: {len(self._stages)} stages, {len(self.tokens)} positions>"
