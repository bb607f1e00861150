"""llama_cpp.py PROGRAM [--twin]: runs llama.cpp on SmolLM2, recorded by record/lockstep_llama.py and lockstep_llama.h, and audits what it
computed.

Healthy runs are at parity, in the arithmetic that llama.cpp has, whether the recorder declares it or not. An 8-bit KV cache is a
divergence until the file declares it. Two spoiled weights are found, and named. The twin spoils each run, so that each check must fail.
"""
import ctypes
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

os.environ["LLAMA_ATTN_ROT_DISABLE"] = "1"  # else a quantised cache holds K and V in other coordinates, and so attn_out

import gguf
import h5py
import numpy as np

from trace_file import ask, expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "record"))
import lockstep_llama  # noqa: E402

MODEL = ROOT / ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = ROOT / "golden/smollm2-color-of-the-sky.h5"
# The source of the wheel that CMakeLists.txt names, for its headers.
SOURCE = ("https://files.pythonhosted.org/packages/87/62/b6dfaaf346d3d4fd0e2a2df755f2693b77673f2735da7ba0592af9d2f09e/"
          "xllamacpp-2026.10.11549.tar.gz")
SOURCE_SHA256 = "c17ee1163006f70726abb9f72137830818f3d8cb60bfc34cb232d08428eaa22b"
HEADERS = ROOT / ".cache/wheels/llama_cpp_headers"


def golden_tokens():
    with h5py.File(GOLDEN) as golden:
        return golden["tokens"][:].tolist(), int((golden["phase"][:] == 0).sum())


def forget_declared(path):
    """Takes out what the recorder declared."""
    def forget(name, item):
        for attribute in [a for a in item.attrs if a.endswith("_dtype")]:
            del item.attrs[attribute]

    with h5py.File(path, "r+") as file:
        forget("/", file)
        file.visititems(forget)


def record(program, engine, path, model=MODEL, cache="f16", declared=False, in_pairs=True):
    """Records the golden's own tokens, and imports them. declared: with the arithmetic that the recorder declares, or without. in_pairs:
    False: q and k are taken as they are."""
    tokens, n_prompt = golden_tokens()
    loaded, raw, map_file = lockstep_llama.Model(engine, model), path.with_suffix(".rec"), path.with_suffix(".toml")
    loaded.record(raw, tokens[:n_prompt], len(tokens) - n_prompt, tokens[n_prompt:], cache)
    loaded.close()
    map_file.write_text("" if in_pairs else '[layout]\nq_k = "halves"\n')
    subprocess.run([program, "import", raw, "--model", MODEL, "--map", map_file, "-o", path], check=True, stdout=subprocess.DEVNULL)
    if not declared:
        forget_declared(path)


def arithmetic(report):
    return {(a["op"], a["weights"], a["attribute"], a["value"]) for s in report["sources"] if s["source"] == "trace" for a in s["arithmetic"]}


EXPECTED = {
    ("matmul", "Q4_1", "operand_dtype", "q8_1"), ("matmul", "Q8_0", "operand_dtype", "q8_0"),
    ("attention", None, "kv_dtype", "float16"), ("attention", None, "sum_dtype", "float16")}


def check_healthy(program, engine, folder, twin):
    path = folder / "healthy.h5"
    record(program, engine, path, in_pairs=not twin)
    for command in (["audit", MODEL, path, "--all"], ["diff", MODEL, "--golden", GOLDEN, "--trace", path, "--all"]):
        status, text, report = ask(program, *command)
        expect(status == 0 and report["verdict"] == "parity", f"{command[0]}: parity", (status, report["verdict"]))
        expect(EXPECTED <= arithmetic(report), f"{command[0]}: its arithmetic", arithmetic(report))
        for said in ("matmul of Q4_1 inputs in q8_1", "queries in float16"):
            expect(said in " ".join(text.split()), f"{command[0]}: says '{said}'", text)


