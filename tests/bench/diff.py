#!/usr/bin/env python3
"""`lockstep diff` of SmolLM2 with its golden, 10 positions on both sides, from start to end."""
import subprocess
import sys
import time

from alternate import ROOT, alternate, program, smollm2, verdict


def diff():
    start = time.perf_counter()
    subprocess.run([program(), "diff", smollm2(), "--golden", ROOT / "golden/smollm2-color-of-the-sky.h5"], check=True,
                   stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


sys.exit(verdict("seconds", alternate({"diff": diff})["diff"] / 1e3, 15, at_least=False))
