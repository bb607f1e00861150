"""Makes every committed golden anew with transformers and compares: check_goldens.py PROGRAM [--twin]

A golden agrees if the new one is bit-identical. On another processor torch may round sums differently: then both must pass
the audit against the same model, each op within its own bound. There is no tolerance here.
Stages that the committed golden does not hold (attention probabilities, samples) are audited in the new one.
Goldens of two models in 16-bit types are made too, and audited with the types that they declare.
--twin changes one value in a copy of one golden. It must be found; then the exit status is 0.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import h5py

from lockstep_files import read_safetensors, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parent
SMOLLM2 = ROOT.parent / ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODELS = {"smollm2-color-of-the-sky": SMOLLM2, "tiny-llama-q4_1": ROOT / "tiny-llama-q4_1.gguf"}  # the other models lie beside their goldens


def run(*arguments):
    """Returns the exit status and all output."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def make(program, model, golden, path):
    """Records the same tokens again. Decoded tokens are forced, so that both goldens can be compared row by row."""
    with h5py.File(golden) as file:
        tokens, phase = file["tokens"][:], file["phase"][:]
    prompt = ",".join(str(t) for t in tokens[phase == 0])
    decoded = ",".join(str(t) for t in tokens[phase == 1])
    status, text = run(program, "golden", model, "--ids", prompt, "--decode-ids", decoded, "--attn-probs", "-o", path)
    if status != 0:
        raise SystemExit(f"{golden.name}: lockstep golden ended with {status}: {text}")


def attributes_differ(golden, path):
    with h5py.File(golden) as committed, h5py.File(path) as made:
        for name in ("producer", "model_type", "n_layers", "weights_sha256", "config_sha256"):
            if committed.attrs.get(name) != made.attrs.get(name):
                return f"{name}: {committed.attrs.get(name)} was committed, {made.attrs.get(name)} made now"
    return None


def strip(golden, path):
    """Removes the optional stages that the committed golden does not hold."""
    with h5py.File(golden) as committed, h5py.File(path, "r+") as made:
        for group in ["stages"] + [f"layers/{i}" for i in made["layers"]]:
            for stage in ("attn_probs", "sample_probs", "sample_token"):
                if stage in made[group] and stage not in committed[group]:
                    del made[group][stage]


def disagreement(program, model, golden, path):
    """Returns (reason, how): why the two goldens disagree, or None; and how they agree."""
    differing = attributes_differ(golden, path)
    if differing is not None:
        return differing, None
    status, text = run(program, "audit", model, path)
    if status != 0:
        return f"the audit of the new one ends with {status}: {text.splitlines()[-1]}", None
    strip(golden, path)
    if run(program, "compare", golden, path)[0] == 0:
        return None, "bit-identical"
    for file in (path, golden):
        status, text = run(program, "audit", model, file)
        if status != 0:
            return f"not bit-identical, and the audit of {file} ends with {status}: {text.splitlines()[-1]}", None
    return None, "not bit-identical, but both pass their audits"


def spoil(golden, path):
    """Writes a copy with one value of one stage changed by a thousandth of the largest value."""
    shutil.copy(golden, path)
    with h5py.File(path, "r+") as file:
        rows = file["layers/1/o_proj"]
        rows[3, 5] += abs(rows[:]).max() / 1000


def check(program, model, golden, twin):
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "made.h5"
        make(program, model, golden, made)
        committed = golden
        if twin:
            committed = pathlib.Path(folder) / "spoiled.h5"
            spoil(golden, committed)
        wrong, right = disagreement(program, model, committed, made)
    print(f"{golden.name}: {wrong or right}", flush=True)
    return wrong is None


def check_dtype(program, name, dtype, twin):
    """A golden in a 16-bit type declares all that it rounds: it passes an audit that infers nothing. The twin does not declare the
    last that attention stores before its probabilities, and must fail."""
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder) / "made.h5"
        status, text = run(program, "golden", ROOT / name, "--ids", "1,5,9,3,20,7", "-n", "2", "--dtype", dtype, "-o", made)
        if status == 0 and twin:
            with h5py.File(made, "r+") as file:
                del file.attrs["shifted_scores_dtype" if "gpt-oss" in name else "scores_dtype"]
        if status == 0:
            status, text = run(program, "audit", "--strict", ROOT / name, made)
    last = text.splitlines()[-1] if text else ""
    print(f"{name} in {dtype}: " + ("passes its audit" if status == 0 else f"exit {status}: {last}"), flush=True)
    if status not in (0, 1):
        raise SystemExit(f"{name} in {dtype}: neither parity nor divergence")
    return status == 0


