"""onnx_runtime.py PROGRAM [--twin]: runs tiny-llama in ONNX Runtime, from a graph built by hand whose nodes' outputs are the stages,
records them by record/lockstep_record.py, and audits what it computed: parity. The twin's graph has one scale of attention 1 % too large, which must be found.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from trace_file import ask, expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "record"))
from lockstep_record import NO_LAYER, Recorder  # noqa: E402

MODEL = ROOT / "golden/tiny-llama"
TOKENS = [3, 17, 99, 204, 5, 6, 77, 410, 12, 300]


class Graph:
    """A graph under construction, and which of its values are stages."""

    def __init__(self):
        self.nodes, self.constants, self.stages, self.n = [], {}, {}, 0

    def constant(self, value, dtype=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        """inputs: names of values, or arrays. Returns the output's name, or a list of them."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        made = [f"value_{self.n + i}" for i in range(outputs)]
        self.n += outputs
        self.nodes.append(helper.make_node(op, names, made, **attributes))
        return made[0] if outputs == 1 else made

    def stage(self, layer, stage, value):
        self.stages[layer, stage] = value
        return value

    def shape(self, value, *dims):
        return self.node("Reshape", value, self.constant(dims, np.int64))

    def run(self, ids):
        outputs = [helper.make_tensor_value_info(v, TensorProto.FLOAT, [None, None]) for v in dict.fromkeys(self.stages.values())]
        graph = helper.make_graph(
            self.nodes, "tiny-llama", [helper.make_tensor_value_info("ids", TensorProto.INT64, [len(ids)])], outputs,
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        values = dict(zip([o.name for o in outputs], session.run(None, {"ids": np.array(ids)})))
        return {key: values[value] for key, value in self.stages.items()}


def build(config, weights, n, scale_factor):
    """The Llama of config.json for n positions."""
    g = Graph()
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    frequencies = 1 / config["rope_parameters"]["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    angles = np.concatenate([np.outer(np.arange(n), frequencies)] * 2, 1)
    mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)

    def linear(x, name):
        return g.node("MatMul", x, weights[name + ".weight"].T)

    def norm(x, name):
        mean = g.node("ReduceMean", g.node("Mul", x, x), g.constant([-1], np.int64))
        root = g.node("Sqrt", g.node("Add", mean, config["rms_norm_eps"]))
        return g.node("Mul", g.node("Div", x, root), weights[name + ".weight"])

    def by_head(x, count):
        return g.node("Transpose", g.shape(x, n, count, dim), perm=[1, 0, 2])

    def joined(x):
        return g.shape(g.node("Transpose", x, perm=[1, 0, 2]), n, -1)

    def rotated(x):
        low, high = g.node("Split", x, outputs=2, axis=-1, num_outputs=2)
        turned = g.node("Concat", g.node("Neg", high), low, axis=-1)
        return g.node("Add", g.node("Mul", x, np.cos(angles)), g.node("Mul", turned, np.sin(angles)))

    def repeated(x):
        wide = g.node("Expand", g.node("Unsqueeze", x, g.constant([1], np.int64)),
                      g.constant([kv_heads, heads // kv_heads, n, dim], np.int64))
        return g.shape(wide, heads, n, dim)

    x = g.stage(None, "embed", g.node("Gather", weights["model.embed_tokens.weight"], "ids"))
    for i in range(config["num_hidden_layers"]):
        name = f"model.layers.{i}."
        y = g.stage(i, "attn_norm", norm(x, name + "input_layernorm"))
        q, k, v = (g.stage(i, f"{p}_proj", linear(y, f"{name}self_attn.{p}_proj")) for p in "qkv")
        q, k, v = rotated(by_head(q, heads)), rotated(by_head(k, kv_heads)), by_head(v, kv_heads)
        g.stage(i, "q_rope", joined(q))
        g.stage(i, "k_rope", joined(k))
        scores = g.node("MatMul", q, g.node("Transpose", repeated(k), perm=[0, 2, 1]))
        scale = dim**-0.5 * (scale_factor if i == 2 else 1)
        shares = g.node("Softmax", g.node("Add", g.node("Mul", scores, scale), mask), axis=-1)
        y = g.stage(i, "attn_out", joined(g.node("MatMul", shares, repeated(v))))
        y = g.stage(i, "o_proj", linear(y, name + "self_attn.o_proj"))
        x = g.stage(i, "attn_resid", g.node("Add", x, y))
        y = g.stage(i, "ffn_norm", norm(x, name + "post_attention_layernorm"))
        gate, up = (g.stage(i, f"ffn_{p}", linear(y, f"{name}mlp.{p}_proj")) for p in ("gate", "up"))
        y = g.stage(i, "ffn_act", g.node("Mul", g.node("Mul", gate, g.node("Sigmoid", gate)), up))
        y = g.stage(i, "ffn_down", linear(y, name + "mlp.down_proj"))
        x = g.stage(i, "layer_out", g.node("Add", x, y))
    y = g.stage(None, "final_norm", norm(x, "model.norm"))
    g.stage(None, "logits", linear(y, "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"))
    return g


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    config, weights = json.loads((MODEL / "config.json").read_text()), load_file(MODEL / "model.safetensors")
    stages = build(config, weights, len(TOKENS), 1.01 if twin else 1).run(TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mine.rec"
        with Recorder(path, f"onnxruntime {onnxruntime.__version__}", "llama", config["num_hidden_layers"]) as recorder:
            recorder.batch(TOKENS)
            for (layer, stage), rows in stages.items():
                recorder.put(stage, rows, NO_LAYER if layer is None else layer)
        status, text, report = ask(program, "audit", MODEL, path)
    print(text)
    if twin:
        first = report["first_divergence"]
        expect(status == 1 and (first["layer"], first["stage"]) == (2, "attn_out"), "the scale is found", (status, first))
    else:
        expect(status == 0 and report["verdict"] == "parity" and not report["coverage"]["undecidable"], "parity", report["verdict"])


main()
