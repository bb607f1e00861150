"""Writes a random model of a real model's full shape:
python3 golden/make_full.py NAME FOLDER [--gguf FILE] [--rdrr FOLDER] [--set KEY=VALUE]... [--seed N]

The small models of golden/ never overflow f16, never have a large vocabulary and never need a second buffer. These do, and their
weights have the statistics of real ones. Some dims of the residual are outliers; the norms after attention and FFN multiply them by
up to 55.8 (before Gemma's +1). So hidden states grow, measured over 8 positions: in Gemma 3 1B from 400 after the first layer to
15,000 after the last (18,600 at most), in Gemma 2 2B to 23,000, in two layers of GPT-OSS to 15,000.

FOLDER gets safetensors in bf16. --gguf and --rdrr also write the same weights in these formats, as convert.py does.
--set changes a value of config.json before the tensors are made: num_hidden_layers=2, vocab_size=4096. Only numpy is needed, and
gguf for a GGUF.
Each tensor has its own stream of random numbers, seeded by its name: its bits are the same on every machine, whatever else is in
the model. A tensor is drawn and written in pieces of PIECE values, so that memory stays small.
"""
import argparse
import json
import struct
from math import prod
from pathlib import Path

import numpy as np

from lockstep_files import read_safetensors, to_bf16, write_rdrr
from lockstep_random import Stream

PIECE = 1 << 22
OUTLIERS = 6  # dims of the residual
PEAK = 55.8  # the largest norm weight
OUTLIER_ROWS = {"gemma3_text": 160, "gemma2": 40}  # factor of the first outlier's rows in o_proj and down_proj

GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "head_dim": 256, "query_pre_attn_scalar": 256,
         "tie_word_embeddings": True, "attention_bias": False, "torch_dtype": "bfloat16", "num_hidden_layers": 26,
         "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
MODELS = {
    "gemma3-1b": GEMMA | {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "vocab_size": 262144, "hidden_size": 1152,
        "intermediate_size": 6912, "num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": 512,
        "max_position_embeddings": 32768,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "gemma2-2b": GEMMA | {
        "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "vocab_size": 256000, "hidden_size": 2304,
        "intermediate_size": 9216, "num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "gpt-oss-20b": {
        "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "vocab_size": 201088, "hidden_size": 2880,
        "intermediate_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "attention_bias": True,
        "hidden_act": "silu", "swiglu_limit": 7.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "max_position_embeddings": 131072, "pad_token_id": None, "eos_token_id": None,
        "rope_parameters": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096,
                            "rope_theta": 150000.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False},
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}},
}
PATTERN = {"gemma3_text": 6, "gemma2": 2, "gpt_oss": 2}  # every Nth layer is global


