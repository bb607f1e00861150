"""What the scripts of this folder share: writing a trace, and asking lockstep about it."""
import json
import pathlib
import subprocess
import tempfile

import h5py
import numpy as np


def write_trace(path, model_type, tokens, n_prompt, stages, **declared):
    """stages: {(layer or None, stage): [positions, width] or [(position, row)…], where only some positions have one}. declared:
    further attributes of the file."""
    with h5py.File(path, "w") as file:
        declared.setdefault("n_layers", 1 + max(layer for layer, _ in stages if layer is not None))
        file.attrs.update(format="lockstep-trace", version=1, model_type=model_type, **declared)
        file["tokens"] = np.array(tokens, np.int32)
        file["phase"] = (np.arange(len(tokens)) >= n_prompt).astype(np.uint8)
        for (layer, stage), rows in stages.items():
            name = f"stages/{stage}" if layer is None else f"layers/{layer}/{stage}"
            if isinstance(rows, list):
                positions, rows = zip(*rows)
                file[name] = np.stack(rows)
                if len(positions) < len(tokens):
                    file[name].attrs["positions"] = np.array(positions, np.int32)
            else:
                file[name] = rows


def ask(*command):
    """Runs lockstep. Returns its exit status, its text and its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        result = subprocess.run([*map(str, command), "--json", report], capture_output=True, text=True)
        if result.returncode not in (0, 1, 7):
            raise SystemExit(f"lockstep ended with {result.returncode}: {result.stderr}")
        return result.returncode, result.stdout, json.loads(report.read_text())


def expect(condition, what, seen):
    if not condition:
        raise AssertionError(f"{what}; seen: {seen}")
