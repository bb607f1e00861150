#!/usr/bin/env python3
"""Writes a safetensors model as GGUF or RDRR: python3 golden/convert.py FOLDER OUTPUT [--q4_k row|col|packed|mixed] [--shard-size N]

OUTPUT that ends in .gguf is a GGUF by llama.cpp's conventions; any other is a folder in DOPPLER's RDRR format. Every family that
lockstep knows. The weights' bits stay as they are, but for --q4_k, which quantises the layers' matrices of an RDRR. Memory: that of
one tensor.
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
        write_gguf(arguments.output, config, tensors)
    else:
        write_rdrr(arguments.output, config, tensors, arguments.q4_k, arguments.shard_size)


main()
