"""Decoding on a GPU beside llama.cpp's Vulkan backend (the wheel cyllama-vulkan), by turns; medians of five runs:
decode.py LOCKSTEP MODEL… [--rounds N]. Then the cost of capture, by turns in one process. Models of random weights will do:
speed does not depend on the weights."""
import argparse
import os
import sys

import alternate

HERE = os.path.dirname(os.path.abspath(__file__))


def lockstep(program, model, env):
    document = alternate.run_json([program, "bench", model, "-p", 8, "-n", 64, "--capture", "off", "--json", "-"], env)
    decode = document["decode"]
    return {"to_host": decode["ms_per_token"]["median"], "chosen": decode["chosen_on_device_ms"],
            "chained": decode["many_a_submit_ms"], "barriers": document["barriers_per_token"],
            "dispatches": document["dispatches_per_token"], "submits": document["submits_per_token"]}


def llama(model):
    return {"decode": alternate.run_json([sys.executable, os.path.join(HERE, "llama.py"), model, 99, 64, 8])["decode_ms"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lockstep")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libraries", help="LD_LIBRARY_PATH of lockstep alone")
    arguments = parser.parse_args()
    env = dict(os.environ, LD_LIBRARY_PATH=arguments.libraries) if arguments.libraries else None
    for model in arguments.models:
        medians = alternate.measure({"lockstep": lambda: lockstep(arguments.lockstep, model, env),
                                     "llama": lambda: llama(model)}, arguments.rounds)
        ours, theirs = medians["lockstep"], medians["llama"]["decode"]
        print(f"{os.path.basename(model)}: llama.cpp {theirs:.3f} ms a token")
        for what in ("to_host", "chosen", "chained"):
            print(f"  lockstep, {what:8s} {ours[what]:.3f} ms a token: {theirs / ours[what]:.2f} times its speed")
        print(f"  {ours['dispatches']:.0f} dispatches, {ours['barriers']:.0f} barriers, {ours['submits']:.0f} submits a token")
        captured = alternate.run_json([arguments.lockstep, "bench", model, "-p", 8, "-n", 32, "--capture", "both",
                                       "--json", "-"], env)["captured"]
        for what in ("to_host", "chosen_on_device", "many_a_submit", "streamed"):
            one = captured[what]
            print(f"  capture, {what}: {one['all_ms']:.3f} / {one['off_ms']:.3f} ms: {one['ratio']:.3f}", flush=True)


main()
