#!/usr/bin/env python3
"""What bringing every stage to the host costs a decoded token. capture.py [MODEL [DEVICE [BOUND]]]; without, SmolLM2 on Mesa's
CPU driver, whose bound is 1.10; on a GPU 1.25."""
import sys

from alternate import alternate, bench, smollm2, verdict

model = sys.argv[1] if len(sys.argv) > 1 else smollm2()
device = sys.argv[2] if len(sys.argv) > 2 else "llvmpipe"
bound = float(sys.argv[3]) if len(sys.argv) > 3 else 1.10


def token(capture):
    return bench(model, "-p", 8, "-n", 16, "--capture", capture, "--device", device)["decode"]["ms_per_token"]["median"]


medians = alternate({"off": lambda: token("off"), "all": lambda: token("all")})
sys.exit(verdict("times as long with capture", medians["all"] / medians["off"], bound, at_least=False))