def check_wrapped(program, twin):
    """A model with a vision tower has other names for its text model's parts. Its golden, and that of the text model alone, both
    made here, are bit-identical. The twin doubles a weight."""
    golden, name = ROOT / "tiny-gemma3-odd.h5", "tiny-gemma3-odd as a part of gemma3"
    with tempfile.TemporaryDirectory() as folder:
        config, tensors = read_safetensors(ROOT / golden.stem)
        wrapped = {"language_model." + n: (kind, 2 * data if twin and n.endswith("1.mlp.up_proj.weight") else data)
                   for n, (kind, data) in tensors.items()}
        write_safetensors(pathlib.Path(folder) / "model.safetensors", wrapped)
        (pathlib.Path(folder) / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": config}))
        made, alone = pathlib.Path(folder) / "made.h5", pathlib.Path(folder) / "alone.h5"
        make(program, folder, golden, made)
        make(program, ROOT / golden.stem, golden, alone)
        same = run(program, "compare", alone, made)[0] == 0
    print(f"{name}: {'bit-identical' if same else 'another golden'}", flush=True)
    return same


def check_unread(program):
    """GGUF contents that transformers would misread are refused by name: the frequency table of llama3 rope, Gemma's query scale,
    GPT-OSS's experts."""
    refused = True
    for name, why in (("llama3-rope-bf16.gguf", "rope_freqs.weight: transformers does not read it"),
                      ("gemma3-bf16.gguf", "query_pre_attn_scalar: transformers takes 256 for 14"),
                      ("gpt-oss-bf16.gguf", "general.architecture: found 'gpt-oss'")):
        status, text = run(program, "golden", ROOT / "same" / name, "--ids", "1,5", "-n", "1", "-o", "/dev/null")
        refused = refused and status == 3 and why in text
        print(f"{name}: exit {status}: {text}", flush=True)
    return refused


def check_probs(program, name, twin):
    """A golden with attention probabilities and samples passes. The twin swaps the probabilities of two keys, or changes an id."""
    passed = []
    for stage in ("layers/1/attn_probs", "stages/sample_token"):
        with tempfile.TemporaryDirectory() as folder:
            made = pathlib.Path(folder) / "made.h5"
            status, text = run(program, "golden", ROOT / name, "--ids", "1,5,9,3,20,7", "-n", "2", "--attn-probs", "-o", made)
            if status == 0 and twin:
                with h5py.File(made, "r+") as file:
                    row = file[stage][1]
                    file[stage][1] = row[[1, 0, *range(2, len(row))]] if len(row) > 1 else row + 1
            if status == 0:
                status, text = run(program, "audit", ROOT / name, made)
        print(f"{name} with {stage}: " + ("passes its audit" if status == 0 else f"exit {status}: {text.splitlines()[-1]}"), flush=True)
        if status not in (0, 1):
            raise SystemExit(f"{name} with {stage}: neither parity nor divergence")
        passed.append(status == 0)
        if not twin:
            break  # one file holds both
    return passed


def main():
    twin = sys.argv[2:] == ["--twin"]
    if len(sys.argv) != 2 and not twin:
        sys.exit("usage: check_goldens.py PROGRAM [--twin]")
    agree = []
    for golden in sorted(ROOT.glob("tiny-llama.h5" if twin else "*.h5")):
        model = MODELS.get(golden.stem, ROOT / golden.stem)
        if model.exists():
            agree.append(check(sys.argv[1], model, golden, twin))
        else:
            print(f"{golden.name}: skipped, {model} is not there (./demo fetches it)")
    for name in ("tiny-llama", "tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss"):
        for dtype in ("bfloat16", "float16"):
            agree.append(check_dtype(sys.argv[1], name, dtype, twin))
    agree.append(check_wrapped(sys.argv[1], twin))
    if not twin:
        agree.append(check_unread(sys.argv[1]))
    agree += check_probs(sys.argv[1], "tiny-gpt-oss-odd", twin)
    sys.exit(0 if agree and (not any(agree) if twin else all(agree)) else 1)


if __name__ == "__main__":
    main()
