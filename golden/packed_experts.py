"""MXFP4 experts that stay packed in their file. An expert is dequantised by transformers' own function when a token chooses it,
and then dropped. All experts as float32 would need 3.2 GB a layer of GPT-OSS 20B, plus a copy for each chosen expert.
"""

import contextlib
import json
import os

import torch
from safetensors import safe_open
from transformers.integrations import moe, mxfp4
from transformers.models.gpt_oss import modeling_gpt_oss

PROJECTIONS = ("gate_up_proj", "down_proj")


class Packed:
    """Takes the place of a module's expert matrices. Indexing it with expert numbers returns which experts were chosen."""

    _is_hf_initialized = True  # keep transformers from filling it with random numbers

    def __init__(self, blocks=None, scales=None, dtype=None):
        self.blocks, self.scales, self.dtype = blocks, scales, dtype  # slices of a file

    def __getitem__(self, ids):
        return Chosen(self, ids.tolist())

    def expert(self, i):
        """[1, in, out]"""
        return mxfp4.convert_moe_packed_tensors(self.blocks[i : i + 1], self.scales[i : i + 1], dtype=self.dtype)


class Chosen:
    """One matrix a row, of the expert chosen there; torch would have gathered them into one tensor."""

    def __init__(self, packed, ids):
        self.packed, self.ids = packed, ids


def _linear(plain):
    """_batched_linear for a Chosen: row by row, with transformers' own function. Each expert is dequantised once."""

    def linear(input, weight, bias=None, is_transposed=False):
        if not isinstance(weight, Chosen):
            return plain(input, weight, bias=bias, is_transposed=is_transposed)
        rows = [None] * len(weight.ids)
        for expert in sorted(set(weight.ids)):
            matrix = weight.packed.expert(expert)
            for i in (i for i, chosen in enumerate(weight.ids) if chosen == expert):
                one = bias[i : i + 1] if bias is not None else None
                rows[i] = plain(input[i : i + 1], matrix, bias=one, is_transposed=is_transposed)
        return torch.cat(rows)

    return linear


moe._batched_linear = _linear(moe._batched_linear)


class _Files:
    """The tensors of a folder of safetensors, as slices that are read when indexed."""

    def __init__(self, folder):
        index = os.path.join(folder, "model.safetensors.index.json")
        self.folder, self.open, self.map = folder, {}, None
        if os.path.exists(index):
            with open(index, encoding="utf-8") as file:
                self.map = json.load(file)["weight_map"]

    def slice(self, name):
        shard = self.map[name] if self.map else "model.safetensors"
        if shard not in self.open:
            self.open[shard] = safe_open(os.path.join(self.folder, shard), framework="pt")
        return self.open[shard].get_slice(name)


@contextlib.contextmanager
def _without_matrices():
    """Creates a model whose experts have no matrices."""
    plain = modeling_gpt_oss.GptOssExperts.__init__

    def light(self, config, *args, **kwargs):
        with torch.device("meta"):
            plain(self, config, *args, **kwargs)
        for name in PROJECTIONS:
            delattr(self, name)
            setattr(self, name, Packed())
            bias = getattr(self, f"{name}_bias")
            setattr(self, f"{name}_bias", torch.nn.Parameter(torch.empty(bias.shape)))

    modeling_gpt_oss.GptOssExperts.__init__ = light
    try:
        yield
    finally:
        modeling_gpt_oss.GptOssExperts.__init__ = plain


def load(auto_model, path, config, dtype, **options):
    """A GPT-OSS model with packed experts. Removes the quantization from config: nothing else in the model is quantised."""
    del config.quantization_config
    with _without_matrices():
        model = auto_model.from_pretrained(path, config=config, dtype=dtype, **options)
    files = _Files(path)
    for i, layer in enumerate(model.model.layers):
        for name in PROJECTIONS:
            tensor = f"model.layers.{i}.mlp.experts.{name}"
            packed = Packed(files.slice(f"{tensor}_blocks"), files.slice(f"{tensor}_scales"), dtype)
            setattr(layer.mlp.experts, name, packed)
    return model
