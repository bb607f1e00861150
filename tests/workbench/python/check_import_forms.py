"""Checks what `lockstep import` puts right, and what it must not: check_import_forms.py PROGRAM [--twin]

The goldens' own rows, in the forms and under the names that other programs give them, come back bit for bit. In the twin one value of
each golden is another, which every comparison must find.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "golden"


class Case:
    """What a case works with: the program, a folder of its own, a golden's arrays, and whether this is the twin."""

    def __init__(self, program, folder, twin):
        self.program, self.folder, self.twin, self.compared = program, Path(folder), twin, 0

    def run(self, *words, **options):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, check=False, **options)
        return done.returncode, done.stdout, done.stderr

    def golden(self, model="tiny-llama-105"):
        """{dataset: rows} of a golden, and its tokens and phase."""
        with h5py.File(GOLDEN / f"{model}.h5") as file:
            found = {}
            file.visititems(lambda name, item: found.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
        return found

    def save(self, **arrays):
        path = self.folder / "x.npz"
        numpy.savez(path, **arrays)
        return path

    def imported(self, source, *words, model="tiny-llama-105"):
        """What is told, and {dataset: rows} of the trace."""
        out = self.folder / "out.h5"
        status, text, error = self.run("import", source, "--model", GOLDEN / model, "-o", out, *words)
        expect(status == 0, f"import: {status} {error}")
        with h5py.File(out) as file:
            found = {}
            file.visititems(lambda name, item: found.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
        return text, found

    def same(self, found, expected):
        """Every stage is as expected, and there is no other."""
        stages = {name: rows for name, rows in found.items() if "/" in name}
        expect(set(stages) == set(expected), f"holds {sorted(stages)}, expected {sorted(expected)}")
        for name, rows in expected.items():
            rows = numpy.array(rows, dtype="f4")
            if self.twin:
                rows.flat[-1] += 1
            expect(numpy.array_equal(stages[name], rows, equal_nan=True), f"{name} is another")
        self.compared += 1


def expect(true, what):
    if not true:
        raise AssertionError(what)


def basics(golden):
    return {"input_ids": golden["tokens"], "phase": golden["phase"]}


def heads_first(case):
    golden = case.golden("tiny-gemma3-105")
    q = golden["layers/0/q_norm"]
    source = case.save(**basics(golden), **{"model.layers.0.self_attn.q_norm": q.reshape(10, 5, 14).swapaxes(0, 1)[None]})
    text, found = case.imported(source, model="tiny-gemma3-105")
    expect("heads first: 1 array" in text, text)
    case.same(found, {"layers/0/q_norm": q})


def as_many_heads_as_positions(case):
    golden = case.golden("tiny-gemma3-105")
    q, embed = golden["layers/0/q_norm"][:5], golden["stages/embed"][:5]
    array = q.reshape(5, 5, 14).swapaxes(0, 1)
    source = case.save(input_ids=golden["tokens"][:5], embed=embed, **{"layers.0.q_norm": array})
    text, found = case.imported(source, model="tiny-gemma3-105")
    expect("left out: layers.0.q_norm" in text and "[layout]" in text, text)
    case.same(found, {"stages/embed": embed})
    table = case.folder / "map.toml"
    table.write_text('[layout]\nq_norm = "heads-first"')
    case.same(case.imported(source, "--map", table, model="tiny-gemma3-105")[1], {"stages/embed": embed, "layers/0/q_norm": q})
    table.write_text('[layout]\nq_norm = "positions-first"')
    other = array.reshape(5, 70)
    case.same(case.imported(source, "--map", table, model="tiny-gemma3-105")[1], {"stages/embed": embed, "layers/0/q_norm": other})


def layout_of_other_layers(case):
    """A decoded row of 5 heads tells nothing of 5 positions; the other pass, of 7, does."""
    golden = case.golden("tiny-gemma3-105")
    q = golden["layers/0/q_norm"]
    passes = {f"step_{i}/layers.0.q_norm": part.reshape(-1, 5, 14).swapaxes(0, 1)[None] for i, part in enumerate((q[:5], q[5:7], q[7:8]))}
    text, found = case.imported(case.save(input_ids=golden["tokens"][:8], **passes), model="tiny-gemma3-105")
    case.same(found, {"layers/0/q_norm": q[:8]})
    expect("(7 prefill, 1 decode)" in text, text)


def residual_pairs(case):
    """vLLM's layers and norms hand on two tensors, whose sum is the residual stream."""
    golden = case.golden()
    arrays, expected = basics(golden), {}
    for i in range(2):
        down, resid = golden[f"layers/{i}/ffn_down"], golden[f"layers/{i}/attn_resid"]
        arrays |= {f"model.layers.{i}.output.0": down, f"model.layers.{i}.output.1": resid}
        arrays |= {f"model.layers.{i}.post_attention_layernorm.0": golden[f"layers/{i}/ffn_norm"], f"model.layers.{i}.post_attention_layernorm.1": resid}
        expected |= {f"layers/{i}/layer_out": down + resid, f"layers/{i}/attn_resid": resid, f"layers/{i}/ffn_norm": golden[f"layers/{i}/ffn_norm"]}
    text, found = case.imported(case.save(**arrays))
    expect("residual added to the layer's output: 2 arrays" in text, text)
    case.same(found, expected)


def probabilities(case):
    """Of a sliding window a decoded row has the latest keys alone."""
    golden, random = case.golden(), numpy.random.default_rng(1)
    prompt, decoded = random.random((1, 5, 4, 4), "f4"), random.random((1, 5, 1, 3), "f4")
    passes = {"step_0/model.layers.0.self_attn.output.1": prompt, "step_1/attentions.0": decoded}
    expected = numpy.zeros((5, 5, 5), "f4")  # positions, heads, keys
    expected[:4, :, :4], expected[4, :, 2:5] = prompt[0].swapaxes(0, 1), decoded[0, :, 0]
    found = case.imported(case.save(input_ids=golden["tokens"][:5], **passes))[1]
    case.same(found, {"layers/0/attn_probs": expected.reshape(5, 25)})


def rows_of_the_last_position(case):
    """An engine may compute the last layer, and what follows it, for the last position alone; any other stage must be whole."""
    golden = case.golden()
    kept = {"layers/0/layer_out": golden["layers/0/layer_out"], "layers/1/layer_out": golden["layers/1/layer_out"][-1:],
            "stages/final_norm": golden["stages/final_norm"][-1:]}
    source = case.save(input_ids=golden["tokens"], **kept, **{"model.layers.0.mlp.up_proj": numpy.zeros((0, 70), "f4")}, logits=golden["stages/logits"][-1])
    text, found = case.imported(source)
    expect("rows of the last positions alone: 4 arrays" in text and "model.layers.0.mlp.up_proj (no row)" in text, text)
    case.same(found, kept | {f"stages/{stage}": golden["stages/logits"][-1:] for stage in ("logits", "logits_final")})
    with h5py.File(case.folder / "out.h5") as file:
        expect(file["layers/1/layer_out"].attrs["positions"].tolist() == [9], "positions")


def names(case):
    golden = case.golden()
    calls = {
        "LlamaForCausalLM.model.layers.0.mlp.down_proj.input": "layers/0/ffn_act", "module.model.layers.0.self_attn.o_proj.in": "layers/0/attn_out",
        "_orig_mod.model.layers.0.self_attn.o_proj.output.0": "layers/0/o_proj", "layers/1/k_rope": "layers/1/k_rope", "q_rope.1": "layers/1/q_rope",
        "ffn_up-1": "layers/1/ffn_up", "model.layers.1.input_layernorm_output": "layers/1/attn_norm", "l_out-0": "layers/0/layer_out",
        "stages/logits": "stages/logits", "L1.attn.core_out": "layers/1/attn_out", "L1.ffn.out": "layers/1/ffn_down", "layers.0.ffn.gate": "layers/0/ffn_gate",
        "final_norm.out": "stages/final_norm", "logits.final": "stages/logits_final", "model.norm.input": "layers/1/layer_out", "model.layers.0.input": "stages/embed"}
    source = case.save(**basics(golden), **{name: golden[stage] for name, stage in calls.items()})
    case.same(case.imported(source)[1], {stage: golden[stage] for stage in calls.values()})


def unclear_names(case):
    golden = case.golden()
    text, found = case.imported(case.save(**basics(golden), embed=golden["stages/embed"], **{"Qcur-0": golden["layers/0/q_proj"]}))
    expect("Qcur-0 (q_proj or q_rope: the name alone says both)" in text, text)
    case.same(found, {"stages/embed": golden["stages/embed"]})


def generated_states(case):
    """hidden_states of generate(): a tuple a forward pass, of a state a layer; the last token was chosen and not run."""
    golden = case.golden()
    states = [golden["stages/embed"], golden["layers/0/layer_out"], golden["stages/final_norm"]]
    passes = [slice(0, 7), slice(7, 8), slice(8, 9)]
    arrays = {f"hidden_states.{step}.{i}": state[rows][None] for step, rows in enumerate(passes) for i, state in enumerate(states)}
    text, found = case.imported(case.save(input_ids=golden["tokens"], **arrays))
    expect("was chosen and not run: left out" in text and "9 positions (7 prefill, 2 decode)" in text, text)
    case.same(found, {"stages/embed": states[0][:9], "layers/0/layer_out": states[1][:9], "stages/final_norm": states[2][:9]})


def by_value(case):
    """Two arrays without a name find their places; one that is there twice does not, and a name is not overruled."""
    golden = case.golden()
    kept = {f"layers/{i}/{stage}": golden[f"layers/{i}/{stage}"] for i in range(2) for stage in ("o_proj", "attn_resid", "ffn_down", "layer_out")}
    kept["stages/embed"] = golden["stages/embed"]
    named = {name: rows for name, rows in kept.items() if name not in ("layers/0/attn_resid", "layers/1/ffn_down")}
    arrays = {"arr_0": kept["layers/0/attn_resid"], "arr_1": kept["layers/1/ffn_down"]}
    text, found = case.imported(case.save(**basics(golden), **named, **arrays))
    expect("arr_0: layers/0/attn_resid, by shape and values" in text and "arr_1: layers/1/ffn_down" in text, text)
    case.same(found, kept)
    text, found = case.imported(case.save(**basics(golden), **named, **arrays, arr_2=arrays["arr_1"]))
    expect("left out: arr_1\n" in text and "left out: arr_2\n" in text, text)
    case.same(found, named | {"layers/0/attn_resid": arrays["arr_0"]})


def exchanged_names(case):
    """Gate and up under each other's names are judged as they are called."""
    golden = case.golden("tiny-llama")
    named = {name: rows for name, rows in golden.items() if "/" in name}
    source = case.save(**basics(golden), **named)
    expect(case.run("audit", GOLDEN / "tiny-llama", source)[0] == 0, "healthy: parity")
    named["layers/1/ffn_gate"], named["layers/1/ffn_up"] = named["layers/1/ffn_up"], named["layers/1/ffn_gate"]
    status, text, _ = case.run("audit", GOLDEN / "tiny-llama", case.save(**basics(golden), **named))
    expect(status == 1 and "layer 1 ffn_gate" in text, text)


def doubled_bos(case):
    """Told, never altered."""
    golden = case.golden()
    bos = json.loads((GOLDEN / "tiny-llama-105/config.json").read_text())["bos_token_id"]
    text, found = case.imported(case.save(input_ids=numpy.array([bos, bos, 5]), embed=golden["stages/embed"][:3]))
    expect(f"the tokens begin with BOS ({bos}) twice; kept as they are" in text and found["tokens"].tolist() == [bos, bos, 5], text)
    case.same(found, {"stages/embed": golden["stages/embed"][:3]})


def mapped(case):
    golden = case.golden()
    table = case.folder / "map.toml"
    table.write_text('[names]\n"blk.{i}.q" = "q_proj"\n"tok" = "embed"\n"layers.1.k_proj" = "ignore"\n"nowhere" = "logits"\n'
                     f'[trace]\ntokens = {golden["tokens"].tolist()}\nprompt = 7\nkv_dtype = "float16"')
    source = case.save(tok=golden["stages/embed"], **{"blk.1.q": golden["layers/1/q_proj"], "layers.1.k_proj": golden["layers/1/k_proj"]})
    text, found = case.imported(source, "--map", table)
    expect("(7 prefill, 3 decode)" in text and "--map: no array is called nowhere" in text, text)
    case.same(found, {"stages/embed": golden["stages/embed"], "layers/1/q_proj": golden["layers/1/q_proj"]})
    with h5py.File(case.folder / "out.h5") as file:
        expect(file.attrs["kv_dtype"] == "float16", dict(file.attrs))


def raw_folder(case):
    """Raw values without shapes, as docs/traces.md has C engines write them."""
    golden, folder = case.golden(), case.folder / "dump"
    folder.mkdir()
    golden["tokens"].astype("<i4").tofile(folder / "tokens.i32")
    golden["stages/embed"].tofile(folder / "embed.f32")
    for i in range(2):
        golden[f"layers/{i}/layer_out"].tofile(folder / f"layer_out.{i}.f32")
    case.same(case.imported(folder)[1], {name: golden[name] for name in ("stages/embed", "layers/0/layer_out", "layers/1/layer_out")})


def types(case):
    golden = case.golden()
    embed, half = golden["stages/embed"], golden["layers/0/q_proj"].astype("f2")
    text, found = case.imported(case.save(**basics(golden), embed=embed.astype("f8"), **{"layers.0.q_proj": half, "layers.0.k_proj": numpy.ones((10, 14), "i4")}))
    expect("layers.0.k_proj (type int32, expected floats)" in text, text)
    case.same(found, {"stages/embed": embed, "layers/0/q_proj": half})


def fused_without_model(case):
    golden = case.golden()
    fused = numpy.concatenate([golden[f"layers/0/{part}_proj"] for part in "qkv"], 1)
    source, out = case.save(**basics(golden), embed=golden["stages/embed"], **{"model.layers.0.self_attn.qkv_proj": fused}), case.folder / "o.h5"
    status, text, error = case.run("import", source, "-o", out)
    expect(status == 0 and "only --model MODEL tells where one ends" in text, text + error)
    case.same(case.imported(source)[1], {"stages/embed": golden["stages/embed"]} | {f"layers/0/{part}_proj": golden[f"layers/0/{part}_proj"] for part in "qkv"})


def every_command(case):
    """compare, diff, debug, batch and invariants take the dump as it is; JSON names it."""
    golden = case.golden("tiny-llama")
    source = case.save(**basics(golden), **{name: rows for name, rows in golden.items() if "/" in name})
    model, file = GOLDEN / "tiny-llama", GOLDEN / "tiny-llama.h5"
    expect(case.run("compare", source, file)[0] == 0, "compare: identical")
    status, text, error = case.run("diff", model, "--golden", file, "--trace", source, "--json", "-")
    expect(status == 0 and json.loads(text)["verdict"] == "parity", f"diff: {status} {error}")
    script = case.folder / "script"
    script.write_text("goto 1.ffn_down\nstats ffn_down\n")
    status, text, error = case.run("debug", model, "--trace", source, "-x", script)
    expect(status == 0, f"debug: {status} {text} {error}")
    cases = case.folder / "cases.json"
    cases.write_text(json.dumps({"case": [{"name": "a", "model": str(model), "trace": str(source)}, {"name": "b", "model": str(model), "golden": str(file), "trace": str(source)}]}))
    status, text, error = case.run("batch", cases)
    expect(status == 0, f"batch: {status} {text} {error}")
    arrays = case.folder / "arrays"
    shutil.copytree(GOLDEN / "imports/arrays", arrays)
    cases.write_text(json.dumps({"case": [{"name": "a", "model": str(GOLDEN / "tiny-gemma3-105"), "trace": str(arrays)}]}))
    expect(case.run("batch", cases, "--json", case.folder / "done.json")[0] == 0, "batch of a folder")
    numpy.save(arrays / "layers/0/attn_norm.npy", numpy.full((1, 6, 105), 0x4000, "u2"))
    expect(case.run("batch", cases, "--resume", "--json", case.folder / "done.json")[0] == 1, "batch: a folder that changed is read again")
    status, text, error = case.run("invariants", model, "--trace", source, "--trace", source)
    expect(status == 0, f"invariants: {status} {text} {error}")
    status, text, error = case.run("audit", model, source, "--json", "-")
    expect(status == 0 and str(source) in text, f"audit: {status} {error}")


def interrupted(case):
    """Ctrl-C ends the import, and nothing of it stays."""
    golden, scratch = case.golden("tiny-llama"), case.folder / "tmp"
    scratch.mkdir()
    arrays = {f"step_{i}/layers.0.layer_out": golden["layers/0/layer_out"][:1] for i in range(20000)}
    source = case.folder / "many.npz"
    numpy.savez(source, input_ids=numpy.ones(20000, "i4"), **arrays)
    environment = os.environ | {"TMPDIR": str(scratch)}
    running = subprocess.Popen([case.program, "import", source, "--model", GOLDEN / "tiny-llama", "-o", case.folder / "out.h5"], env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    expect(running.returncode == 130 and "interrupted" in error, f"{running.returncode} {error}")
    expect(not list(scratch.iterdir()) and not (case.folder / "out.h5").exists(), list(scratch.iterdir()))


def same_stages(case):
    """The importers' table of stages is the program's."""
    sys.path.insert(0, str(GOLDEN))
    from importers.names import STAGES

    found = re.search(r"local stages='([^']*)'", case.run("--completion", "bash")[1]).group(1).split()
    expect(found == list(STAGES), found)


CASES = [heads_first, as_many_heads_as_positions, layout_of_other_layers, residual_pairs, probabilities,
         rows_of_the_last_position, names, unclear_names, generated_states, by_value, exchanged_names,
         doubled_bos, mapped, raw_folder, types, fused_without_model, every_command, interrupted, same_stages]


def main():
    program, twin, failed, expected = shutil.which(sys.argv[1]), "--twin" in sys.argv, 0, 0
    compares = [case for case in CASES if ".same(" in Path(__file__).read_text().split(f"def {case.__name__}(")[1].split("\ndef ")[0]]
    for run in compares if twin else CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(Case(program, folder, twin))
                print(f"{run.__name__}: holds")
            except AssertionError as error:
                print(f"{run.__name__}: {error}")
                failed += 1
        expected += twin
    return 0 if failed == expected else 1


sys.exit(main())
