"""Checks what `lockstep import` refuses: check_refused_imports.py PROGRAM [--twin]

Broken and foreign files, each of which ends with one line that says what to do, exit status 3 (4: a package is missing), leaves no output
and takes little memory. The twin has healthy files in their places, which must not be refused.
"""
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "golden/tiny-llama-105"
TOKENS = numpy.array([3, 17, 99, 204])
MOST_KIB = 300 << 10  # of memory; the bomb below would take 512 MiB
SHAPE = (4, 105)


def healthy():
    return {"input_ids": TOKENS, "layers.0.layer_out": numpy.zeros(SHAPE, "f4")}


def npz(path, **arrays):
    numpy.savez(path, **arrays)


def safetensors(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def cut(path, **arrays):
    npz(path, **arrays)
    path.write_bytes(path.read_bytes()[:-200])


def header(shape, kind="<f4"):
    buffer = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                for piece in data:
                    member.write(piece)


def npy(array):
    buffer = io.BytesIO()
    numpy.save(buffer, array)
    return [buffer.getvalue()]


def bomb(path):
    """512 MiB of zeros that take 0.5 MiB, under a stage's name."""
    rows = (1 << 27) // 105
    zip_of(path, {"input_ids.npy": npy(TOKENS), "layers.0.layer_out.npy": [header((rows, 105))] + [bytes(1 << 20)] * (rows * 420 >> 20) + [bytes(rows * 420 & 0xFFFFF)]})


def folder(path, files):
    path.mkdir()
    for name, write in files.items():
        write(path / name)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit(99)",))


def torch_pickle(path):
    path.write_bytes(pickle.dumps({"input_ids": Evil()}, protocol=2))


def compressed_torch(path):
    zip_of(path, {"archive/data.pkl": [pickle.dumps({}, 2)], "archive/data/0": [bytes(1 << 20)]})


# name of the file: (what writes it, what the line says, more words of the command)
CASES = {
    "objects.npz": (lambda p: npz(p, input_ids=TOKENS, x=numpy.array([{}, 1], object)), "x: holds Python objects"),
    "cut.npz": (lambda p: cut(p, **healthy()), "cut short"),
    "noise.npz": (lambda p: p.write_bytes(bytes(range(256)) * 20), "no complete zip file"),
    "bomb.npz": (bomb, "has 1278264 rows"),
    "claims.npz": (lambda p: zip_of(p, {"input_ids.npy": npy(TOKENS), "embed.npy": [header((1 << 40, 105)), bytes(100)]}), "embed: claims"),
    "text.npz": (lambda p: zip_of(p, {"notes.txt": [b"hello"]}), "notes.txt: is no .npy array"),
    "raw.bin": (lambda p: p.write_bytes(bytes(range(256)) * 20), "is no dump that is known"),
    "weights.gguf": (lambda p: p.write_bytes(b"GGUF" + bytes(100)), "holds weights: it is a MODEL"),
    "eval-callback.txt": (lambda p: p.write_bytes((ROOT / "golden/imports/eval-callback.txt").read_bytes()), "six values a row, four decimals"),
    "doppler.log": (lambda p: p.write_text("[Pipeline] ready\nLAYER_OUT layer=17 token=5 maxAbs=723.79 rms=41.2\n"), "a log of DOPPLER's form"),
    "empty.npz": (lambda p: p.write_bytes(b""), "is empty"),
    "nothing": (lambda p: folder(p, {}), "is a folder without arrays"),
    "text": (lambda p: folder(p, {"readme.txt": lambda f: f.write_text("no arrays")}), "is a folder without arrays"),
    "cut": (lambda p: folder(p, {"embed.npy": lambda f: f.write_bytes(header(SHAPE) + bytes(10))}), "embed: claims 1808 bytes"),
    "no-tokens.npz": (lambda p: npz(p, **{"layers.0.layer_out": numpy.zeros(SHAPE)}), "input_ids: is missing"),
    "disagree.npz": (lambda p: npz(p, **healthy() | {"layers.0.o_proj": numpy.zeros((3, 105))}), "expected 4 as there are tokens"),
    "fewer.npz": (lambda p: npz(p, **{"input_ids": TOKENS, "layers.0.layer_out": numpy.zeros((2, 105))}), "has 2 rows, but there are 4 tokens"),
    "batch.npz": (lambda p: npz(p, **{"input_ids": numpy.stack([TOKENS] * 2), "layers.0.layer_out": numpy.zeros((2, 4, 105))}), "of one sequence"),
    "unknown.npz": (lambda p: npz(p, input_ids=TOKENS, first=numpy.zeros(SHAPE), second=numpy.zeros(SHAPE)), "none of its 3 arrays is a stage: first, second"),
    "layers.npz": (lambda p: npz(p, **healthy() | {"layers.7.layer_out": numpy.zeros(SHAPE)}), "is of layer 7, and MODEL has 2"),
    "twice.npz": (lambda p: npz(p, **healthy() | {"layer_out.0": numpy.zeros(SHAPE)}), "layer_out, and so is"),
    "negative.npz": (lambda p: npz(p, **healthy() | {"input_ids": -TOKENS}), "expected ids from 0 to 330"),
    "large-id.npz": (lambda p: npz(p, **healthy() | {"input_ids": TOKENS + 5000}), "expected ids from 0 to 330"),
    "weights.safetensors": (lambda p: safetensors(p, {"a.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "it is a MODEL"),
    "cut.safetensors": (lambda p: safetensors(p, {"embed": {"dtype": "F32", "shape": [4, 105], "data_offsets": [0, 1680]}}, bytes(100)), "cut short or damaged"),
    "length.safetensors": (lambda p: p.write_bytes(struct.pack("<Q", 1 << 60) + bytes(100)), "claims 1152921504606846976 bytes"),
    "noise.safetensors": (lambda p: p.write_bytes(struct.pack("<Q", 50) + b"x" * 100), "header: is no JSON"),
    "code.pt": (torch_pickle, "holds Python objects"),
    "compressed.pt": (compressed_torch, "is compressed"),
    "cut.pth": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(100)), "cut short or damaged"),
    "printed": (lambda p: folder(p, {"M_debug_tree_FULL_TENSORS.json": lambda f: f.write_text(json.dumps(
        {"module_path": "M", "inputs": {"args": [{"shape": "[1]", "dtype": "x", "value": ["tensor([1.])"]}]}}))}), "record with use_repr=False"),
    "outside": (lambda p: folder(p, {"M_debug_tree_FULL_TENSORS.json": lambda f: f.write_text(json.dumps(
        {"module_path": "M", "inputs": {"args": [{"shape": "[1]", "dtype": "x", "value": "./../../x.safetensors"}]}}))}), "does not lie beside the tree"),
}
NEED_TORCH = {"code.pt", "compressed.pt", "cut.pth"}
# map: (text, what the line says)
MAPS = {
    "no TOML": ("[names", "is no TOML"),
    "table": ("[colours]\na = 1", "colours: is unknown"),
    "stage": ('[names]\na = "layer_output"', "expected a stage"),
    "layer": ('[names]\na = "layer_out"', "whose layer is missing"),
    "layout": ('[layout]\nq_norm = "sideways"', "layout.q_norm"),
    "attribute": ("[trace]\ncolour = 1", "trace.colour: is unknown"),
}


def refused(program, source, text, *words):
    """What is wrong with how the program refuses a source; None: nothing."""
    out = source.parent / "out.h5"
    done = subprocess.Popen([program, "import", source, "--model", MODEL, "-o", out, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    done.stderr = done.stderr.read()
    _, how, used = os.wait4(done.pid, 0)
    done.returncode = os.waitstatus_to_exitcode(how)
    if used.ru_maxrss > MOST_KIB and source.name not in NEED_TORCH:
        return f"took {used.ru_maxrss >> 10} MiB"
    torch_missing = done.returncode == 4 and "pip install" in done.stderr
    if done.returncode != 3 and not (torch_missing and source.name in NEED_TORCH):
        return f"exit status {done.returncode}: {done.stderr}"
    if len(done.stderr.splitlines()) != 1 or not done.stderr.startswith("lockstep: ") or (text not in done.stderr and not torch_missing):
        return f"expected one line with {text!r}: {done.stderr}"
    return f"{out} is there" if out.exists() else None


def damaged(twin):
    """Samples with a few bytes changed or cut off: no exception but Refused's, whatever a library makes of them. Returns what is wrong."""
    import importlib.util
    import random

    sys.path.insert(0, str(ROOT / "golden"))
    import importers

    numbers, n_errors = random.Random(1), 0
    samples = ["modules.npz", "states.safetensors"] + ["states.pt"] * (importlib.util.find_spec("torch") is not None)
    with tempfile.TemporaryDirectory() as scratch:
        for name in samples * 30:
            data = bytearray((ROOT / "golden/imports" / name).read_bytes())
            if not twin and numbers.random() < 0.2:
                data = data[: numbers.randrange(len(data))]
            for _ in range(0 if twin else 3):
                end = numbers.choice((64, 400, 4000, len(data)))
                at = numbers.randrange(max(1, min(len(data), end)))
                data[at if numbers.random() < 0.7 else -1 - at] = numbers.randrange(256)
            path = Path(scratch) / name
            path.write_bytes(data)
            said = json.loads(importers.convert(str(path), str(Path(scratch) / "out.h5"), "", None, False))
            n_errors += "error" in said
    return None if n_errors > 20 else f"{n_errors} of {len(samples) * 30} are refused"


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    failed = 0
    for name, (write, text) in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            if twin:
                path = path.with_suffix(".npz")
                npz(path, **healthy())
            else:
                write(path)
            wrong = refused(program, path, text)
        failed += wrong is not None
        print(f"{name}: {wrong or 'refused'}")
    for name, (toml, text) in MAPS.items():
        with tempfile.TemporaryDirectory() as scratch:
            path, table = Path(scratch) / "x.npz", Path(scratch) / "map.toml"
            npz(path, **healthy())
            table.write_text("" if twin else toml)
            wrong = refused(program, path, text, "--map", table)
        failed += wrong is not None
        print(f"--map, {name}: {wrong or 'refused'}")
    wrong = damaged(twin)
    failed += wrong is not None
    print(f"damaged samples: {wrong or 'refused'}")
    return 0 if failed == (len(CASES) + len(MAPS) + 1 if twin else 0) else 1


sys.exit(main())
