"""record_transformers.py PROGRAM [--twin]: records transformers' generate() of four families by record/lockstep_record.py, in float32 and
bfloat16, and audits the records: parity, every stage judged. The twin's engine has a weight of one norm doubled, which is found.
"""
import pathlib
import sys
import tempfile

import torch
import transformers

from trace_file import ask, expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "record"))
from lockstep_record import record  # noqa: E402

MODELS = ("tiny-llama", "tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss")
TOKENS = [3, 17, 101, 44, 250, 9, 31, 77, 5, 12]


def load(name, dtype):
    path = ROOT / "golden" / name
    options = {"dtype": dtype, "attn_implementation": "eager", "local_files_only": True}
    if getattr(transformers.AutoConfig.from_pretrained(path), "quantization_config", None):
        options["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(path, **options).eval()


def check(program, name, dtype, folder, twin):
    model, path = load(name, dtype), pathlib.Path(folder) / "mine.rec"
    if twin:
        model.model.layers[1].input_layernorm.weight.data[5] *= 2
    with record(model, path):
        model.generate(torch.tensor([TOKENS]), max_new_tokens=4, do_sample=False)
    status, text, report = ask(program, "audit", ROOT / "golden" / name, path)
    if twin:
        first = report["first_divergence"]
        expect(status == 1 and (first["layer"], first["stage"]) == (1, "attn_norm"), f"{name} {dtype}: the weight is found", (status, text))
        return
    expect(status == 0 and report["verdict"] == "parity", f"{name} {dtype}: parity", (status, text))
    missing = {missing["stage"] for missing in report["coverage"]["missing"]}
    expect(missing <= {"logits_final"}, f"{name} {dtype}: every stage is recorded", missing)


def main():
    for name in MODELS:
        for dtype in (torch.float32, torch.bfloat16):
            with tempfile.TemporaryDirectory() as folder:
                check(sys.argv[1], name, dtype, folder, "--twin" in sys.argv)
            print(f"{name} {dtype}: holds")


main()