def shapes(config):
    """Yields (name, dtype, shape) of every tensor, in the order of the file."""
    h, f, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    family, experts = config["model_type"], config.get("num_local_experts")
    yield "model.embed_tokens.weight", "BF16", (config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, shape in {"q": (q, h), "k": (kv, h), "v": (kv, h), "o": (h, q)}.items():
            yield f"{layer}self_attn.{name}_proj.weight", "BF16", shape
            if config["attention_bias"]:
                yield f"{layer}self_attn.{name}_proj.bias", "BF16", shape[:1]
        if experts:
            yield f"{layer}self_attn.sinks", "BF16", (config["num_attention_heads"],)
            yield f"{layer}mlp.router.weight", "BF16", (experts, h)
            yield f"{layer}mlp.router.bias", "BF16", (experts,)
            for name, rows, columns in [("gate_up_proj", 2 * f, h), ("down_proj", h, f)]:
                yield f"{layer}mlp.experts.{name}_blocks", "U8", (experts, rows, columns // 32, 16)
                yield f"{layer}mlp.experts.{name}_scales", "U8", (experts, rows, columns // 32)
                yield f"{layer}mlp.experts.{name}_bias", "BF16", (experts, rows)
        else:
            for name, shape in {"gate": (f, h), "up": (f, h), "down": (h, f)}.items():
                yield f"{layer}mlp.{name}_proj.weight", "BF16", shape
        norms = ["input_layernorm", "post_attention_layernorm"]
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if family.startswith("gemma") else []
        for name in norms:
            yield f"{layer}{name}.weight", "BF16", (h,)
        for name in ["q_norm", "k_norm"] if family == "gemma3_text" else []:
            yield f"{layer}self_attn.{name}.weight", "BF16", (d,)
    yield "model.norm.weight", "BF16", (h,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", "BF16", (config["vocab_size"], h)


class Maker:
    """Draws the tensors of one model, piece by piece."""

    def __init__(self, config, seed):
        self.config, self.seed = config, seed
        self.outliers = Stream(seed, "outliers").choice(config["hidden_size"], OUTLIERS, replace=False)
        self.gemma = config["model_type"] != "gpt_oss"
        self.first_rows = OUTLIER_ROWS.get(config["model_type"])
        # Nibble of e2m1 for each random byte: normally distributed, with a standard deviation of 2.
        codes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        normal = np.sort(2 * Stream(seed, "nibbles").standard_normal(256))
        self.nibbles = np.abs(np.abs(normal)[:, None] - codes).argmin(1).astype(np.uint8) | (8 * (normal < 0)).astype(np.uint8)

    def peak(self, name):
        """The largest weight of a norm after attention or FFN: a tenth of PEAK in the first layer, PEAK after a quarter of the layers."""
        return PEAK * min(1, 0.1 + 4 * int(name.split(".")[2]) / self.config["num_hidden_layers"])

    def norm(self, name, rng, n):
        """Norms before a matmul make outliers smaller, as trained ones do. Gemma's norms after a matmul make them larger."""
        if n != self.config["hidden_size"]:  # q_norm, k_norm
            return 0.3 * rng.standard_normal(n)
        if self.gemma and ("post_attention" in name or "post_feedforward" in name):
            weight = -0.5 + 0.3 * rng.standard_normal(n)
            weight[self.outliers] = self.peak(name) * rng.uniform(0.3, 1, OUTLIERS)
            weight[self.outliers[0]] = self.peak(name)
            return weight
        final = name == "model.norm.weight"
        weight = rng.normal(3, 1, n)
        weight[self.outliers] = rng.uniform(0.5, 1, OUTLIERS) if final else rng.uniform(0, 0.3, OUTLIERS)
        return weight - (1 if self.gemma and not final else 0)

    def vector(self, name, rng, shape):
        if "norm" in name:
            return self.norm(name, rng, shape[0])
        values = 0.3 * rng.standard_normal(shape)
        if name.endswith("down_proj_bias"):  # makes GPT-OSS's residual grow: it has no norm after its experts
            values[:, self.outliers] = 15000 / self.config["num_hidden_layers"] * rng.uniform(0.3, 1, OUTLIERS)
            values[:, self.outliers[0]] = 15000 / self.config["num_hidden_layers"]
        return values

    def matrix(self, name, rng, shape):
        """Rows of about unit gain. In Gemma, rows of o_proj and down_proj for outlier dims are larger, most of all for the first."""
        rows, columns = shape
        scale = np.float32(0.03 if "embed_tokens" in name else columns ** -0.5)
        step = max(1, PIECE // columns)
        for first in range(0, rows, step):
            values = scale * rng.standard_normal((min(step, rows - first), columns), np.float32)
            if self.gemma and (".o_proj." in name or ".down_proj." in name):
                here = self.outliers[(self.outliers >= first) & (self.outliers < first + step)]
                values[here - first] *= np.where(here == self.outliers[0], self.first_rows, 20)[:, None]
            yield values

    def pieces(self, name, dtype, shape):
        """Yields the tensor's bytes as arrays."""
        rng = Stream(self.seed, name)
        if name.endswith("_scales"):
            yield rng.integers(127 - 8, 127 - 6, shape, np.uint8, endpoint=True)
        elif name.endswith("_blocks"):
            for first in range(0, prod(shape), PIECE):
                drawn = self.nibbles[rng.integers(0, 256, (min(PIECE, prod(shape) - first), 2), np.uint8)]
                yield drawn[:, 0] | drawn[:, 1] << 4
        elif len(shape) == 2 and not name.endswith("_bias"):
            for values in self.matrix(name, rng, shape):
                yield to_bf16(values)
        else:
            yield to_bf16(self.vector(name, rng, shape))


def write(folder, config, seed):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors, header, at = list(shapes(config)), {}, 0
    for name, dtype, shape in tensors:
        size = prod(shape) * (2 if dtype == "BF16" else 1)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    maker = Maker(config, seed)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for piece in maker.pieces(*tensor):
                file.write(np.ascontiguousarray(piece).data)
    assert (folder / "model.safetensors").stat().st_size == 8 + len(text) + at


def configure(name, changes):
    config = dict(MODELS[name])
    for change in changes:
        key, _, value = change.partition("=")
        if key not in config:
            raise SystemExit(f"--set: found {key!r}, expected one of {', '.join(config)}")
        config[key] = json.loads(value)
    every = PATTERN[config["model_type"]]
    config["layer_types"] = ["sliding_attention" if (i + 1) % every else "full_attention"
                             for i in range(config["num_hidden_layers"])]
    return config


def main():
    parser = argparse.ArgumentParser(description="writes a random model of a real model's shape as bf16 safetensors")
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("folder")
    parser.add_argument("--gguf", metavar="FILE", help="the same model as GGUF")
    parser.add_argument("--rdrr", metavar="FOLDER", help="the same model as RDRR")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value of config.json, as JSON")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write(options.folder, configure(options.name, options.set), options.seed)
    if options.gguf or options.rdrr:
        model = read_safetensors(options.folder)
    if options.gguf:
        from lockstep_gguf import write_gguf

        write_gguf(options.gguf, *model, loads_in_llama_cpp=True)
    if options.rdrr:
        write_rdrr(options.rdrr, *model)


if __name__ == "__main__":
    main()
