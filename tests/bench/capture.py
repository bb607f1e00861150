#!/usr/bin/env python3
"""The cost of copying every stage of a decoded token to the host: capture.py [MODEL [DEVICE [BOUND]]]. Default: SmolLM2 on Mesa's
CPU driver, at most 1.10 times the time without. On a GPU, give 1.25."""
import sys

from alternate import alternate, bench, smollm2, verdict

model = sys.argv[1] if len(sys.argv) > 1 else smollm2()
device = sys.argv[2] if len(sys.argv) > 2 else "llvmpipe"
bound = float(sys.argv[3]) if len(sys.argv) > 3 else 1.10


def token(capture):
    return bench(model, "-p", 8, "-n", 16, "--capture", capture, "--device", device)["decode"]["ms_per_token"]["median"]


medians = alternate({"off": lambda: token("off"), "all": lambda: token("all")})
sys.exit(verdict("times as long with capture", medians["all"] / medians["off"], bound, at_least=False))