def check_record(program, engine, folder, twin):
    """As the guide has it: the record itself is audited, in the arithmetic that it declares."""
    tokens, n_prompt = golden_tokens()
    path, loaded = folder / "mine.rec", lockstep_llama.Model(engine, MODEL)
    loaded.record(path, tokens[:n_prompt], 2)
    loaded.close()
    if twin:
        path.write_bytes(path.read_bytes().replace(b"operand_dtype=q8_1", b"operand_dtype=q8_K"))
    status, text, report = ask(program, "audit", MODEL, path, "--all")
    expect(status == 0 and report["verdict"] == "parity", "parity", (status, text))
    trace = folder / "mine.h5"
    subprocess.run([program, "import", path, "--model", MODEL, "-o", trace], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(trace) as file:
        declared = [file["layers/0/ffn_up"].attrs["operand_dtype"], file.attrs["kv_dtype"]]
    expect([str(d, "ascii") if isinstance(d, bytes) else d for d in declared] == ["q8_1", "float16"], "declared by the recorder", declared)


def check_families(program, engine, folder, twin):
    """Other families, as golden/convert.py writes them: Gemma, whose queries are scaled before they are rounded and whose GELU is a table,
    is at parity; of GPT-OSS llama.cpp rounds YaRN's range to whole dims, which is found, and nothing else."""
    for name in ("tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss"):
        model, path = folder / f"{name}.gguf", folder / f"{name}.rec"
        subprocess.run([sys.executable, ROOT / "golden/convert.py", ROOT / "golden" / name, model], check=True)
        loaded = lockstep_llama.Model(engine, model)
        loaded.record(path, [3, 17, 101, 44, 250, 9, 31, 77, 5, 12], 3)
        loaded.close()
        if twin:
            path.write_bytes(path.read_bytes().replace(b"activation_dtype=float16", b"activation_dtype=float32"))
        status, text, report = ask(program, "audit", model, path)
        found = {i["stage"] for i in report["introduced"]}
        if name == "tiny-gpt-oss" and not twin:
            expect(status == 1 and found == {"q_rope", "k_rope"} and "wrong-yarn-truncate (reproduced)" in text, f"{name}: YaRN", text)
        else:
            expect(status == 0 and report["verdict"] == "parity", f"{name}: parity", (status, text))


def headers():
    if not HEADERS.exists():
        with urllib.request.urlopen(SOURCE, timeout=300) as answer:
            data = answer.read()
        expect(hashlib.sha256(data).hexdigest() == SOURCE_SHA256, "the source's digest", len(data))
        half = HEADERS.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                name = pathlib.PurePosixPath(member.name)
                if member.isfile() and name.suffix == ".h" and name.parts[1:3] == ("thirdparty", "llama.cpp") and name.parent.name == "include":
                    (half / name.name).write_bytes(archive.extractfile(member).read())
        half.rename(HEADERS)
    return HEADERS


def check_c_recorder(program, engine, folder, twin):
    """lockstep_llama.h in a program of its own, in micro-batches of four."""
    library = folder / "recorder.so"
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", f"-I{headers()}", f"-I{ROOT / 'record'}",
                    ROOT / "tests/slow/llama_recorder.c", "-o", library], check=True)
    function = ctypes.CDLL(library).record_tokens
    tokens, n_prompt = golden_tokens()
    path = folder / "c.rec"
    status = function(os.fsencode(MODEL), os.fsencode(path), (ctypes.c_int32 * len(tokens))(*tokens), n_prompt, len(tokens), 4)
    expect(status == 0, "the program ends well", status)
    if twin:
        data = bytearray(path.read_bytes())
        data[-128 - 4 * 100 + 3] ^= 0x20  # the exponent of one of the last logits
        path.write_bytes(data)
    status, text, report = ask(program, "diff", MODEL, "--golden", GOLDEN, "--trace", path, "--all")
    expect(status == 0 and report["verdict"] == "parity", "parity", (status, text))
    expect(("attention", None, "operand_dtype", "float16") in arithmetic(report), "its arithmetic", arithmetic(report))


def check_quantised_cache(program, engine, folder, twin):
    path = folder / "cache.h5"
    for name in ("q8_0", "q4_0"):
        record(program, engine, path, cache="f16" if twin else name)
        status, _, report = ask(program, "audit", MODEL, path)
        first = report["first_divergence"]
        expect(status == 1 and first["stage"] == "attn_out", f"undeclared {name}: diverges at attn_out", (status, first))
        named = {(d["kind"], d["fault"]) for d in report["diagnosis"] if d["stage"] == "attn_out" and d["kind"] != "symptom"}
        expect(named == {("precision", f"kv-cache-{name}")}, f"undeclared {name}: precision, named", named)
        record(program, engine, path, cache=name, declared=True)
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
    record(program, engine, path, model=MODEL if twin else model)
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
    engine = lockstep_llama.load_library()
    failed = 0
    checks = (check_healthy, check_record, check_families, check_c_recorder, check_quantised_cache, check_spoiled_weights)
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(program, engine, pathlib.Path(folder), twin)
                print(f"{check.__name__}: holds")
            except AssertionError as error:
                print(f"{check.__name__}: {error}")
                failed += 1
    return 0 if failed == (len(checks) if twin else 0) else 1


sys.exit(main())
