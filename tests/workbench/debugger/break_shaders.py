#!/usr/bin/env python3
"""break_shaders.py PROGRAM [--all | --twin]: breaks shaders by one token, one after the other, in a copy of shaders/, reloads
them at the prompt, and has the prompt find each break.

A break must be found, at a stage that the broken file makes, unless no value of the run changed; a file that no stage runs
here must be told as such. Without --all, one model is tried. The twin plants nothing and must find nothing to tell."""
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parents[3]
MODELS = ["tiny-gemma3", "tiny-gpt-oss", "tiny-llama-q4_1.gguf", "tiny-gemma2"]

# File, a piece of its text, and what stands there instead. The first place where the piece stands is changed.
BREAKS = [
    ("add.comp", "residual[at] + branch", "residual[at] - branch"),
    ("attention.comp", "divide(sum[i], total)", "divide(sum[0], total)"),
    ("attention_join.comp", "width, joined[k]", "width, joined[0]"),
    ("attention_part.comp", "y[q_at] = q.x", "y[q_at] = q.y"),
    ("attention_part.comp", "k_rope_y[k_at] = k.x", "k_rope_y[k_at] = q.x"),
    ("attention_part.comp", "fma(vec4(weight), v[i][c], sum[c])", "fma(vec4(weight), v[i][0], sum[c])"),
    ("attention_tile.comp", "divide(sum, row_total[row])", "divide(sum, row_total[0])"),
    ("embed.comp", "scale * decode_at", "2.0 * decode_at"),
    ("embed.comp", "at % op.width", "at / op.width"),
    ("expert_matmul.glsl", "? sum + bias", "? sum - bias"),
    ("expert_sum.comp", "share[row * op.k + j] *", "share[row * op.k] *"),
    ("glu.comp", "* up[at]", "* gate[at]"),
    ("head_norm_rope.comp", "store(first + i, width, turned.x)", "store(first + i, width, turned.y)"),
    ("head_norm_rope.comp", "norm_y[first + i] = head[i]", "norm_y[first + i] = head[0]"),
    ("head_norm_rope.comp", "fma(x[first + i], x[first + i], sum)", "fma(x[first], x[first + i], sum)"),
    ("matmul.glsl", "sum += bias(o)", "sum -= bias(o)"),
    ("matmul.glsl", "activated(op.activation, sum) * second", "activated(op.activation, sum) * sum"),
    ("matmul.glsl", "store(at, op.n_out, sum)", "store(at, op.n_out, -sum)"),
    ("matmul.glsl", "op.cap * tanh_exact", "2.0 * tanh_exact"),
    ("matmul_tile.glsl", "store(row * op.n_out + o, op.n_out, sum)", "store(row * op.n_out + o, op.n_out, -sum)"),
    ("matvec.comp", "store(o, op.n_out, sum)", "store(o, op.n_out, -sum)"),
    ("matvec.comp", "up_y[o] = second", "up_y[o] = sum"),
    ("matvec.comp", "sum_y4[i] = own[k]", "sum_y4[i] = own[0]"),
    ("matvec.comp", "first_y4[i] = own[k]", "first_y4[i] = own[0]"),
    ("norms.comp", "first_y[at] = branch", "first_y[at] = other"),
    ("norms.comp", "sum_y[at] = total", "sum_y[at] = branch"),
    ("norms.comp", "op.last_offset +", "1.5 +"),
    ("norms.comp", "fma(total, total, sum)", "fma(total, 1.0, sum)"),
    ("rms_norm.comp", "x[first + i] - mean, scale", "x[first] - mean, scale"),
    ("rms_norm.comp", "op.offset + decode", "op.offset - decode"),
    ("rope.comp", "store(second, width, turned.y)", "store(second, width, 7.0)"),
    ("rope.comp", "store(first, width, turned.x)", "store(first, width, turned.y)"),
    ("softcap.comp", "op.cap * tanh_exact", "2.0 * tanh_exact"),
    ("swiglu.comp", "(up + 1.0)", "(up + 2.0)"),
    ("swiglu.comp", "1.0 + exp_exact(-gate)", "1.0 + exp_exact(gate)"),
    ("topk.comp", "float(place)", "float(j)"),
    ("topk_softmax.comp", "store(row * op.k + j, op.k, divide(e, total))", "store(row * op.k + j, op.k, e)"),
    ("activation.glsl", "y = 0.5 * g", "y = 0.7 * g"),
    ("bias.glsl", "bias_words[o])", "bias_words[0])"),
    ("join.glsl", "sum += weight * y4[k]", "sum += y4[k]"),
    ("math.glsl", "1.0 / 24.0", "1.0 / 2.0"),
    ("pieces.glsl", "fma(d, part, sum)", "fma(part, part, sum)"),
    ("reduce.glsl", "sum += partial[i]", "sum += partial[0]"),
    ("rows.glsl", "sum += run_sum[i]", "sum += run_sum[0]"),
    ("weights.glsl", "low_nibbles(loaded.y) + m", "low_nibbles(loaded.y) - m"),
]


