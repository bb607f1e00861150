#!/usr/bin/env python3
"""A decoded token of SmolLM2 Q4_1 on Mesa's CPU driver: lockstep against llama.cpp's Vulkan backend."""
import sys

from alternate import alternate, bench, llama, smollm2, verdict

model = smollm2()
medians = alternate({
    "lockstep": lambda: bench(model, "-p", 8, "-n", 12, "--capture", "off", "--device", "llvmpipe")["decode"]["ms_per_token"]["median"],
    "llama.cpp Vulkan": lambda: llama(model, 99, 8, 8)["decode_ms"],
})
sys.exit(verdict("times as fast as llama.cpp", medians["llama.cpp Vulkan"] / medians["lockstep"], 4))
