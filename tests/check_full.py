"""Checks the models of golden/make_full.py, with shapes made small by --set: check_full.py PROGRAM [--twin]

Each family opens without a note, runs on engine and reference with every op within its bound, has the norms that it claims, is
the same when it is made again, and the same as GGUF and as RDRR. The twin changes one byte of a weight: then the two models must
differ, and the audit of a trace of one with the other must diverge.
"""
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "golden"))

import numpy as np  # noqa: E402

import make_full  # noqa: E402
from lockstep_files import read_safetensors, to_float32, write_rdrr  # noqa: E402
from lockstep_random import Stream  # noqa: E402

CUT = ["num_hidden_layers=2", "vocab_size=300", "hidden_size=96", "intermediate_size=160", "head_dim=16"]
SCALAR = ["query_pre_attn_scalar=16"]
MODELS = {"gemma3-1b": SCALAR, "gemma2-2b": SCALAR, "gpt-oss-20b": ["num_attention_heads=8", "num_key_value_heads=2"]}


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def expect(true, what):
    if not true:
        sys.exit(what)


def same_numbers_everywhere():
    """SplitMix64's published numbers of seed 1234567, and what is made of such: the same bits on every machine."""
    stream = Stream(0, "")
    stream.key = 1234567
    drawn = [int(x) for x in np.concatenate([stream.words(1), stream.words(2)])]
    expect(drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423], f"SplitMix64 draws {drawn}")
    stream = Stream(1, "name")
    values = [stream.standard_normal((300, 257), np.float32), stream.uniform(0.3, 1, 9), stream.normal(3, 1, 9),
              stream.integers(0, 256, (9, 2), np.uint8), stream.choice(1152, 6, replace=False).astype(np.int64)]
    digest = hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest()
    expect(digest.startswith("220cfcc86f33"), f"the stream's digest is {digest}")
    expect(abs(values[0].mean()) < 0.02 and abs(values[0].std() - 1) < 0.01, "normal numbers with another mean or deviation")


def norms_and_size(folder, name):
    """The peak of the norms behind attention and FFN, where the family has them."""
    config, tensors = read_safetensors(folder)
    expect([n for n, _, _ in make_full.shapes(config)] == list(tensors), f"{name}: other tensors than shapes() says")
    if name.startswith("gemma"):
        peak = to_float32(*tensors["model.layers.1.post_feedforward_layernorm.weight"]).max()
        expect(55 < peak < 56, f"{name}: the largest norm weight is {peak}")


def spoil(path):
    raw = bytearray(path.read_bytes())
    raw[-(1 << 10) | 1] ^= 0x40  # an exponent's bit, of the last tensor
    path.write_bytes(raw)


def check_other_files(program, name, folder, model, reference, twin):
    """The same model as GGUF and RDRR has the reference's stages bit for bit; a spoiled one has others."""
    rdrr, gguf = folder / f"{name}-rdrr", folder / f"{name}.gguf"
    write_rdrr(rdrr, *read_safetensors(model), shard_size=300000)
    try:
        from lockstep_gguf import write_gguf

        write_gguf(gguf, *read_safetensors(model))
    except ModuleNotFoundError as missing:
        print(f"{gguf.name}: skipped, {missing.name} is not there")
    for file in (rdrr, gguf):
        if file.exists():
            status, text = run(program, "trace", file, "--ids", "2,7,299,0,5", "--decode-ids", "4,9", "--on", "reference", "-o", f"{file}.h5")
            expect(status == 0, f"{file.name}: trace ends with {status}: {text}")
            status, text = run(program, "compare", reference, f"{file}.h5")
            expect(status == (1 if twin else 0), f"{file.name}: compare with the safetensors' trace ends with {status}: {text}")


def check(program, name, folder, twin):
    first, second = folder / name, folder / (name + "-again")
    for made in (first, second):
        make_full.write(made, make_full.configure(name, CUT + MODELS[name]), 1)
    norms_and_size(first, name)
    if twin:
        spoil(second / "model.safetensors")
    same = (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    expect(same != twin, f"{name}: two makings are {'the same' if same else 'not the same'}")
    for side in ("engine", "reference"):
        trace = folder / f"{name}-{side}.h5"
        status, text = run(program, "trace", first, "--ids", "2,7,299,0,5", "--decode-ids", "4,9", "--on", side, "-o", trace)
        expect(status == 0, f"{name}: trace on {side} ends with {status}: {text}")
        status, text = run(program, "audit", second, trace)
        expect(status == (1 if twin else 0), f"{name}: audit of {side} ends with {status}: {text}")
    check_other_files(program, name, folder, second, folder / f"{name}-reference.h5", twin)
    shutil.rmtree(first)
    shutil.rmtree(second)


def main():
    same_numbers_everywhere()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            check(sys.argv[1], name, Path(folder), sys.argv[2:] == ["--twin"])
            print(f"{name}: as expected", flush=True)


main()
