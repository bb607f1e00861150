"""Checks `lockstep batch --dask` on a cluster of two worker processes: check_dask.py PROGRAM [--twin]

One worker is killed in the middle; the table is the same as without Dask. The twin names a scheduler that is not there: one line, and
the status that says that something is absent or cannot be reached.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dask import distributed

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "golden"
FAULTS = [None, "residual-dropped@0", "kv-stale"]
MODELS = ["tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss", "tiny-llama", "tiny-llama-odd", "tiny-gemma3-odd"]


def expect(true, what):
    if not true:
        sys.exit(what)


def write_cases(folder):
    cases = [{"name": "no model", "model": "nowhere", "golden": str(GOLDEN / "tiny-llama.h5"), "expect": "error"}]
    for model in MODELS:
        for fault in FAULTS:
            case = {"name": f"{model} {fault}", "model": str(GOLDEN / model), "golden": str(GOLDEN / f"{model}.h5")}
            cases.append(case | ({"fault": fault, "expect": "diverged"} if fault else {}))
    path = folder / "cases.json"
    path.write_text(json.dumps({"case": cases}))
    return path


def batch(program, *arguments):
    return subprocess.Popen([program, "batch", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def table(path):
    """What a table says of each case, without times."""
    lines = []
    for case in json.loads(path.read_text())["cases"]:
        report = case.get("report") or {"first_divergence": None, "diagnosis": []}
        first = report["first_divergence"] or {}
        lines.append((case["name"], case["status"], first.get("layer"), first.get("stage"), [d["fault"] for d in report["diagnosis"][:1]], case.get("error")))
    return lines


def kill_one(address, out, running):
    """Kills a worker's process once some cases are done."""
    with distributed.Client(address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        while not out.exists() or len(table(out)) < 4:
            expect(running.poll() is None, f"the run ended before a worker could be killed: {running.communicate()}")
            time.sleep(0.02)
        os.kill(next(iter(pids.values())), signal.SIGKILL)


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, here, there = write_cases(folder), folder / "here.json", folder / "there.json"
        if "--twin" in sys.argv:
            done = batch(program, path, "--dask", "tcp://127.0.0.1:9")
            _, words = done.communicate()
            expect(done.returncode == 5 and words.count("\n") == 1 and "127.0.0.1:9" in words, f"{done.returncode}: {words}")
            return
        done = batch(program, path, "--json", here)
        _, words = done.communicate()
        expect(done.returncode == 0, f"without Dask: {done.returncode} {words}")
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as cluster:
            done = batch(program, path, "--dask", cluster.scheduler_address, "--json", there)
            kill_one(cluster.scheduler_address, there, done)
            _, words = done.communicate()
        expect(done.returncode == 0, f"with Dask: {done.returncode} {words}")
        expect(len(table(here)) == 19 and table(here) == table(there), f"other tables: {set(map(str, table(here))) ^ set(map(str, table(there)))}")


if __name__ == "__main__":
    main()
