#!/usr/bin/env python3
"""Writes golden/tiny-llama-q4_1.gguf, tiny-llama with its matrices in Q4_1 and the embedding in Q8_0, and golden/llama-q4_k-packed,
an RDRR as DOPPLER's first converters wrote it: each matrix in Q4_K as one stream of blocks of 256, which rows of 264 and 280 do not
begin with (postmortem 2025-12-18 gemma3-q4k-garbage-output).
"""
from pathlib import Path

import gguf

from lockstep_files import read_safetensors, write_rdrr
from lockstep_gguf import write_gguf
from make_same import MODELS, random_tensors

GOLDEN = Path(__file__).resolve().parent
PACKED = MODELS["llama"] | {"hidden_size": 264, "intermediate_size": 280, "head_dim": 66, "num_attention_heads": 4,
                            "num_key_value_heads": 2, "attention_bias": False, "tie_word_embeddings": True}


def main():
    config, tensors = read_safetensors(GOLDEN / "tiny-llama")
    kinds = gguf.GGMLQuantizationType
    write_gguf(GOLDEN / "tiny-llama-q4_1.gguf", config, tensors, lambda name: kinds.Q8_0 if "embed" in name else kinds.Q4_1)
    write_rdrr(GOLDEN / "llama-q4_k-packed", PACKED, random_tensors(PACKED), "packed")


main()
