"""make_imports.py [FOLDER]: writes the samples of golden/imports/, each by the program that dumps so, where it runs here; else after its
own code (README.md there says which). Needs requirements-golden.txt."""

import pathlib
import sys

import numpy
import safetensors.torch
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


def states(name, dtype, **options):
    """What a script that runs the model already has: the output with its hidden states."""
    with torch.no_grad():
        return load(name, dtype)(torch.tensor([TOKENS]), output_hidden_states=True, use_cache=False, **options)


def write_states(folder):
    """Stacked, in float32; and as the tuples that they are, in bfloat16."""
    output = states("tiny-gemma3-105", torch.float32)
    safetensors.torch.save_file(
        {"input_ids": torch.tensor([TOKENS]), "hidden_states": torch.stack(output.hidden_states), "logits": output.logits.contiguous()},
        folder / "states.safetensors", metadata={"model_type": "gemma3_text"})
    output = states("tiny-gemma3-105", torch.bfloat16, output_attentions=True)
    kept = {"input_ids": torch.tensor([TOKENS]), "weights_dtype": "bfloat16"}
    torch.save(kept | {key: output[key] for key in ("hidden_states", "attentions", "logits")}, folder / "states.pt")


def write_arrays(folder):
    """A folder of .npy under lockstep's names: heads first, transposed, bfloat16 in uint16."""
    model, taken = load("tiny-gemma3-105", torch.bfloat16), {}

    def take(name):
        return lambda module, args, output: taken.update({name: output.contiguous().view(torch.uint16).numpy().copy()})

    for i, layer in enumerate(model.model.layers):
        for stage, path in (("attn_norm", "input_layernorm"), ("q_proj", "self_attn.q_proj"), ("q_norm", "self_attn.q_norm"), ("k_norm", "self_attn.k_norm")):
            layer.get_submodule(path).register_forward_hook(take(f"layers/{i}/{stage}"))
    with torch.no_grad():
        model(torch.tensor([TOKENS]))
    for i in range(len(model.model.layers)):
        taken[f"layers/{i}/q_proj"] = taken[f"layers/{i}/q_proj"][0].T
    for name, array in {"tokens": numpy.array(TOKENS), "weights_dtype": numpy.array("bfloat16"), **taken}.items():
        path = folder / "arrays" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        numpy.save(path, array)


def write_debugger(folder):
    """transformers' own: the tree of calls, and a file a tensor."""
    model = load("tiny-llama-105")
    with transformers.model_addition_debugger_context(model, debug_path=str(folder / "debugger"), do_prune_layers=False, use_repr=False):
        model.forward(torch.tensor([TOKENS[:3]]), use_cache=False)


def sglang_passes(model):
    """What SGLang's hooks see in each forward pass, called and shaped as its modules are: norms add the residual, q, k and v are one
    product, and so are gate and up."""
    core, heads = model.model, model.config.num_attention_heads
    n_kv, dim = model.config.num_key_value_heads, model.config.head_dim
    rope = transformers.models.llama.modeling_llama.apply_rotary_pos_emb
    keys, values, late, begin = [], [], {}, 0
    for batch in [TOKENS[:N_PROMPT], *([token] for token in TOKENS[N_PROMPT:])]:
        seen, late = dict(late), {}
        positions = torch.arange(begin, begin + len(batch))
        begin += len(batch)
        x, residual = core.embed_tokens(torch.tensor(batch)), None
        seen["model.embed_tokens"] = x
        cos, sin = core.rotary_emb(x[None], positions[None])
        for i, layer in enumerate(core.layers):
            at, attention, mlp = f"model.layers.{i}", layer.self_attn, layer.mlp
            residual = x if residual is None else x + residual
            x = layer.input_layernorm(residual)
            seen[f"{at}.input_layernorm"] = [x, residual] if i else x
            q, k, v = (part(x) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
            seen[f"{at}.self_attn.qkv_proj"] = torch.cat([q, k, v], -1)
            q, k = rope(*(part.view(1, len(batch), -1, dim).transpose(1, 2) for part in (q, k)), cos, sin)
            keys, values = (keys, values) if i < len(keys) else (keys + [[]], values + [[]])
            keys[i].append(k)
            values[i].append(v.view(1, len(batch), n_kv, dim).transpose(1, 2))
            flat = [part[0].transpose(0, 1).reshape(len(batch), -1) for part in (q, k)]
            for other in range(len(core.layers)):  # one module serves all layers, so that its hooks name them all
                seen[f"model.layers.{other}.self_attn.rotary_emb"] = flat
            scores = q @ torch.cat(keys[i], 2).repeat_interleave(heads // n_kv, 1).transpose(2, 3) * dim**-0.5
            hidden = torch.arange(begin)[None] > positions[:, None]
            probs = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1)
            x = (probs @ torch.cat(values[i], 2).repeat_interleave(heads // n_kv, 1))[0].transpose(0, 1).reshape(len(batch), -1)
            seen[f"{at}.self_attn.attn"] = x
            seen[f"{at}.self_attn.o_proj"] = x = attention.o_proj(x)
            residual = x + residual
            x = layer.post_attention_layernorm(residual)
            seen[f"{at}.post_attention_layernorm"] = [x, residual]
            gate, up = mlp.gate_proj(x), mlp.up_proj(x)
            seen[f"{at}.mlp.gate_up_proj"] = torch.cat([gate, up], -1)
            seen[f"{at}.mlp.act_fn"] = x = mlp.act_fn(gate) * up
            seen[f"{at}.mlp.down_proj"] = x = mlp.down_proj(x)
        residual = x + residual
        x = core.norm(residual)
        seen["model.norm"] = [x, residual]
        seen |= {"model.forward_batch_info.input_ids": torch.tensor(batch), "model.forward_batch_info.seq_lens": torch.tensor([begin]),
                 "model.forward_batch_info.positions": positions}
        late = {"model": x, "logits_processor": model.lm_head(x[-1:])}
        yield seen


def write_sglang(folder):
    """After its tensor_dump_forward_hook.py; a pass of another sequence, which warms the server up, comes first."""
    ranked = folder / "sglang" / "TP0_PP0_Rank0_pid1"
    ranked.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        passes = list(sglang_passes(load("tiny-llama-105")))
    warm = {"model.forward_batch_info.input_ids": torch.tensor([1]), "model.forward_batch_info.positions": torch.tensor([0])}
    for i, seen in enumerate([warm, *passes]):
        torch.save(seen, ranked / f"Pass{i:05d}.pt")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "imports"
    folder.mkdir(exist_ok=True)
    for name, function in list(globals().items()):
        if name.startswith("write_"):
            function(folder)
            print(name.removeprefix("write_"))


if __name__ == "__main__":
    main()
