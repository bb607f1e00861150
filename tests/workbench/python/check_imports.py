"""Checks `lockstep import` on the samples of golden/imports/: check_imports.py PROGRAM [--twin]

Of each sample a few lines here make the trace by hand; what lockstep imports is the same, bit for bit, and the audit finds parity. The
twin changes one value of each trace made by hand, which must be found.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

ROOT = Path(__file__).resolve().parents[3]
GOLDEN, IMPORTS = ROOT / "golden", ROOT / "golden/imports"
LLAMA = GOLDEN / "tiny-llama-105"
TOKENS, N_PROMPT = [3, 17, 99, 204, 5, 61], 4
MODULES = {
    "attn_norm": "input_layernorm", "q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "layer_out": ""}
OUTER = {"embed": "model.embed_tokens", "final_norm": "model.norm", "logits": "lm_head"}


def lockstep(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def paths(n_layers, tails, outer):
    """{dataset of a trace: name of the dump}."""
    inner = {f"layers/{i}/{stage}": f"model.layers.{i}.{tail}".rstrip(".") for i in range(n_layers) for stage, tail in tails.items()}
    return inner | {f"stages/{stage}": name for stage, name in outer.items()}


def modules_npz():
    with numpy.load(IMPORTS / "modules.npz") as file:
        return LLAMA, {to: numpy.concatenate([file[f"step_{i}/{name}"][0] for i in range(3)]) for to, name in paths(2, MODULES, OUTER).items()}


SAMPLES = {"modules.npz": modules_npz}


def write_by_hand(path, stages, twin):
    """stages: {dataset: rows, or (rows, {attribute: value})}."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format="lockstep-trace", version=1, producer="hand", model_type="llama", n_layers=2)
        file["tokens"] = numpy.array(TOKENS, "i4")
        file["phase"] = (numpy.arange(len(TOKENS)) >= N_PROMPT).astype("u1")
        for name, rows in stages.items():
            rows, attributes = rows if isinstance(rows, tuple) else (rows, {})
            rows = numpy.array(rows)
            if twin and name.endswith("layer_out"):
                rows.flat[0] += 1
            file[name] = rows
            file[name].attrs.update(attributes)


def check_sample(program, folder, name, make, twin):
    model, stages = make()
    by_hand, imported = folder / "hand.h5", folder / "imported.h5"
    write_by_hand(by_hand, stages, twin)
    status, out, err = lockstep(program, "import", IMPORTS / name, "--model", model, "-o", imported)
    if status != 0:
        return f"import: {status} {err}"
    status, out, err = lockstep(program, "compare", imported, by_hand, "--json", "-")
    report = json.loads(out)
    if not report["identical"] or any(stage["in"] != "both" for stage in report["stages"]):
        odd = [f"{s['layer']} {s['stage']} in {s['in']}" for s in report["stages"] if not s["identical"]]
        return f"compare: differs: {odd}"
    with h5py.File(imported) as a, h5py.File(by_hand) as b:
        for key in stages:
            for attribute in ("storage_dtype", "positions"):
                if not numpy.array_equal(a[key].attrs.get(attribute), b[key].attrs.get(attribute)):
                    return f"{key}: attribute {attribute}: {a[key].attrs.get(attribute)}"
    status, out, err = lockstep(program, "audit", model, IMPORTS / name)
    return None if status == 0 else f"audit of the source: {status} {out} {err}"


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    failed = 0
    for name, make in SAMPLES.items():
        with tempfile.TemporaryDirectory() as folder:
            wrong = check_sample(program, Path(folder), name, make, twin)
        print(f"{name}: {wrong or 'holds'}")
        failed += wrong is not None
    return 0 if failed == (len(SAMPLES) if twin else 0) else 1


sys.exit(main())
