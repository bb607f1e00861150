"""Writes a model as GGUF, by the conventions of llama.cpp's convert_hf_to_gguf.py: vectors in F32; Gemma's norms with the +1 added;
Llama's rows of q and k in the order of adjacent pairs; GPT-OSS's experts with gate and up apart, in GGUF's block order.

Each tensor is made just before it is written, so that one at a time is in memory.
"""
import math

import gguf
import numpy as np

from lockstep_files import text_config, to_float32

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA, "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS}
KIND = gguf.GGMLQuantizationType


def permute(data, heads):
    """Reorders rows from (head, half, i) to (head, i, half)."""
    rows = data.shape[0] // heads
    return data.reshape(heads, 2, rows // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def mxfp4(blocks, scales):
    """Converts transformers' blocks, whose byte i holds elements 2i and 2i + 1, to GGUF's: a scale, then bytes with elements i and
    i + 16."""
    elements = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    packed = elements[..., :16] | elements[..., 16:] << 4
    return np.concatenate([scales[..., None], packed], -1).reshape(*blocks.shape[:2], -1)


def llama3_factors(rope, dim):
    """The divisor of each frequency. Source: LlamaModel.generate_extra_tensors; computed in float32, as there."""
    base, f32 = np.float32(rope["rope_theta"]), np.float32
    original, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    factors = []
    for freq in f32(1) / base ** (np.arange(0, dim, 2, dtype=np.float32) / f32(dim)):
        length = f32(2 * math.pi) / freq
        smooth = (f32(original) / length - f32(low)) / f32(high - low)
        inside = f32(1) / ((f32(1) - smooth) / f32(rope["factor"]) + smooth)
        factors.append(1 if length < original / high else rope["factor"] if length > original / low else inside)
    return np.array(factors, np.float32)


# What a GGUF does not hold: the length of the pattern of local and global layers, and values that readers assume.
PATTERNS = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2}


def check_sayable(config):
    """Fails if a GGUF could not hold all that the config says."""
    rope, gpt_oss = ropes_of(config), config["model_type"] == "gpt_oss"
    assumed = {
        "query_pre_attn_scalar": (config.get("query_pre_attn_scalar", config["head_dim"]), config["head_dim"]),
        "swiglu_limit": (config.get("swiglu_limit", 7.0), 7.0),
        "truncate": (rope.get("truncate", True), not gpt_oss) if rope["rope_type"] == "yarn" else (0, 0),
    }
    for key, (value, expected) in assumed.items():
        if value != expected:
            raise SystemExit(f"config.json: {key}: found {value}, expected {expected}: a GGUF cannot say another")


def ropes_of(config):
    """The rope parameters of global layers."""
    ropes = config["rope_parameters"]
    return ropes.get("full_attention", ropes)


def add_rope(writer, config):
    rope = ropes_of(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast", 32.0))
        writer.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow", 1.0))


def add_metadata(writer, config):
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    add_rope(writer, config)
    if config["model_type"] == "llama":
        writer.add_rope_dimension_count(config["head_dim"])
    else:
        writer.add_sliding_window(config["sliding_window"])
        types, period = config["layer_types"], PATTERNS[config["model_type"]]
        if any((kind == "full_attention") != ((i + 1) % period == 0) for i, kind in enumerate(types)):
            writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in types])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if config["model_type"] == "gpt_oss":
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    for key, add in (("bos", writer.add_bos_token_id), ("eos", writer.add_eos_token_id), ("pad", writer.add_pad_token_id)):
        if isinstance(config.get(f"{key}_token_id"), int):
            add(config[f"{key}_token_id"])


def expert_parts(tensors):
    """Yields (name, kind, shape, function that makes the array) of the experts: gate, up and down, each [experts, out, in]."""
    for name, (dtype, data) in tensors.items():
        if ".mlp.experts." not in name or name.endswith("_scales"):
            continue
        prefix, _, part = name.rpartition(".")
        both = "gate_up" in part
        for i, stored in enumerate(["gate_proj", "up_proj"] if both else ["down_proj"]):
            rows = slice(i, None, 2 if both else 1)
            if part.endswith("_bias"):
                shape = data[:, rows].shape
                yield f"{prefix}.{stored}.bias", KIND.F32, shape, lambda d=data, t=dtype, r=rows: to_float32(t, d[:, r])
            elif part.endswith("_blocks"):
                scales = tensors[name.replace("_blocks", "_scales")][1]
                shape = (*data[:, rows].shape[:2], 32 * data.shape[2])
                yield f"{prefix}.{stored}.weight", KIND.MXFP4, shape, lambda d=data, s=scales, r=rows: mxfp4(d[:, r], s[:, r])
            else:  # [experts, in, out]
                turned = data.swapaxes(1, 2)[:, rows]
                yield f"{prefix}.{stored}.weight", KIND[dtype], turned.shape, lambda t=turned: t


def dense_parts(config, tensors, quantise):
    """Yields the same of all other tensors. quantise: maps a matrix's name to its kind; None: unchanged."""
    gemma, llama = config["model_type"].startswith("gemma"), config["model_type"] == "llama"
    heads = {".q_proj.": config["num_attention_heads"], ".k_proj.": config["num_key_value_heads"]} if llama else {}

    def make(name, dtype, data, kind):
        for part, n in heads.items():
            data = permute(data, n) if part in name else data
        if data.ndim == 1:
            return to_float32(dtype, data) + np.float32(1 if gemma and name.endswith("norm.weight") else 0)
        return data if kind.name == dtype else gguf.quants.quantize(to_float32(dtype, data), kind)

    for name, (dtype, data) in tensors.items():
        if ".mlp.experts." not in name:
            kind = KIND.F32 if data.ndim == 1 else quantise(name) if quantise else KIND[dtype]
            stored = name + (".weight" if name.endswith("sinks") else "")
            yield stored, kind, data.shape, lambda n=name, t=dtype, d=data, k=kind: make(n, t, d, k)


def all_parts(config, tensors, quantise):
    """Yields tensors with their names in GGUF."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], config["num_hidden_layers"])
    for name, *part in [*dense_parts(config, tensors, quantise), *expert_parts(tensors)]:
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise SystemExit(f"{name}: no name in a GGUF of {config['model_type']}")
        yield stored, *part
    rope = ropes_of(config)
    if rope["rope_type"] == "llama3":
        yield "rope_freqs.weight", KIND.F32, (config["head_dim"] // 2,), lambda: llama3_factors(rope, config["head_dim"])


def write_gguf(path, config, tensors, quantise=None, loads_in_llama_cpp=False):
    """quantise: maps a matrix's name to the kind to quantise it to; None: all stay unchanged. loads_in_llama_cpp: says that there is no
    tokenizer, without which llama.cpp refuses the file."""
    config = text_config(config)
    check_sayable(config)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config["model_type"]]])
    add_metadata(writer, config)
    if loads_in_llama_cpp:
        writer.add_tokenizer_model("none")
    parts = list(all_parts(config, tensors, quantise))
    for stored, kind, shape, _ in parts:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(stored, shape, np.dtype(np.float32), math.prod(shape) // block * size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, _, _, make in parts:
        writer.write_tensor_data(np.ascontiguousarray(make()))
    writer.close()
