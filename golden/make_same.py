#!/usr/bin/env python3
"""Writes golden/same/: two small random models, Gemma 3 and Llama, each as safetensors in bf16, as GGUF and as RDRR with the same
weights, bit for bit; and Llama in Q4_K, as an RDRR in all its layouts and as float32 of gguf's dequantiser. tests/reference_same.c
runs them. The shapes are odd ones, and Gemma's seventh layer makes the pattern of
local and global layers that a GGUF does not say show.
"""
import json
from pathlib import Path

import numpy as np

from lockstep_files import q4_k_read_back, to_bf16, write_rdrr, write_safetensors
from lockstep_gguf import write_gguf

COMMON = {"vocab_size": 67, "hidden_size": 42, "intermediate_size": 50, "num_attention_heads": 3, "num_key_value_heads": 1,
          "head_dim": 14, "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "eos_token_id": 1}
MODELS = {
    "gemma3": COMMON | {
        "model_type": "gemma3_text", "num_hidden_layers": 7, "query_pre_attn_scalar": 14, "sliding_window": 4,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False,
        "layer_types": ["full_attention" if i == 5 else "sliding_attention" for i in range(7)],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "llama": COMMON | {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_act": "silu", "tie_word_embeddings": False,
        "attention_bias": True, "mlp_bias": False, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
}


def shapes(config):
    h, f, kv = config["hidden_size"], config["intermediate_size"], config["num_key_value_heads"] * config["head_dim"]
    q, gemma = config["num_attention_heads"] * config["head_dim"], config["model_type"] != "llama"
    yield "model.embed_tokens.weight", (config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, shape in {"q": (q, h), "k": (kv, h), "v": (kv, h), "o": (h, q)}.items():
            yield f"{layer}self_attn.{name}_proj.weight", shape
            if config["attention_bias"]:
                yield f"{layer}self_attn.{name}_proj.bias", shape[:1]
        for name, shape in {"gate": (f, h), "up": (f, h), "down": (h, f)}.items():
            yield f"{layer}mlp.{name}_proj.weight", shape
        norms = ["input_layernorm", "post_attention_layernorm"]
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if gemma else []
        for name in norms:
            yield f"{layer}{name}.weight", (h,)
        for name in ["q_norm", "k_norm"] if gemma else []:
            yield f"{layer}self_attn.{name}.weight", (config["head_dim"],)
    yield "model.norm.weight", (h,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], h)


def random_tensors(config):
    """In bf16; norms spread around 1, matrices of about unit gain."""
    rng = np.random.default_rng(3)
    center = 0 if config["model_type"].startswith("gemma") else 1
    tensors = {}
    for tensor, shape in shapes(config):
        norm = tensor.endswith("norm.weight")
        values = rng.standard_normal(shape) * (0.4 if norm else shape[-1] ** -0.5) + (center if norm else 0)
        tensors[tensor] = "BF16", to_bf16(values.astype(np.float32))
    return tensors


def write_folder(folder, config, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", tensors)


def main():
    folder = Path(__file__).with_name("same")
    for name, config in MODELS.items():
        tensors = random_tensors(config)
        write_folder(folder / f"{name}-bf16", config, tensors)
        write_gguf(folder / f"{name}-bf16.gguf", config, tensors)
        write_rdrr(folder / f"{name}-rdrr", config, tensors, shard_size=40000)
    config = MODELS["llama"]
    tensors = random_tensors(config)
    write_rdrr(folder / "llama-q4_k-rdrr", config, tensors, "mixed")
    write_folder(folder / "llama-q4_k-f32", config, q4_k_read_back(tensors, "mixed"))


if __name__ == "__main__":
    main()
