"""Checks `lockstep import` on the samples of golden/imports/: check_imports.py PROGRAM [--twin]

Of each sample a few lines here make the trace by hand; what lockstep imports is the same, bit for bit, and the audit finds parity. The
twin changes one value of each trace made by hand, which must be found.
"""
import collections
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

from asking import lockstep

ROOT = Path(__file__).resolve().parents[3]
GOLDEN, IMPORTS = ROOT / "golden", ROOT / "golden/imports"
LLAMA, GEMMA = GOLDEN / "tiny-llama-105", GOLDEN / "tiny-gemma3-105"
TOKENS, N_PROMPT = [3, 17, 99, 204, 5, 61], 4
MODULES = {
    "attn_norm": "input_layernorm", "q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "layer_out": ""}
OUTER = {"embed": "model.embed_tokens", "final_norm": "model.norm", "logits": "lm_head"}


def paths(n_layers, tails, outer):
    """{dataset of a trace: name of the dump}."""
    inner = {f"layers/{i}/{stage}": f"model.layers.{i}.{tail}".rstrip(".") for i in range(n_layers) for stage, tail in tails.items()}
    return inner | {f"stages/{stage}": name for stage, name in outer.items()}


def modules_npz():
    with numpy.load(IMPORTS / "modules.npz") as file:
        stages = {to: numpy.concatenate([file[f"step_{i}/{name}"][0] for i in range(3)]) for to, name in paths(2, MODULES, OUTER).items()}
    return Sample(LLAMA, stages, 0, N_PROMPT)


def bf16(values):
    """The bits of bfloat16 as float32."""
    return (values.astype(numpy.uint32) << 16).view(numpy.float32)


BF16 = {"storage_dtype": "bfloat16"}


def states_safetensors():
    raw = (IMPORTS / "states.safetensors").read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])

    def array(name):
        first, last = header[name]["data_offsets"]
        return numpy.frombuffer(raw[begin + first : begin + last], "<f4").reshape(header[name]["shape"])

    hidden = array("hidden_states")[:, 0]
    return Sample(GEMMA, {"stages/embed": hidden[0], "layers/0/layer_out": hidden[1], "stages/final_norm": hidden[2], "stages/logits_final": array("logits")[0],
                          "stages/logits": array("logits")[0]}, 0, len(TOKENS))


def states_pt():
    torch = __import__("torch")
    saved = torch.load(IMPORTS / "states.pt", weights_only=True)

    def rows(tensor):
        return tensor.float().numpy(), BF16

    stages = {"stages/embed": rows(saved["hidden_states"][0][0]), "layers/0/layer_out": rows(saved["hidden_states"][1][0]),
              "stages/final_norm": rows(saved["hidden_states"][2][0]), "stages/logits": rows(saved["logits"][0]), "stages/logits_final": rows(saved["logits"][0])}
    for i in range(2):
        stages[f"layers/{i}/attn_probs"] = rows(saved["attentions"][i][0].transpose(0, 1).reshape(len(TOKENS), -1))
    return Sample(GEMMA, stages, 7, len(TOKENS))  # undecided: bfloat16 over whole layers


def arrays():
    stages = {}
    for i in range(2):
        def load(stage):
            return bf16(numpy.load(IMPORTS / f"arrays/layers/{i}/{stage}.npy"))

        stages[f"layers/{i}/attn_norm"] = load("attn_norm")[0], BF16
        stages[f"layers/{i}/q_proj"] = load("q_proj").T, BF16
        for stage in ("q_norm", "k_norm"):
            stages[f"layers/{i}/{stage}"] = load(stage)[0].transpose(1, 0, 2).reshape(len(TOKENS), -1), BF16
    return Sample(GEMMA, stages, 0, len(TOKENS))


