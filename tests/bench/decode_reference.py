#!/usr/bin/env python3
"""A decoded token of SmolLM2 Q4_1: the C reference against llama.cpp on the CPU, two threads each."""
import os
import sys

from alternate import alternate, bench, llama, smollm2, verdict

os.environ["OMP_NUM_THREADS"] = "2"
model = smollm2()
medians = alternate({
    "reference": lambda: bench(model, "-p", 8, "-n", 24, "--on", "reference", "--capture", "off")["decode"]["ms_per_token"]["median"],
    "llama.cpp CPU": lambda: llama(model, 0, 24, 8)["decode_ms"],
})
sys.exit(verdict("share of llama.cpp's speed", medians["llama.cpp CPU"] / medians["reference"], 0.25))
