"""What the scripts in this folder share. Two sides are measured by turns in one run, so that other work on the machine reaches
both. Medians are compared, and their ratio must reach a bound. A script that lacks something says so in one line and ends
with 77."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WHEEL = "cyllama-vulkan"  # llama.cpp with its Vulkan backend
RUNS = int(os.environ.get("RUNS", "5"))


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def program():
    path = pathlib.Path(os.environ.get("LOCKSTEP", ROOT / "build" / "lockstep"))
    return str(path) if path.exists() else skip(f"no {path}: build first, or set LOCKSTEP")


def smollm2():
    path = pathlib.Path(os.environ.get("MODEL", ROOT / ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    return str(path) if path.exists() else skip(f"no {path}: ./demo fetches it, or set MODEL")


def python_with_llama():
    """The Python of a virtual environment with llama.cpp in it. Makes the environment on first use."""
    given = os.environ.get("LLAMA_PYTHON")
    if given:
        return given
    folder = ROOT / ".cache" / "bench"
    python = folder / "bin" / "python"
    if subprocess.run([python, "-c", "import cyllama"], capture_output=True).returncode if python.exists() else True:
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "-q", WHEEL, "gguf", "numpy"]
        if subprocess.run(pip, capture_output=True).returncode:
            skip(f"pip cannot install {WHEEL}")
    return str(python)


def bench(*arguments):
    """`lockstep bench` as its JSON."""
    out = subprocess.run([program(), "bench", *map(str, arguments), "--json", "-"], capture_output=True, text=True)
    if out.returncode not in (0, 1):
        skip(out.stderr.strip())
    document = json.loads(out.stdout)
    assert document["quality"]["ok"], document["quality"]
    return document


def llama(model, layers_on_gpu, n_decode, n_prompt, threads=2):
    """llama.cpp: {"prefill_ms", "decode_ms"}."""
    environment = dict(os.environ, GGML_VK_VISIBLE_DEVICES="0")
    command = [python_with_llama(), HERE / "llama.py", model, layers_on_gpu, n_decode, n_prompt, threads]
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
    if out.returncode:
        skip(f"llama.cpp: {(out.stderr.strip() or 'it failed').splitlines()[-1]}")
    return json.loads(out.stdout.strip().splitlines()[-1])


def run_json(command, env=None):
    """Parses the last line of a command's output that is JSON, or all of it."""
    output = subprocess.run([str(part) for part in command], env=env, check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    try:
        return json.loads(output)
    except json.JSONDecodeError:
        return json.loads(output.strip().splitlines()[-1])


def by_turns(sides, rounds):
    """Returns {name: [result of each round]}."""
    taken = {name: [] for name in sides}
    for _ in range(rounds):
        for name, once in sides.items():
            taken[name].append(once())
    return taken


def measure(sides, rounds=RUNS):
    """sides: {name: function that measures once and returns {what: number}}. Runs them by turns, `rounds` times each.
    Returns {name: {what: median}}."""
    return {name: {what: statistics.median(one[what] for one in runs) for what in runs[0]}
            for name, runs in by_turns(sides, rounds).items()}


def alternate(sides, runs=RUNS):
    """sides: {name: function that returns milliseconds}. Runs them by turns; prints and returns the medians."""
    times = by_turns(sides, runs)
    for name, values in times.items():
        listed = " ".join(f"{v:.4g}" for v in values)
        print(f"  {name:<24} median {statistics.median(values):9.4g} ms   ({listed})")
    return {name: statistics.median(values) for name, values in times.items()}


def verdict(what, ratio, bound, at_least=True):
    """Prints the ratio. Returns the exit status: 0 if it reaches the bound, else 1."""
    holds = ratio >= bound if at_least else ratio <= bound
    print(f"{what}: {ratio:.3g}, must be at {'least' if at_least else 'most'} {bound:g}: {'holds' if holds else 'DOES NOT HOLD'}")
    return 0 if holds else 1
