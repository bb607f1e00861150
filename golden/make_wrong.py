"""Records transformers with one module replaced by a wrong one: traces of an engine whose bug is known.

make_wrong.py [FOLDER]: writes FOLDER/NAME.h5 (default golden/wrong/). They are small: a few positions, and the layers around the
bug. tests/workbench/diagnose/wrong.c says where each bug must be found and what it must be called.
"""

import copy
import importlib
import pathlib
import sys

import h5py
import torch

import exporter

ROOT = pathlib.Path(__file__).resolve().parent
IDS, DECODED = [3, 17, 101, 44, 250, 9, 31, 77], [5]


class MeanSubtracted(torch.nn.Module):
    """LayerNorm in place of RMSNorm."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.eps = norm.weight, norm.variance_epsilon

    def forward(self, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], self.weight, None, self.eps)


class NoOffset(torch.nn.Module):
    """Gemma's norm without the 1 added to its weight."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm._norm(x.float()) * self.norm.weight.float()


def family(model):
    return importlib.import_module(type(model).__module__)


def norm_subtracts_mean(model):
    model.model.layers[2].input_layernorm = MeanSubtracted(model.model.layers[2].input_layernorm)


def gelu_for_silu(model):
    model.model.layers[1].mlp.act_fn = torch.nn.GELU(approximate="tanh")


def rope_of_neighbours(model):
    def turned(x, cos, sin):
        a, b, half = x[..., 0::2], x[..., 1::2], x.shape[-1] // 2
        cos, sin = cos[..., :half], sin[..., :half]
        return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)

    def apply(q, k, cos, sin, unsqueeze_dim=1):
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return turned(q, cos, sin), turned(k, cos, sin)

    family(model).apply_rotary_pos_emb = apply


def kv_repeated_as_block(model):
    family(model).repeat_kv = lambda states, n: states.repeat(1, n, 1, 1)


def attention_unscaled(model):
    model.model.layers[1].self_attn.scaling = 1.0


def mask_shows_the_next(model):
    def shifted(module, args, kwargs):
        mask = kwargs["attention_mask"]
        if mask is not None and mask.shape[-2] == mask.shape[-1]:
            n = mask.shape[-1]
            kwargs["attention_mask"] = torch.full_like(mask, torch.finfo(mask.dtype).min).triu(2) if n > 1 else mask
        return args, kwargs

    model.model.layers[1].self_attn.register_forward_pre_hook(shifted, with_kwargs=True)


def bias_dropped(model):
    model.model.layers[1].self_attn.o_proj.bias = None


def values_of_the_layer_before(model):
    model.model.layers[3].self_attn.v_proj = copy.deepcopy(model.model.layers[2].self_attn.v_proj)  # a copy, so that it has its own hooks


def window_ignored(model):
    """The first layer acts as a global one, in its mask and in its KV cache."""
    attention = model.model.layers[0].self_attn
    model.config.layer_types[0] = "full_attention"
    attention.sliding_window = None
    for holder in (attention, model.model.layers[0]):
        if hasattr(holder, "attention_type"):
            holder.attention_type = "full_attention"


def nothing(model):
    pass


def embedding_scaled_in_bf16(model):
    embed = model.model.embed_tokens
    embed.embed_scale = embed.embed_scale.to(torch.bfloat16).to(torch.float32)


def q_norm_without_offset(model):
    model.model.layers[2].self_attn.q_norm = NoOffset(model.model.layers[2].self_attn.q_norm)


def eps_too_large(model):
    model.model.layers[2].post_attention_layernorm.eps = 0.1


def head_rows_shifted(model):
    head = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features, bias=False)
    head.weight = torch.nn.Parameter(model.lm_head.weight.roll(1, 0))
    model.lm_head = head


# (what is wrong, model, layers to keep, whether to keep the stages after the layers)
WRONG = [
    (norm_subtracts_mean, "tiny-llama", (1, 2), False),
    (gelu_for_silu, "tiny-llama", (0, 1), False),
    (rope_of_neighbours, "tiny-llama", (0, 1), False),
    (kv_repeated_as_block, "tiny-llama", (0, 1), False),
    (attention_unscaled, "tiny-gemma2", (0, 1), False),
    (mask_shows_the_next, "tiny-llama", (0, 1), False),
    (bias_dropped, "tiny-gpt-oss", (0, 1), False),
    (values_of_the_layer_before, "tiny-gemma3", (2, 3), False),
    (window_ignored, "tiny-gemma2", (0, 1), False),
    (embedding_scaled_in_bf16, "tiny-gemma3", (0,), False),
    (q_norm_without_offset, "tiny-gemma3", (1, 2), False),
    (eps_too_large, "tiny-gemma2", (1, 2), False),
    (head_rows_shifted, "tiny-llama", (3,), True),
    (nothing, "tiny-llama", (0, 1), False),
]


def record(spoil, model_name):
    """exporter.record with a model that is changed after loading."""
    plain, names = exporter.load, {}

    def load(path, dtype):
        model = plain(path, dtype)
        names.update({name: getattr(family(model), name, None) for name in ("apply_rotary_pos_emb", "repeat_kv")})
        names["module"] = family(model)
        spoil(model)
        return model

    exporter.load = load
    try:
        return exporter.record(str(ROOT / model_name), IDS, len(DECODED), DECODED)
    finally:
        exporter.load = plain
        module = names.pop("module")
        for name, function in names.items():
            if function is not None:
                setattr(module, name, function)


def write(path, run, layers, tail):
    with h5py.File(path, "w", track_order=False) as file:
        file.attrs.update(format="lockstep-trace", version=1, producer="transformers, with one module wrong")
        file.attrs.update(model_type=run["model_type"], n_layers=run["n_layers"])
        file["tokens"], file["phase"] = run["tokens"], run["phase"]
        for (stage, layer), rows in run["stages"].items():
            if layer in layers:
                file[f"layers/{layer}/{stage}"] = rows.astype("int32") if stage == "router_indices" else rows
            elif layer is None and (stage == "embed" or (tail and not stage.startswith("sample_"))):  # samples are of no interest
                file[f"stages/{stage}"] = rows


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "wrong"
    folder.mkdir(exist_ok=True)
    for spoil, model, layers, tail in WRONG:
        path = folder / f"{spoil.__name__.replace('_', '-')}.h5"
        write(path, record(spoil, model), layers, tail)
        print(path.name, model, path.stat().st_size)


if __name__ == "__main__":
    main()
