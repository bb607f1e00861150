"""record_mlx.py PROGRAM [--twin]: runs tiny-llama in MLX on the CPU (its fast norm, rope and attention), prefill and decode, recorded by
record/lockstep_record.py, and audits the record: parity. The twin's attention in layer 2 has a scale 1 % too large, which is found.
"""
import json
import pathlib
import sys
import tempfile

import mlx.core as mx
import numpy as np

from trace_file import ask, expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "record"))
from lockstep_record import Recorder  # noqa: E402

MODEL = ROOT / "golden/tiny-llama"
PROMPT, DECODED = [3, 17, 99, 204, 5, 6, 77], [410, 12, 300]


class Llama:
    def __init__(self, recorder, twin):
        self.config = json.loads((MODEL / "config.json").read_text())
        self.weights = mx.load(str(MODEL / "model.safetensors"))
        self.recorder, self.twin, self.cache = recorder, twin, {}

    def put(self, stage, values, layer=-1):
        """values: [1, positions, width] or [1, heads, positions, dim]."""
        if values.ndim == 4:
            values = values.swapaxes(1, 2).reshape(1, values.shape[2], -1)
        self.recorder.put(stage, np.array(values[0]), layer)
        return values

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T

    def norm(self, x, name):
        return mx.fast.rms_norm(x, self.weights[name + ".weight"], self.config["rms_norm_eps"])

    def attention(self, x, i, offset):
        c, n = self.config, x.shape[1]
        heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        name, parts = f"model.layers.{i}.self_attn.", {}
        for part, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            rows = self.put(f"{part}_proj", self.linear(x, f"{name}{part}_proj"), i)
            parts[part] = rows.reshape(1, n, count, dim).swapaxes(1, 2)
        for part in "qk":
            parts[part] = mx.fast.rope(parts[part], dim, traditional=False, base=c["rope_parameters"]["rope_theta"], scale=1.0, offset=offset)
            self.put(f"{part}_rope", parts[part], i)
        for part in "kv":
            parts[part] = self.cache[part, i] = mx.concatenate([self.cache[part, i], parts[part]], 2) if offset else parts[part]
        scale = dim**-0.5 * (1.01 if self.twin and i == 2 else 1)
        out = mx.fast.scaled_dot_product_attention(parts["q"], parts["k"], parts["v"], scale=scale, mask="causal" if n > 1 else None)
        return self.put("o_proj", self.linear(self.put("attn_out", out, i), name + "o_proj"), i)

    def forward(self, tokens, offset):
        self.recorder.batch(tokens, decode=offset > 0)
        x = self.put("embed", self.weights["model.embed_tokens.weight"][mx.array([tokens])])
        for i in range(self.config["num_hidden_layers"]):
            name = f"model.layers.{i}."
            y = self.put("attn_norm", self.norm(x, name + "input_layernorm"), i)
            x = self.put("attn_resid", x + self.attention(y, i, offset), i)
            y = self.put("ffn_norm", self.norm(x, name + "post_attention_layernorm"), i)
            gate = self.put("ffn_gate", self.linear(y, name + "mlp.gate_proj"), i)
            up = self.put("ffn_up", self.linear(y, name + "mlp.up_proj"), i)
            y = self.put("ffn_act", gate * mx.sigmoid(gate) * up, i)
            x = self.put("layer_out", x + self.put("ffn_down", self.linear(y, name + "mlp.down_proj"), i), i)
        y = self.put("final_norm", self.norm(x, "model.norm"))
        self.put("logits", self.linear(y, "model.embed_tokens"))


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    mx.set_default_device(mx.cpu)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mine.rec"
        with Recorder(path, f"mlx {mx.__version__}", "llama", 4) as recorder:
            model = Llama(recorder, twin)
            model.forward(PROMPT, 0)
            for i, token in enumerate(DECODED):
                model.forward([token], len(PROMPT) + i)
        status, text, report = ask(program, "audit", MODEL, path)
    print(text)
    if twin:
        first = report["first_divergence"]
        expect(status == 1 and (first["layer"], first["stage"]) == (2, "attn_out"), "the scale is found", (status, first))
    else:
        expect(status == 0 and report["verdict"] == "parity" and not report["coverage"]["undecidable"], "parity", report["verdict"])


main()
