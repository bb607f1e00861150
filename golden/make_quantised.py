#!/usr/bin/env python3
"""Writes three quantised models into golden/:

tiny-llama-q4_1.gguf   tiny-llama with matrices in Q4_1 and the embedding in Q8_0
llama-formats.gguf     each matrix in a different format
llama-q4_k-packed      an RDRR as DOPPLER's first converters wrote it: each matrix is one stream of Q4_K blocks of 256. Rows of 264
                       and 280 values start inside a block (postmortem 2025-12-18 gemma3-q4k-garbage-output).
"""
from pathlib import Path

import gguf
import numpy as np

import lockstep_gguf
from lockstep_files import read_safetensors, write_rdrr
from lockstep_gguf import KIND, write_gguf
from make_same import MODELS, random_tensors

GOLDEN = Path(__file__).resolve().parent
PACKED = MODELS["llama"] | {"hidden_size": 264, "intermediate_size": 280, "head_dim": 66, "num_attention_heads": 4,
                            "num_key_value_heads": 2, "attention_bias": False, "tie_word_embeddings": True}

FORMATS = MODELS["llama"] | {"num_hidden_layers": 1, "hidden_size": 256, "intermediate_size": 256, "head_dim": 32,
                             "num_attention_heads": 4, "num_key_value_heads": 1, "attention_bias": False}
KINDS = {"q_proj": KIND.Q4_0, "k_proj": KIND.Q5_0, "v_proj": KIND.Q5_1, "o_proj": KIND.Q8_0, "gate_proj": KIND.Q4_K,
         "up_proj": KIND.Q5_K, "down_proj": KIND.Q6_K, "embed_tokens": KIND.Q4_1, "lm_head": KIND.F16}
# Formats that gguf cannot quantise to: bytes a block, where its f16 values are, and values that spread weights by about 1/16.
RANDOM_BLOCKS = {KIND.Q4_K: (144, {0: 3e-4, 2: 2.2e-3}), KIND.Q5_K: (176, {0: 1.5e-4, 2: 2.3e-3}), KIND.Q6_K: (210, {208: 6.2e-5})}


def quantise(values, kind):
    if kind not in RANDOM_BLOCKS:
        return gguf_quantise(values, kind)
    n_bytes, halves = RANDOM_BLOCKS[kind]
    blocks = np.random.default_rng(int(kind)).integers(0, 256, (values.size // 256, n_bytes), np.uint8)
    for at, value in halves.items():
        blocks[:, at:at + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return blocks.reshape(values.shape[0], -1)


gguf_quantise = gguf.quants.quantize


def main():
    config, tensors = read_safetensors(GOLDEN / "tiny-llama")
    kinds = gguf.GGMLQuantizationType
    write_gguf(GOLDEN / "tiny-llama-q4_1.gguf", config, tensors, lambda name: kinds.Q8_0 if "embed" in name else kinds.Q4_1)
    lockstep_gguf.gguf.quants.quantize = quantise
    write_gguf(GOLDEN / "llama-formats.gguf", FORMATS, random_tensors(FORMATS), lambda name: KINDS[name.split(".")[-2]])
    write_rdrr(GOLDEN / "llama-q4_k-packed", PACKED, random_tensors(PACKED), "packed")


main()
