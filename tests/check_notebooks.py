#!/usr/bin/env python3
"""check_notebooks.py PROGRAM [--twin]: executes every notebook and stores nothing. No cell may fail, there must be pictures that
are not empty, and the committed outputs must be such a run, and small. --twin: notebooks that break each of these must be found."""

import argparse
import copy
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import execute  # noqa: E402
import nbformat  # noqa: E402
from nbclient.exceptions import CellExecutionError  # noqa: E402
from PIL import Image  # noqa: E402

LARGEST = 150_000
SMALLEST_PICTURE = 3_000
FEWEST_COLOURS = 16
EXPECTED = {
    "a_public_bug",
    "a_trace_of_llama_cpp",
    "drift_by_layer",
    "from_symptom_to_name",
    "heat_map_of_a_faulty_run",
    "quantised_beside_unquantised",
}


def wrong_outputs(notebook):
    """Lists what is wrong with these outputs, one line each."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    wrong = [f"cell {i}: {output.ename}" for i, cell in enumerate(cells) for output in cell.outputs if output.output_type == "error"]
    pictures = execute.pictures(notebook)
    if not pictures:
        wrong.append("no picture")
    for i, png in enumerate(pictures):
        colours = Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24)
        if len(png) < SMALLEST_PICTURE or len(colours) < FEWEST_COLOURS:
            wrong.append(f"picture {i} is empty: {len(png)} bytes, {len(colours)} colours")
    return wrong


def wrong_run(notebook, program):
    try:
        return wrong_outputs(execute.execute(copy.deepcopy(notebook), program))
    except CellExecutionError as error:
        return [f"a cell fails: {error.ename}: {error.evalue}"]


def check(program):
    paths = {path.stem: path for path in execute.notebooks()}
    wrong = [f"{name}: not there" for name in EXPECTED - set(paths)]
    for name, path in paths.items():
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        size = path.stat().st_size
        wrong += [f"{name}: {size} bytes, at most {LARGEST} expected"] if size > LARGEST else []
        wrong += [f"{name}, as committed: {line}" for line in wrong_outputs(notebook)]
        wrong += [f"{name}, executed: {line}" for line in wrong_run(notebook, program)]
    return wrong


def spoiled(*sources):
    cells = [nbformat.v4.new_code_cell("PROGRAM = None", metadata={"tags": ["parameters"]})]
    return nbformat.v4.new_notebook(cells=cells + [nbformat.v4.new_code_cell(source) for source in sources])


def check_twin(program):
    """Each notebook is wrong in one way. The last is right, so the others fail for the reason that they should."""
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2], label='a line')\nplt.legend()\nplt.show()"
    report = "import lockstep_notebook as ln\nln.diff(PROGRAM, '../golden/tiny-llama', '../golden/tiny-llama.h5')"
    cases = {
        "a failing cell": (spoiled(plot, "assert False, 'planted'"), "a cell fails: AssertionError"),
        "a program that refuses": (spoiled(plot, report.replace("tiny-llama'", "absent'")), "a cell fails: RuntimeError"),
        "no picture": (spoiled("print(1)"), "no picture"),
        "an empty picture": (spoiled("import matplotlib.pyplot as plt\nplt.figure()\nplt.axis('off')\nplt.show()"), "picture 0 is empty"),
        "nothing wrong": (spoiled(report, plot), ""),
    }
    wrong = []
    for name, (notebook, expected) in cases.items():
        found = wrong_run(notebook, program)
        if (expected and not any(line.startswith(expected) for line in found)) or (not expected and found):
            wrong.append(f"{name}: found {found}, expected {expected or 'nothing'}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--twin", action="store_true")
    arguments = parser.parse_args()
    wrong = (check_twin if arguments.twin else check)(arguments.program.resolve())
    print("\n".join(wrong) or "the notebooks run and draw")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
