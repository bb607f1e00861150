"""Checks `lockstep batch` on sixty cases: check_batch.py PROGRAM [--twin]

Every model of golden/, healthy, with faults, and files that cannot be read: each verdict is right. Killed in the middle and gone on
with, only what is missing is run again. A process that dies takes no other case with it. The twin expects parity of a faulty case.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "golden"
MODELS = ["tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss", "tiny-llama"]
SHAPES = ["", "-105", "-odd"]
FAULTS = {
    "tiny-gemma2": ["residual-dropped@0", "norm-no-offset", "embed-scale-missing", "final-softcap-missing"],
    "tiny-gemma3": ["residual-dropped@0", "norm-no-offset", "qk-norm-no-offset", "kv-stale"],
    "tiny-gpt-oss": ["residual-dropped@0", "sinks-missing", "kv-stale", "rope-interleaved"],
    "tiny-llama": ["residual-dropped@0", "kv-stale", "rope-interleaved", "gelu-for-silu"],
}


def expect(true, what):
    if not true:
        sys.exit(what)


def write_cases(folder):
    """Sixty: 24 healthy, 32 faulty, 4 that cannot be read."""
    cases = []
    for model in MODELS:
        for shape in SHAPES:
            pair = {"model": str(GOLDEN / (model + shape)), "golden": str(GOLDEN / (model + shape + ".h5"))}
            cases.append(pair | {"name": f"{model}{shape}"})
            cases.append(pair | {"name": f"{model}{shape} reference", "on": "reference"})
        for shape in SHAPES[:2]:
            pair = {"model": str(GOLDEN / (model + shape)), "golden": str(GOLDEN / (model + shape + ".h5"))}
            for fault in FAULTS[model]:
                cases.append(pair | {"name": f"{model}{shape} {fault}", "fault": fault, "expect": "diverged"})
    broken = folder / "broken.h5"
    broken.write_bytes((GOLDEN / "tiny-llama.h5").read_bytes()[:5000])
    llama = str(GOLDEN / "tiny-llama")
    cases.append({"name": "cut short", "model": llama, "golden": "broken.h5", "expect": "error"})
    cases.append({"name": "no model", "model": "nowhere", "golden": str(GOLDEN / "tiny-llama.h5"), "expect": "error"})
    cases.append({"name": "another model", "model": llama, "golden": str(GOLDEN / "tiny-gemma3.h5"), "expect": "error"})
    cases.append({"name": "no fault", "model": llama, "golden": str(GOLDEN / "tiny-llama.h5"), "fault": "none", "expect": "error"})
    return cases


def save(folder, cases):
    """As TOML: keys and JSON's texts and lists are TOML, too."""
    path = folder / "cases.toml"
    path.write_text("".join("[[case]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in case.items()) for case in cases))
    return path


def results(path):
    return {case["name"]: case for case in json.loads(path.read_text())["cases"]}


def batch(program, *arguments):
    return subprocess.run([program, "batch", *map(str, arguments)], capture_output=True, text=True, check=False)


def check_all(program, cases, path, out):
    done = batch(program, path, "--json", out, "--html", path.parent / "b.html", "--junit", path.parent / "b.xml", "--md", path.parent / "b.md")
    found = results(out)
    wrong = [f"{case['name']}: {found[case['name']]}"[:300] for case in cases if found[case["name"]]["status"] != case.get("expect", "parity")]
    expect(not wrong, f"wrong: {wrong[:3]}")
    expect(done.returncode == 0, f"status {done.returncode}: {done.stderr}")
    expect(done.stdout.startswith("60 cases: 24 parity, 32 diverged, 0 undecided, 4 error; all as expected"), done.stdout[:200])
    for name, case in found.items():
        fault = next((entry.get("fault") for entry in cases if entry["name"] == name), None)
        if fault and case["status"] == "diverged":
            expect(case["report"]["diagnosis"][0]["fault"] == fault.split("@")[0], f"{name}: {case['report']['diagnosis'][:1]}")
    expect("cannot be opened" in found["no model"]["error"], found["no model"]["error"])


def check_killed(program, cases, path, out):
    """Ends a run in the middle; what is done then stays as it is, and is not run again."""
    out.unlink()
    running = subprocess.Popen([program, "batch", path, "--json", out], stdout=subprocess.DEVNULL)
    while not out.exists() or len(results(out)) < 12:
        expect(running.poll() is None, "the run ended before it could be killed")
        time.sleep(0.02)
    running.kill()
    running.wait()
    before = results(out)
    expect(len(before) < len(cases), "the run was killed too late")
    expect(batch(program, path, "--json", out, "--resume").returncode == 0, "gone on with, it fails")
    after = results(out)
    expect(len(after) == len(cases), f"{len(after)} cases after going on")
    again = [name for name in before if after[name] != before[name]]
    expect(not again, f"run again: {again}")


def check_changed(program, folder, path, out):
    """A golden that changed is judged again, and nothing else."""
    pair = [{"name": name, "model": str(GOLDEN / name), "golden": f"{name}.h5"} for name in ("tiny-llama", "tiny-gemma2")]
    for case in pair:
        shutil.copy(GOLDEN / case["golden"], folder)
    changed, target = save(folder, pair), folder / "changed.json"
    expect(batch(program, changed, "--json", target).returncode == 0, "two goldens fail")
    before = results(target)
    shutil.copy(GOLDEN / "tiny-gemma2.h5", folder / "tiny-llama.h5")
    done = batch(program, changed, "--json", target, "--resume")
    after = results(target)
    expect(done.returncode == 3 and after["tiny-llama"]["status"] == "error", "a golden that changed is not judged again")
    expect(after["tiny-gemma2"] == before["tiny-gemma2"], "a golden that did not change is judged again")
    expect(batch(program, changed, "--resume").returncode == 2, "--resume without --json")
    (folder / "other.json").write_text("{}")
    expect(batch(program, changed, "--json", folder / "other.json", "--resume").returncode == 3, "--resume of a stranger's file")


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def check_dying(program, folder, out):
    """A process of a case is killed: that case is an error that says so, the others go on."""
    cases = [{"name": f"{name} {i}", "model": str(GOLDEN / name), "golden": str(GOLDEN / f"{name}.h5")} for i in range(6) for name in ("tiny-llama-long", "tiny-gpt-oss")]
    path, target = save(folder, cases), folder / "dying.json"
    running = subprocess.Popen([program, "batch", path, "--json", target, "--jobs", "1"], stdout=subprocess.PIPE, text=True)
    while not target.exists() or len(results(target)) < 2:
        time.sleep(0.02)
    os.kill(children(running.pid)[0], signal.SIGKILL)
    output, _ = running.communicate()
    errors = [case for case in results(target).values() if case["status"] == "error"]
    expect(running.returncode == 3 and len(errors) == 1 and len(results(target)) == 12, f"status {running.returncode}, errors {errors}")
    expect("signal 9" in errors[0]["error"] and re.search(r"error .*NOT EXPECTED", output), errors[0]["error"])
    expect(batch(program, path, "--json", target, "--resume").returncode == 0, "the case that died is not run again")


def main():
    program, twin = os.path.abspath(sys.argv[1]), "--twin" in sys.argv
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = write_cases(folder)
        expect(len(cases) == 60, f"{len(cases)} cases")
        if twin:
            case = next(case for case in cases if "fault" in case)
            done = batch(program, save(folder, [{key: value for key, value in case.items() if key != "expect"}]))
            expect(done.returncode == 1 and "NOT EXPECTED" in done.stdout, "a divergence that is not expected passes")
            return
        path, out = save(folder, cases), folder / "out.json"
        check_all(program, cases, path, out)
        check_killed(program, cases, path, out)
        check_changed(program, folder, path, out)
        check_dying(program, folder, out)


if __name__ == "__main__":
    main()
