"""Writes golden/tiny-llama-q4_1.gguf: tiny-llama with its matrices in Q4_1, as llama.cpp's converter lays a llama model
out (q and k rows in the order of adjacent pairs): python3 golden/make_gguf.py FILE
"""

import json
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import load_file

SOURCE = pathlib.Path(__file__).resolve().parent / "tiny-llama"
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def stored_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def pairs(weight, heads):
    """Rows (h, half, i) to (h, i, half)."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def main():
    config = json.loads((SOURCE / "config.json").read_text())
    writer = gguf.GGUFWriter(sys.argv[1], "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    for name, weight in sorted(load_file(SOURCE / "model.safetensors").items()):
        weight = weight.astype(numpy.float32)
        if "q_proj" in name or "k_proj" in name:
            kind = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
            weight = pairs(weight, config[kind])
        stored = stored_name(name)
        if weight.ndim == 1:
            writer.add_tensor(stored, weight)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0 if "embd" in stored else gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(stored, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
