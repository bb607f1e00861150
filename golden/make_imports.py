"""make_imports.py [FOLDER]: writes the samples of golden/imports/, each by the program that dumps so, where it runs here; else after its
own code (README.md there says which). Needs requirements-golden.txt."""

import pathlib
import sys

import numpy
import torch
import transformers

GOLDEN = pathlib.Path(__file__).resolve().parent


def load(name, dtype=torch.float32):
    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=dtype, attn_implementation="eager").eval()


TOKENS = [3, 17, 99, 204, 5, 61]
N_PROMPT = 4


def modules(name):
    """What a user's hooks on modules see: prefill, then one token at a time."""
    model, calls = load(name), []
    hooks = [
        module.register_forward_hook(lambda _, args, output, path=path: calls[-1].update({path: (output[0] if isinstance(output, tuple) else output).numpy().copy()}))
        for path, module in model.named_modules()
        if path and not path.endswith(("rotary_emb", "act_fn", "layers", "model"))
    ]
    cache = None
    with torch.no_grad():
        for batch in [TOKENS[:N_PROMPT], *([token] for token in TOKENS[N_PROMPT:])]:
            calls.append({"input_ids": numpy.array([batch])})
            cache = model(input_ids=torch.tensor([batch]), past_key_values=cache, use_cache=True).past_key_values
    for hook in hooks:
        hook.remove()
    return calls


def write_modules(folder):
    """All forward passes in one file; the number of each stands in front."""
    numpy.savez_compressed(folder / "modules.npz", **{f"step_{i}/{path}": value for i, call in enumerate(modules("tiny-llama-105")) for path, value in call.items()})


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "imports"
    folder.mkdir(exist_ok=True)
    for name, function in list(globals().items()):
        if name.startswith("write_"):
            function(folder)
            print(name.removeprefix("write_"))


if __name__ == "__main__":
    main()
