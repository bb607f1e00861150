"""llama_cpp.py PROGRAM [--twin]: runs llama.cpp on SmolLM2 and audits what it computed.

Healthy runs are at parity, in the arithmetic that llama.cpp has. An 8-bit KV cache is a divergence until the file declares it. Two
spoiled weights are found, and named. The twin spoils each run, so that each check must fail.
"""
import os
import pathlib
import shutil
import sys
import tempfile

os.environ["LLAMA_ATTN_ROT_DISABLE"] = "1"  # else a quantised cache holds K and V in other coordinates, and so attn_out

import gguf
import h5py
import numpy as np

import llama_engine
from trace_file import ask, expect, write_trace

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = ROOT / "golden/smollm2-color-of-the-sky.h5"
HEAD_DIM = 64
IN_PAIRS = ("q_proj", "k_proj", "q_rope", "k_rope")  # a Llama GGUF has rope's pairs side by side


def halves(row):
    return row.reshape(-1, HEAD_DIM // 2, 2).swapaxes(1, 2).reshape(-1)


def record(engine, path, model=MODEL, cache=llama_engine.F16, in_pairs=IN_PAIRS, **declared):
    """Records the golden's own tokens."""
    with h5py.File(GOLDEN) as golden:
        tokens, n_prompt = golden["tokens"][:].tolist(), int((golden["phase"][:] == 0).sum())
    stages = engine.record(model, tokens[:n_prompt], tokens[n_prompt:], cache)
    for (layer, stage), rows in stages.items():
        if stage in in_pairs:
            stages[layer, stage] = [(position, halves(row)) for position, row in rows]
    stages[None, "logits"] = stages[None, "logits_final"]  # Llama has no softcap
    write_trace(path, "llama", tokens, n_prompt, stages, producer="llama.cpp", **declared)


def arithmetic(report):
    return {(a["op"], a["weights"], a["attribute"], a["value"]) for s in report["sources"] if s["source"] == "trace" for a in s["arithmetic"]}


def check_healthy(program, engine, folder, twin):
    path = folder / "healthy.h5"
    record(engine, path, in_pairs=() if twin else IN_PAIRS)
    expected = {
        ("matmul", "Q4_1", "operand_dtype", "q8_1"), ("matmul", "Q8_0", "operand_dtype", "q8_0"),
        ("attention", None, "kv_dtype", "float16"), ("attention", None, "sum_dtype", "float16")}
    for command in (["audit", MODEL, path, "--all"], ["diff", MODEL, "--golden", GOLDEN, "--trace", path, "--all"]):
        status, text, report = ask(program, *command)
        expect(status == 0 and report["verdict"] == "parity", f"{command[0]}: parity", (status, report["verdict"]))
        expect(expected <= arithmetic(report), f"{command[0]}: its arithmetic", arithmetic(report))
        for said in ("matmul of Q4_1 inputs in q8_1", "queries in float16"):
            expect(said in " ".join(text.split()), f"{command[0]}: says '{said}'", text)


def check_quantised_cache(program, engine, folder, twin):
    path = folder / "cache.h5"
    for cache, name in ((llama_engine.Q8_0, "q8_0"), (llama_engine.Q4_0, "q4_0")):
        record(engine, path, cache=llama_engine.F16 if twin else cache)
        status, _, report = ask(program, "audit", MODEL, path)
        first = report["first_divergence"]
        expect(status == 1 and first["stage"] == "attn_out", f"undeclared {name}: diverges at attn_out", (status, first))
        named = {(d["kind"], d["fault"]) for d in report["diagnosis"] if d["stage"] == "attn_out" and d["kind"] != "symptom"}
        expect(named == {("precision", f"kv-cache-{name}")}, f"undeclared {name}: precision, named", named)
        record(engine, path, cache=cache, kv_dtype=name)
        status, _, report = ask(program, "audit", MODEL, path)
        expect(status == 0 and report["verdict"] == "parity", f"declared {name}: parity", (status, report["first_divergence"]))
        expect(("attention", None, "operand_dtype", "q8_0") in arithmetic(report), "queries in q8_0", arithmetic(report))


def spoil(path):
    """Adds 1 to a norm of layer 17; multiplies the scales and minima of a matrix of layer 20 by 1.1."""
    shutil.copyfile(MODEL, path)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path, "r+").tensors}
    tensors["blk.17.ffn_norm.weight"][:] += 1
    blocks = tensors["blk.20.ffn_up.weight"].reshape(-1, 20)  # of Q4_1: d, m, 16 bytes
    blocks[:, :4] = (blocks[:, :4].copy().view(np.float16) * np.float16(1.1)).view(np.uint8)


def check_spoiled_weights(program, engine, folder, twin):
    model, path = folder / "spoiled.gguf", folder / "spoiled.h5"
    spoil(model)
    record(engine, path, model=MODEL if twin else model)
    status, text, report = ask(program, "audit", MODEL, path)
    first, found = report["first_divergence"], {(i["layer"], i["stage"]) for i in report["introduced"]}
    expect(status == 1 and (first["layer"], first["stage"]) == (17, "ffn_norm"), "first: layer 17 ffn_norm", (status, first))
    expect(found == {(17, "ffn_norm"), (20, "ffn_up")}, "both are found, and nothing else", found)
    named = {(d["layer"], d["stage"], d["fault"], d["how"]) for d in report["diagnosis"]}
    expected = {(17, "ffn_norm", "norm-double-offset", "reproduced"), (20, "ffn_up", "constant-multiple", "reproduced")}
    expect(expected <= named, "both are named", named)


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    if not MODEL.exists():
        print(f"skipped: {MODEL} is not there (./demo gets it)")
        return 77
    engine = llama_engine.Library()
    failed = 0
    for check in (check_healthy, check_quantised_cache, check_spoiled_weights):
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(program, engine, pathlib.Path(folder), twin)
                print(f"{check.__name__}: holds")
            except AssertionError as error:
                print(f"{check.__name__}: {error}")
                failed += 1
    return 0 if failed == (3 if twin else 0) else 1


sys.exit(main())
