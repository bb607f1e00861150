#!/usr/bin/env python3
"""Writes golden/same/: small random models of Gemma 3, Gemma 2, Llama, Llama with llama3's rope, and GPT-OSS. Each is written as
safetensors in bf16, as GGUF and as RDRR, with the same weights bit for bit. Llama is also written in Q4_K, as an RDRR in all
layouts, and as the float32 values that gguf dequantises it to. tests/reference/same.c runs them.

Shapes are odd. Gemma 3 has seven layers, so that the pattern of local and global layers, which a GGUF does not hold, matters.
"""
import json
from pathlib import Path

import numpy as np

from lockstep_files import q4_k_read_back, to_bf16, write_rdrr, write_safetensors
from lockstep_gguf import write_gguf
from make_full import shapes

COMMON = {"vocab_size": 67, "hidden_size": 42, "intermediate_size": 50, "num_attention_heads": 3, "num_key_value_heads": 1,
          "head_dim": 14, "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "eos_token_id": 1}
MODELS = {
    "gemma3": COMMON | {
        "model_type": "gemma3_text", "num_hidden_layers": 7, "query_pre_attn_scalar": 14, "sliding_window": 4,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False,
        "layer_types": ["full_attention" if i == 5 else "sliding_attention" for i in range(7)],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "gemma2": COMMON | {
        "model_type": "gemma2", "num_hidden_layers": 3, "query_pre_attn_scalar": 14, "sliding_window": 4,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False,
        "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "llama": COMMON | {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_act": "silu", "tie_word_embeddings": False,
        "attention_bias": True, "mlp_bias": False, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "llama3-rope": COMMON | {  # frequencies below, between and above the two limits
        "model_type": "llama", "num_hidden_layers": 2, "hidden_act": "silu", "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128}},
    "gpt-oss": COMMON | {
        "model_type": "gpt_oss", "num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 32, "hidden_act": "silu",
        "num_local_experts": 5, "num_experts_per_tok": 2, "swiglu_limit": 7.0, "sliding_window": 4, "attention_bias": True,
        "tie_word_embeddings": False, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0,
                            "beta_fast": 16.0, "beta_slow": 1.0, "truncate": False},
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}},
}


def random_tensors(config):
    """Random bf16 weights: norms spread around 1, matrices with about unit gain."""
    rng = np.random.default_rng(3)
    center = 0 if config["model_type"].startswith("gemma") else 1
    tensors = {}
    for tensor, dtype, shape in shapes(config):
        if dtype == "U8":
            scales = tensor.endswith("_scales")
            tensors[tensor] = "U8", rng.integers(122 if scales else 0, 126 if scales else 256, shape, np.uint8)
            continue
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
        if config["rope_parameters"].get("rope_type") != "llama3":  # RDRR cannot say it
            write_rdrr(folder / f"{name}-rdrr", config, tensors, shard_size=40000)
    config = MODELS["llama"]
    tensors = random_tensors(config)
    write_rdrr(folder / "llama-q4_k-rdrr", config, tensors, "mixed")
    write_folder(folder / "llama-q4_k-f32", config, q4_k_read_back(tensors, "mixed"))


if __name__ == "__main__":
    main()
