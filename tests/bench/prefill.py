#!/usr/bin/env python3
"""Prefill against llama.cpp's Vulkan backend: prefill.py [MODEL [TOKENS [DEVICE]]]. Default: SmolLM2, 128 tokens, Mesa's CPU
driver. A GPU must reach half of llama.cpp's speed."""
import sys

from alternate import alternate, bench, llama, smollm2, verdict

model = sys.argv[1] if len(sys.argv) > 1 else smollm2()
tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 128
device = sys.argv[3] if len(sys.argv) > 3 else "llvmpipe"
print("audited:", bench(model, "-p", tokens, "-n", 1, "--device", device)["quality"]["checked"])
medians = alternate({
    "lockstep": lambda: bench(model, "-p", tokens, "-n", 1, "--capture", "off", "--device", device)["prefill"]["ms"],
    "llama.cpp Vulkan": lambda: llama(model, 99, 1, tokens)["prefill_ms"],
})
sys.exit(verdict("share of llama.cpp's speed", medians["llama.cpp Vulkan"] / medians["lockstep"], 0.5))
