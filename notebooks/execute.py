#!/usr/bin/env python3
"""execute.py [--program P] [NOTEBOOK…]: runs notebooks (default: all of this folder) and stores their outputs in
them. tests/check_notebooks.py runs them through execute() and stores nothing."""

import argparse
import base64
from pathlib import Path

import lockstep_notebook as ln
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def notebooks():
    return sorted(HERE.glob("*.ipynb"))


def execute(notebook, program=None, timeout=300):
    """Runs a notebook in this folder, with another program than its parameters cell has. An exception in a cell is raised as
    nbclient's CellExecutionError."""
    cells = notebook.cells
    at = [i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    if len(at) != 1:
        raise ValueError(f"{len(at)} cells are tagged parameters, expected one")
    if program:
        cells.insert(at[0] + 1, nbformat.v4.new_code_cell(f"PROGRAM = {str(program)!r}"))
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(HERE)}})
    client.execute()
    if program:
        del cells[at[0] + 1]
    return notebook


def pictures(notebook):
    """The PNG bytes of all outputs that are pictures."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})]


def tidy(notebook):
    """Removes what differs between runs and machines but is no result, and makes pictures small."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    count = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                png = ln.small_png(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(png).decode()
            if "execution_count" in output:
                output.execution_count = count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, help="in place of build/lockstep")
    parser.add_argument("notebook", nargs="*", type=Path)
    arguments = parser.parse_args()
    program = arguments.program.resolve() if arguments.program else None
    for path in arguments.notebook or notebooks():
        notebook = execute(nbformat.read(path, as_version=4), program)
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {len(pictures(notebook))} pictures, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
