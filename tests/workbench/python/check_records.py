"""Checks the recorders of record/: check_records.py PROGRAM ENGINE [--twin]

ENGINE (tests/record/small_engine.c) writes a record of golden/tiny-llama by lockstep_record.h: a right run is at parity, its bug is named,
and what a killed one had put is there. lockstep_record.py writes the same bytes. Records that are cut short or damaged are told in one
line. The twin changes one byte of a value, or leaves a damaged record whole, and each check must fail.
"""
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

from asking import Failed, expect, lockstep

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "record"))
from lockstep_record import Recorder  # noqa: E402

MODEL = ROOT / "golden/tiny-llama"
TOKENS = [3, 17, 99, 204, 5, 6]
HEAD = 128


def run_engine(engine, folder, how):
    path = folder / f"{how}.rec"
    status = subprocess.run([engine, MODEL / "model.safetensors", path, how], check=False).returncode
    expect(status == (-signal.SIGKILL if how == "killed" else 0), f"{how}: the engine ends with {status}")
    return path


def spoil(path, twin):
    """Changes the last value that was put, as a twin does."""
    if twin:
        data = bytearray(path.read_bytes())
        data[3619] ^= 0x40  # the exponent of attn_norm's last value
        path.write_bytes(data)


def check_right(program, engine, folder, twin):
    path = run_engine(engine, folder, "right")
    spoil(path, twin)
    status, text, _ = lockstep(program, "audit", MODEL, path)
    expect(status == 0 and text.startswith("parity"), f"right: exit {status}: {text}")


def check_bug(program, engine, folder, twin):
    path = run_engine(engine, folder, "right" if twin else "bug")
    status, text, _ = lockstep(program, "audit", MODEL, path)
    expect(status == 1 and "norm-double-offset (reproduced)" in text, f"bug: exit {status}: {text}")


def check_killed(program, engine, folder, twin):
    path = run_engine(engine, folder, "killed")
    spoil(path, twin)
    status, text, _ = lockstep(program, "audit", MODEL, path, "--all")
    expect(status == 0 and "ended before the end" in " ".join(text.split()), f"killed: exit {status}: {text}")


def check_python(program, engine, folder, twin):
    """The Python recorder writes what the C recorder writes."""
    by_c, by_python = run_engine(engine, folder, "right"), folder / "python.rec"
    trace = folder / "c.h5"
    expect(lockstep(program, "import", by_c, "--model", MODEL, "-o", trace)[0] == 0, "import")
    with h5py.File(trace) as file, Recorder(by_python, "small engine", "llama", 4) as recorder:
        expect(file["tokens"][:].tolist() == TOKENS, "tokens")
        recorder.batch(TOKENS)
        recorder.put("embed", file["stages/embed"][:] + numpy.float32(twin))
        recorder.put("attn_norm", file["layers/0/attn_norm"][:], 0)
    expect(by_c.read_bytes() == by_python.read_bytes(), "the same bytes by C and by Python")


def check_types(program, engine, folder, twin):
    """Declared arithmetic, types, a stage put twice, rows of the last positions: as the trace has them."""
    path, trace = folder / "types.rec", folder / "types.h5"
    rows = numpy.arange(6 * 64, dtype="f4").reshape(6, 64)
    with Recorder(path, "types", "llama", 4) as recorder:
        recorder.declare("kv_dtype", "float16")
        recorder.declare("storage_dtype", "float16", "attn_norm", 0)
        recorder.batch(TOKENS[:5])
        recorder.put("embed", rows[:5] * 0)
        recorder.put("embed", rows[:5])
        recorder.put("attn_norm", rows[:5].astype("f2"), 0)
        recorder.put("layer_out", rows[3:5], 3)
        recorder.batch(TOKENS[5:], decode=True)
        recorder.put("embed", rows[5:])
        recorder.put("attn_norm", rows[5:].astype("f2"), 0)
        recorder.put("layer_out", rows[5:], 3)
    status, _, error = lockstep(program, "import", path, "--model", MODEL, "-o", trace)
    expect(status == 0, f"types: {error}")
    with h5py.File(trace) as file:
        expect(file["phase"][:].tolist() == [0, 0, 0, 0, 0, 1], "phases")
        expect(numpy.array_equal(file["stages/embed"][:], rows + twin), "a stage that is put again replaces what was put")
        expect(file["layers/3/layer_out"].attrs["positions"].tolist() == [3, 4, 5], "rows of the last positions")
        for item, attribute in ((file["layers/0/attn_norm"], "storage_dtype"), (file, "kv_dtype")):
            value = item.attrs.get(attribute)
            expect(value in ("float16", b"float16"), f"{attribute} of {item.name} is declared: {value}")


