"""What `lockstep batch` has of Python: cases in TOML, and cases on a Dask scheduler."""

import json
import subprocess
import tomllib


def toml_as_json(path):
    with open(path, "rb") as file:
        return json.dumps(tomllib.load(file))


def run_case(program, case):
    """One case, in a process of its own on whatever machine this runs. Returns its result, JSON text."""
    done = subprocess.run([program, "batch", "-", "--json", "-"], input=case, capture_output=True, text=True, check=False)
    try:
        return json.dumps(json.loads(done.stdout)["cases"][0])
    except (ValueError, KeyError, IndexError):
        words = done.stderr.strip().splitlines()[-1:] or [f"{program} ended with status {done.returncode}"]
        result = {"status": "error", "as_expected": False, "seconds": 0, "error": words[0], "exit_status": done.returncode}
        return json.dumps(result)


def run_on_dask(address, program, cases):
    """Yields (index, result) as cases end. A case whose worker dies goes to another one; that is the scheduler's work."""
    from dask import distributed

    with distributed.Client(address, timeout="10s") as client:
        client.upload_file(__file__)  # the workers do not have this module
        futures = {client.submit(run_case, program, case, pure=False): index for index, case in enumerate(cases)}
        for future in distributed.as_completed(futures):
            if future.status == "error":
                words = f"Dask: {' '.join(str(future.exception()).split())}"
                yield futures[future], json.dumps({"status": "error", "as_expected": False, "seconds": 0, "error": words, "exit_status": 6})
            else:
                yield futures[future], future.result()
