"""The stages of a trace as numpy arrays that share the program's memory, for `py` at the prompt."""

import numpy


class Trace:
    """engine["layer_out", 17] is [positions, width]. Rows that have not run are NaN. Outside the layers: engine["logits"]."""

    def __init__(self, name, tokens, phase, stages):
        self.name = name
        self.tokens = numpy.frombuffer(tokens, dtype=numpy.int32)
        self.phase = numpy.frombuffer(phase, dtype=numpy.uint8)
        self._stages = stages  # (stage, layer or None): (memory of the rows, width)

    def __getitem__(self, key):
        stage, layer = key if isinstance(key, tuple) else (key, None)
        try:
            rows, width = self._stages[stage, layer]
        except KeyError:
            where = "" if layer is None else f" of layer {layer}"
            raise KeyError(f"{self.name} holds no {stage}{where}") from None
        return numpy.frombuffer(rows, dtype=numpy.float32).reshape(-1, width)

    def __contains__(self, key):
        return (key if isinstance(key, tuple) else (key, None)) in self._stages

    def keys(self):
        """(stage, layer) of all recorded stages, in plan order. layer is None outside the layers."""
        return list(self._stages)

    def __repr__(self):
        return f"<{self.name}: {len(self._stages)} stages, {len(self.tokens)} positions>"