def check_passes(program, engine, folder, twin):
    """A forward pass that the program did not get through is left out; one without rows is refused."""
    path, trace = folder / "passes.rec", folder / "passes.h5"
    rows = numpy.arange(6 * 64, dtype="f4").reshape(6, 64)
    recorder = Recorder(path, "passes", "llama", 4)
    for begin, end in ((0, 4), (4, 5), (5, 6)):
        recorder.batch(TOKENS[begin:end], decode=begin > 0)
        recorder.put("embed", rows[begin:end])
        if begin < 5 or twin:
            recorder.put("layer_out", rows[begin:end], 0)
    recorder.file.close()
    status, text, error = lockstep(program, "import", path, "--model", MODEL, "-o", trace)
    expect(status == 0 and "is not whole: left out" in text, f"a last pass that is cut: exit {status}: {text}{error}")
    with h5py.File(trace) as file:
        expect(numpy.array_equal(file["layers/0/layer_out"][:], rows[: 5 + twin]), "the whole passes are there")
    with Recorder(path, "passes", "llama", 4) as recorder:
        for begin, end in ((0, 4), (4, 5), (5, 6)):
            recorder.batch(TOKENS[begin:end], decode=begin > 0)
            if begin != 4 or twin:
                recorder.put("embed", rows[begin:end])
    status, _, error = lockstep(program, "audit", MODEL, path)
    expect(status == 3 and "forward pass 1" in error, f"a pass without rows: exit {status}: {error}")


def check_damaged(program, engine, folder, twin):
    """Every damage is told in one line; a record that is cut short is used as far as it goes."""
    whole = run_engine(engine, folder, "right").read_bytes()
    begin = HEAD + len("small engine")  # of the tokens' chunk
    damages = {
        "cut in the first head": whole[:100],
        "cut before the tokens": whole[:begin],
        "cut in the tokens": whole[: begin + HEAD + 3],
        "no magic": b"LSRX" + whole[4:],
        "another chunk's magic": whole[:begin] + b"junk" + whole[begin + 4:],
        "an unknown kind": whole[:begin + 4] + struct.pack("<I", 77) + whole[begin + 8:],
        "no such type": whole[:begin + 12] + struct.pack("<I", 9) + whole[begin + 16:],
        "two beginnings": whole[:begin] + whole,
        "rows before tokens": whole[:begin] + whole[begin + HEAD + 24:],
        "a count of 2^60": whole[:begin + 16] + struct.pack("<Q", 1 << 60) + whole[begin + 24:],
        "a name that is no UTF-8": whole[:32] + b"\xff\xfe" + whole[34:],
    }
    for what, data in damages.items():
        path = folder / "damaged.rec"
        path.write_bytes(whole if twin else data)
        status, text, error = lockstep(program, "audit", MODEL, path)
        told = error.strip()
        expect(status == 3 and told.count("\n") == 0 and str(path) in told, f"{what}: exit {status}: {told or text}")


def main():
    program, engine, twin = sys.argv[1], sys.argv[2], "--twin" in sys.argv
    failed, checks = 0, (check_right, check_bug, check_killed, check_python, check_types, check_passes, check_damaged)
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(program, engine, Path(folder), twin)
                print(f"{check.__name__}: holds")
            except Failed as error:
                print(f"{check.__name__}: {error}")
                failed += 1
    return 0 if failed == (len(checks) if twin else 0) else 1


sys.exit(main())
