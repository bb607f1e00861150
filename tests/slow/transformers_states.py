"""transformers_states.py PROGRAM [--twin]: records transformers' output_hidden_states of four families, and audits them.

Recorded as users do it at first, the last state (which is after the final norm) as the last layer_out: a mistake of the recording, and
named so. As docs/traces.md has it: parity in float32; in bfloat16 parity or undecided, never diverged. The twin's engine has a weight
of one norm doubled, which no right recording hides.
"""
import pathlib
import sys
import tempfile

import torch
import transformers

from trace_file import ask, expect, write_trace

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden"
MODELS = ("tiny-llama", "tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss")
TOKENS = [3, 17, 101, 44, 250, 9, 31, 77, 5, 12]


def load(name, dtype):
    config = transformers.AutoConfig.from_pretrained(GOLDEN / name)
    options = {"dtype": dtype, "attn_implementation": "eager", "local_files_only": True}
    if getattr(config, "quantization_config", None):
        options["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / name, **options).eval()


def states(model, last_is_layer_out):
    with torch.no_grad():
        out = model(torch.tensor([TOKENS]), output_hidden_states=True)
    hidden = [h[0].float().numpy() for h in out.hidden_states]
    stages = {(None, "embed"): hidden[0], (None, "logits_final"): out.logits[0].float().numpy()}
    for i, rows in enumerate(hidden[1:] if last_is_layer_out else hidden[1:-1]):
        stages[i, "layer_out"] = rows
    if not last_is_layer_out:
        stages[None, "final_norm"] = hidden[-1]
    return stages


def audit(program, name, model, stages, **declared):
    with tempfile.NamedTemporaryFile(suffix=".h5") as trace:
        write_trace(trace.name, model.config.model_type, TOKENS, len(TOKENS), stages, n_layers=model.config.num_hidden_layers,
                    producer="transformers", **declared)
        return ask(program, "audit", GOLDEN / name, trace.name)


def check(program, name, twin):
    model = load(name, torch.float32)
    if twin:
        model.model.layers[1].input_layernorm.weight.data[5] *= 2
    status, text, report = audit(program, name, model, states(model, True))
    kinds = [d["kind"] for d in report["diagnosis"]]
    expect(status == 1 and kinds == ["recording"], f"{name}, last state as layer_out: a recording", (status, kinds, text))
    status, text, report = audit(program, name, model, states(model, False))
    expect(status == 0 and report["verdict"] == "parity", f"{name}, put right: parity", (status, text))
    model = load(name, torch.bfloat16)
    for declared in ({}, {"storage_dtype": "bfloat16", "weights_dtype": "bfloat16"}):
        status, text, _ = audit(program, name, model, states(model, False), **declared)
        expect(status in (0, 7), f"{name} in bfloat16, declared {declared}: parity or undecided", (status, text))


def main():
    program, twin, failed = sys.argv[1], "--twin" in sys.argv, 0
    for name in MODELS:
        try:
            check(program, name, twin)
            print(f"{name}: holds")
        except AssertionError as error:
            print(error)
            failed += 1
    return 0 if failed == (len(MODELS) if twin else 0) else 1


sys.exit(main())
