#!/usr/bin/env python3
"""make_pictures.py [PROGRAM]: makes the picture of this folder's README.md."""

import argparse
import io
from pathlib import Path

import lockstep_notebook as ln
import matplotlib
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
FAULT = "softmax-sizes-swapped@2"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default=HERE.parent / "build" / "lockstep", type=Path)
    program = parser.parse_args().program.resolve()
    golden = HERE.parent / "golden"
    matplotlib.use("Agg")
    report = ln.diff(program, golden / "tiny-gemma3", golden / "tiny-gemma3.h5", "--fault", FAULT)
    figure = plt.figure(figsize=(11, 7))
    ln.who_did_it(figure, report, "engine")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    (HERE / "pictures" / "heat_map.png").write_bytes(ln.small_png(data.getvalue()))


if __name__ == "__main__":
    main()