def debugger():
    def load(name):
        raw = (IMPORTS / f"debugger/LlamaForCausalLM.{name}.safetensors").read_bytes()
        begin = 8 + int.from_bytes(raw[:8], "little")
        shape = json.loads(raw[8:begin])["data"]["shape"]
        return numpy.frombuffer(raw[begin:], "<f4").reshape(shape)[0]

    stages = {to: load(f"{name}_outputs") for to, name in paths(2, {k: v for k, v in MODULES.items() if v}, OUTER).items()}
    for i in range(2):
        stages[f"layers/{i}/attn_out"] = load(f"model.layers.{i}.self_attn.o_proj_inputs_args_0")
        stages[f"layers/{i}/attn_resid"] = load(f"model.layers.{i}.post_attention_layernorm_inputs_args_0")
        stages[f"layers/{i}/ffn_act"] = load(f"model.layers.{i}.mlp.down_proj_inputs_args_0")
    stages["layers/0/layer_out"], stages["layers/1/layer_out"] = load("model.layers.1_inputs_args_0"), load("model.norm_inputs_args_0")
    return Sample(LLAMA, stages, 0, 3, n_tokens=3)


def sglang():
    torch = __import__("torch")
    passes = [torch.load(path, weights_only=True) for path in sorted((IMPORTS / "sglang/TP0_PP0_Rank0_pid1").iterdir())][1:]

    def rows(name, part=None):
        return numpy.concatenate([(seen[name] if part is None else seen[name][part]).numpy() for seen in passes])

    stages, widths = {"stages/embed": rows("model.embed_tokens")}, [70, 14, 14]
    for i in range(2):
        at = f"model.layers.{i}"
        qkv = numpy.split(rows(f"{at}.self_attn.qkv_proj"), numpy.cumsum(widths)[:-1], 1)
        gate_up = rows(f"{at}.mlp.gate_up_proj")
        layer = {"attn_norm": rows(f"{at}.input_layernorm", 0 if i else None), "q_proj": qkv[0], "k_proj": qkv[1], "v_proj": qkv[2],
                 "attn_out": rows(f"{at}.self_attn.attn"), "o_proj": rows(f"{at}.self_attn.o_proj"),
                 "ffn_norm": rows(f"{at}.post_attention_layernorm", 0), "attn_resid": rows(f"{at}.post_attention_layernorm", 1),
                 "ffn_gate": gate_up[:, :70], "ffn_up": gate_up[:, 70:], "ffn_act": rows(f"{at}.mlp.act_fn"), "ffn_down": rows(f"{at}.mlp.down_proj")}
        stages |= {f"layers/{i}/{stage}": values for stage, values in layer.items()}
    stages["layers/0/layer_out"], stages["layers/1/layer_out"] = rows("model.layers.1.input_layernorm", 1), rows("model.norm", 1)
    stages["layers/1/q_rope"], stages["layers/1/k_rope"] = rows("model.layers.1.self_attn.rotary_emb", 0), rows("model.layers.1.self_attn.rotary_emb", 1)
    logits = numpy.concatenate([seen["logits_processor"].numpy() for seen in passes[1:]])  # a pass late
    stages |= {"stages/final_norm": rows("model.norm", 0)}
    stages |= {f"stages/{stage}": (logits, {"positions": numpy.array([3, 4])}) for stage in ("logits", "logits_final")}
    return Sample(LLAMA, stages, 0, N_PROMPT)


LLAMA_CPP = {
    "attn_norm": "attn_norm-{}.MUL", "q_proj": "Qcur-{}.MUL_MAT", "k_proj": "Kcur-{}.MUL_MAT", "v_proj": "Vcur-{}.MUL_MAT", "q_rope": "Qcur-{}.ROPE",
    "k_rope": "Kcur-{}.ROPE", "attn_out": "kqv_out-{}.CONT", "o_proj": "attn_out-{}.MUL_MAT", "attn_resid": "ffn_inp-{}.ADD",
    "ffn_norm": "ffn_norm-{}.MUL", "ffn_gate": "ffn_gate-{}.MUL_MAT", "ffn_up": "ffn_up-{}.MUL_MAT", "ffn_act": "ffn_swiglu-{}.GLU",
    "ffn_down": "ffn_out-{}.MUL_MAT", "layer_out": "l_out-{}.ADD"}
OUTER_CPP = {"embed": "embd.GET_ROWS", "final_norm": "result_norm.MUL", "logits": "result_output.MUL_MAT", "logits_final": "result_output.MUL_MAT"}


