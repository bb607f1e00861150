#!/usr/bin/env python3
"""Writes a safetensors model as GGUF or RDRR: python3 golden/convert.py FOLDER OUTPUT [--q4_k row|col|packed|mixed] [--shard-size N]

If OUTPUT ends in .gguf, it becomes a GGUF by llama.cpp's conventions; otherwise a folder in DOPPLER's RDRR format. All families
that lockstep knows are supported. The weights keep their bits, unless --q4_k quantises the layers' matrices of an RDRR. One
tensor at a time is in memory.
"""
import argparse

from lockstep_files import read_safetensors, write_rdrr
from lockstep_gguf import write_gguf


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--q4_k", choices=["row", "col", "packed", "mixed"])
    parser.add_argument("--shard-size", type=int, default=64 << 20)
    arguments = parser.parse_args()
    config, tensors = read_safetensors(arguments.folder)
    if arguments.output.endswith(".gguf"):
        write_gguf(arguments.output, config, tensors, loads_in_llama_cpp=True)
    else:
        write_rdrr(arguments.output, config, tensors, arguments.q4_k, arguments.shard_size)


main()