class Prompt:
    """The prompt in a pipe: each command is followed by a marker, so that its answer's end is known."""

    def __init__(self, program, model):
        golden = TREE / "golden" / (model.removesuffix(".gguf") + ".h5")
        self.process = subprocess.Popen(
            [program, "debug", TREE / "golden" / model, "--golden", golden], cwd=TREE, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.n = 0
        self.type("set errors continue")

    def type(self, line):
        self.n += 1
        marker = f"end-{self.n}"
        print(line, f"delete {marker}", sep="\n", file=self.process.stdin, flush=True)
        said = []
        for text in self.process.stdout:
            if marker in text and text.startswith("lockstep"):
                return "".join(said)
            if not text.startswith("dbg> "):
                said.append(text)
        sys.exit(f"the program ended at {line}:\n{''.join(said)}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def digest(prompt, folder):
    """Of all values that the engine computed, in a whole run."""
    path = folder / "values.h5"
    prompt.type("restart")
    prompt.type("continue")
    prompt.type(f"dump {path} from engine")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def concerns(folder, shader, file):
    """Whether the shader is the file, or includes it."""
    if shader == file:
        return True
    text = (folder / shader).read_text()
    return any(concerns(folder, name, file) for name in re.findall(r'#include "([^"]+)"', text))


def try_break(prompt, folder, healthy, file, old, new):
    """Returns "found", "unchanged", "unused", or what is wrong."""
    path, source = folder / file, (TREE / "shaders" / file).read_text()
    if source.count(old) == 0:
        return f'"{old}" is not in the file'
    path.write_text(source.replace(old, new, 1))
    try:
        said = prompt.type("reload shaders")
        if "shaders compiled" not in said:
            return f"does not compile: {said.strip()}"
        if f"{file} changed, but no stage of this plan runs it" in said:
            return "unused" if digest(prompt, folder) == healthy else "told as unused, and values changed"
        prompt.type("restart")
        said = prompt.type("until diverge")
        kernel = re.search(r"^  kernel +(\w+\.comp)", said, re.M)
        if kernel and concerns(folder, kernel[1], file):
            return "found"
        if kernel:
            return f"found in {kernel[1]}: {said.splitlines()[0]}"
        return "unchanged" if digest(prompt, folder) == healthy else f"not found: {said.strip()}"
    finally:
        path.write_text(source)


def try_model(program, model, breaks, folder):
    prompt = Prompt(program, model)
    prompt.type(f"set shaders {folder}")
    healthy = digest(prompt, folder)
    counts, wrong = {}, 0
    for file, old, new in breaks:
        outcome = try_break(prompt, folder, healthy, file, old, new)
        kind = outcome if outcome in ("found", "unchanged", "unused") else "wrong"
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "wrong":
            wrong += 1
            print(f"{model}: {file}: {old} -> {new}: {outcome}")
    said = prompt.type("reload shaders")
    prompt.type("restart")
    if "no step introduced an error" not in prompt.type("until diverge"):
        wrong += 1
        print(f"{model}: an error is left when all is put right:\n{said}")
    prompt.close()
    print(f"{model}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())), flush=True)
    return wrong, counts.get("found", 0)


def main():
    program, option = Path(sys.argv[1]).resolve(), sys.argv[2:]
    breaks, wrong, found = BREAKS, 0, 0
    if option == ["--twin"]:
        breaks = [("norms.comp", "sum_y[at] = total", "sum_y[at] = 1.0 * total"), ("add.comp", "branch[at]", "1.0 * branch[at]")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shaders"
        shutil.copytree(TREE / "shaders", folder)
        for model in MODELS if option == ["--all"] else MODELS[:1]:
            more = try_model(program, model, breaks, folder)
            wrong, found = wrong + more[0], found + more[1]
    if option == ["--twin"]:
        found = -found
    if wrong or found < 0 or (option != ["--twin"] and found < (30 if option == ["--all"] else 8)):
        sys.exit(f"{wrong} wrong, {found} found")


main()