def llama_cpp():
    """Two ubatches of the prompt, one decoded token; of the last layer the rows of the last position of prompt and of decode."""
    with numpy.load(IMPORTS / "llama.cpp.npz") as file:
        def rows(name):
            parts = [file[f"ubatch{u}/{name}"] for u in range(3)]
            return numpy.concatenate([part.reshape(len(part), part.shape[1] * 16) if "ROPE" in name else part[0] for part in parts])

        stages = {f"stages/{stage}": rows(name) for stage, name in OUTER_CPP.items()}
        for i in range(4):
            stages |= {f"layers/{i}/{stage}": rows(name.format(i)) for stage, name in LLAMA_CPP.items()}
            for stage in ("q_proj", "k_proj", "q_rope", "k_rope"):  # pairs (0, 1), (2, 3) … to halves
                pairs = stages[f"layers/{i}/{stage}"].reshape(4, -1, 16)
                stages[f"layers/{i}/{stage}"] = numpy.concatenate([pairs[..., 0::2], pairs[..., 1::2]], -1).reshape(4, -1)
    for name, values in stages.items():
        if len(values) < 4:
            stages[name] = values, {"positions": numpy.array([2, 3])}
    return Sample(GOLDEN / "tiny-llama-q4_1.gguf", stages, 0, 3, n_tokens=4)


# stages: {dataset: rows, or (rows, {attribute: value})}; status: of the audit.
Sample = collections.namedtuple("Sample", "model stages status n_prompt n_tokens", defaults=[len(TOKENS)])
SAMPLES = {"modules.npz": modules_npz, "states.safetensors": states_safetensors, "states.pt": states_pt, "arrays": arrays, "debugger": debugger,
           "sglang": sglang, "llama.cpp.npz": llama_cpp}


def write_by_hand(path, sample, twin):
    with h5py.File(path, "w") as file:
        file.attrs.update(format="lockstep-trace", version=1, producer="hand", model_type="llama", n_layers=2 if sample.model in (LLAMA, GEMMA) else 4)
        file["tokens"] = numpy.array(TOKENS[: sample.n_tokens], "i4")
        file["phase"] = (numpy.arange(sample.n_tokens) >= sample.n_prompt).astype("u1")
        for name, rows in sample.stages.items():
            rows, attributes = rows if isinstance(rows, tuple) else (rows, {})
            rows = numpy.array(rows)
            if twin and name.startswith("layers/0/"):
                rows.flat[0] += 1
            file[name] = rows
            file[name].attrs.update(attributes)


def check_sample(program, folder, name, make, twin):
    if name in ("states.pt", "sglang") and importlib.util.find_spec("torch") is None:
        return "skipped"
    sample = make()
    by_hand, imported = folder / "hand.h5", folder / "imported.h5"
    write_by_hand(by_hand, sample, twin)
    status, out, err = lockstep(program, "import", IMPORTS / name, "--model", sample.model, "-o", imported)
    if status != 0:
        return f"import: {status} {err}"
    status, out, err = lockstep(program, "compare", imported, by_hand, "--json", "-")
    report = json.loads(out)
    if not report["identical"] or any(stage["in"] != "both" for stage in report["stages"]):
        odd = [f"{s['layer']} {s['stage']} in {s['in']}" for s in report["stages"] if not s["identical"]]
        return f"compare: differs: {odd}"
    with h5py.File(imported) as a, h5py.File(by_hand) as b:
        for key in sample.stages:
            for attribute in ("storage_dtype", "positions"):
                if not numpy.array_equal(a[key].attrs.get(attribute), b[key].attrs.get(attribute)):
                    return f"{key}: attribute {attribute}: {a[key].attrs.get(attribute)}"
    status, out, err = lockstep(program, "audit", sample.model, IMPORTS / name)
    return None if status == sample.status else f"audit of the source: {status} {out} {err}"


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    failed = skipped = 0
    for name, make in SAMPLES.items():
        with tempfile.TemporaryDirectory() as folder:
            wrong = check_sample(program, Path(folder), name, make, twin)
        print(f"{name}: {wrong or 'holds'}")
        skipped += wrong == "skipped"
        failed += wrong not in (None, "skipped")
    return 0 if failed == (len(SAMPLES) - skipped if twin else 0) else 1


sys.exit(main())
