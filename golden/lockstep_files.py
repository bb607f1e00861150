"""Reading safetensors, and writing one model in other files' conventions, with numpy alone (and gguf, for GGUF). bf16 tensors are
uint16 arrays: their bytes are moved, never rounded.

Tensors are {name: (dtype, array)}, dtype "F32", "F16" or "BF16", names and shapes those of transformers.
"""
import hashlib
import json
import struct
from pathlib import Path

import numpy as np

LAYOUTS = ["row", "col", "packed"]
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8}


def read_safetensors(folder):
    """config.json and all tensors of a folder."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        raw = path.read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8:8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                data = np.frombuffer(raw[8 + length + begin:8 + length + end], NUMPY[entry["dtype"]])
                tensors[name] = entry["dtype"], data.reshape(entry["shape"])
    return json.loads((Path(folder) / "config.json").read_text()), tensors


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [at, at + data.nbytes]}
        at += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(d.tobytes() for _, d in tensors.values()))


def to_bf16(values):
    """float32 to bf16, nearest even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def to_float32(dtype, data):
    return (data.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else data.astype(np.float32)


# GGUF, by the conventions of llama.cpp's convert_hf_to_gguf.py: vectors in F32, Gemma's norms with the +1 in them, q's and k's
# rows of Llama in the order of adjacent pairs.

def permute(data, heads):
    rows = data.shape[0] // heads
    return data.reshape(heads, 2, rows // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def write_gguf(path, config, tensors):
    import gguf

    gemma = config["model_type"] != "llama"
    arch = gguf.MODEL_ARCH.GEMMA3 if gemma else gguf.MODEL_ARCH.LLAMA
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
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
    ropes = config["rope_parameters"]
    rope = ropes["full_attention"] if gemma else ropes
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if gemma:
        writer.add_sliding_window(config["sliding_window"])
    else:
        writer.add_rope_dimension_count(config["head_dim"])
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, (dtype, data) in tensors.items():
        if data.ndim == 1 or "norm" in name:
            data = to_float32(dtype, data) + np.float32(1 if gemma and name.endswith("norm.weight") else 0)
            dtype = "F32"
        if not gemma and (".q_proj." in name or ".k_proj." in name):
            data = permute(data, config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"])
        data = np.ascontiguousarray(data)
        kind = gguf.GGMLQuantizationType[dtype]
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(stored, data.view(np.uint8) if dtype == "BF16" else data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# RDRR, as clocksmith/doppler's docs/FORMATS.md describes it and its converter writes it.

def quantize_q4_k(rows):
    """[n, 256] to [n, 144]: plain rounding to each run's range, which is what DOPPLER's quantizer.js does."""
    runs = rows.reshape(-1, 8, 32).astype(np.float32)
    low = np.minimum(runs.min(-1), 0)
    scale, minimum = (runs.max(-1) - low) / 15, -low
    d = (scale.max(-1) / 63).astype(np.float16)
    dmin = (minimum.max(-1) / 63).astype(np.float16)

    def six_bits(values, unit):
        unit = unit.astype(np.float32)[:, None]
        return np.clip(np.rint(np.divide(values, unit, out=np.zeros_like(values), where=unit > 0)), 0, 63).astype(np.uint8)

    s, m = six_bits(scale, d), six_bits(minimum, dmin)
    step = d.astype(np.float32)[:, None] * s
    offset = dmin.astype(np.float32)[:, None] * m
    shifted = runs + offset[..., None]
    q = np.clip(np.rint(np.divide(shifted, step[..., None], out=np.zeros_like(shifted), where=step[..., None] > 0)), 0, 15)
    q = q.astype(np.uint8).reshape(-1, 4, 2, 32)
    block = np.empty((len(runs), 144), np.uint8)
    block[:, 0:2], block[:, 2:4] = d.view(np.uint8).reshape(-1, 2), dmin.view(np.uint8).reshape(-1, 2)
    block[:, 4:8] = s[:, :4] | s[:, 4:] >> 4 << 6
    block[:, 8:12] = m[:, :4] | m[:, 4:] >> 4 << 6
    block[:, 12:16] = (s[:, 4:] & 15) | (m[:, 4:] & 15) << 4
    block[:, 16:] = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)
    return block


def q4_k_bytes(matrix, layout):
    """The blocks of a matrix [out, in]: "row" pads each row to whole blocks, "col" transposes first, "packed" is one stream."""
    if layout == "col":
        matrix = matrix.T
    rows = matrix.reshape(1, -1) if layout == "packed" else matrix
    padded = np.zeros((rows.shape[0], -(-rows.shape[1] // 256) * 256), np.float32)
    padded[:, :rows.shape[1]] = rows
    return quantize_q4_k(padded.reshape(-1, 256)).tobytes()


def q4_k_values(payload, shape, layout):
    """What gguf's dequantiser makes of q4_k_bytes."""
    from gguf import GGMLQuantizationType, quants

    rows = shape if layout == "row" else shape[::-1] if layout == "col" else (1, shape[0] * shape[1])
    values = quants.dequantize(np.frombuffer(payload, np.uint8).reshape(-1, 144), GGMLQuantizationType.Q4_K)
    matrix = values.reshape(rows[0], -1)[:, :rows[1]]
    return np.ascontiguousarray(matrix.T if layout == "col" else matrix.reshape(shape))


def rdrr_manifest(config, tensors):
    """The sections that do not depend on how the weights are stored."""
    gemma = config["model_type"] != "llama"
    sandwich = "model.layers.0.pre_feedforward_layernorm.weight" in tensors
    qk_norm = "model.layers.0.self_attn.q_norm.weight" in tensors
    ropes = config["rope_parameters"]
    rope = ropes.get("full_attention", ropes)
    local = ropes.get("sliding_attention")
    linear = rope["rope_type"] == "linear"
    types = config.get("layer_types")
    pattern = {"type": "custom", "layerTypes": types} if types and len(set(types)) > 1 else {"type": "uniform", "layerTypes": None}
    return {
        "version": 1, "modelId": config["model_type"] + "-test", "modelType": "transformer", "hashAlgorithm": "sha256",
        "eos_token_id": config.get("eos_token_id"), "moeConfig": None,
        "architecture": {
            "numLayers": config["num_hidden_layers"], "hiddenSize": config["hidden_size"],
            "intermediateSize": config["intermediate_size"], "numAttentionHeads": config["num_attention_heads"],
            "numKeyValueHeads": config["num_key_value_heads"], "headDim": config["head_dim"],
            "vocabSize": config["vocab_size"], "maxSeqLen": config["max_position_embeddings"],
            "ropeTheta": rope["rope_theta"]},
        "inference": {
            "attention": {
                "queryPreAttnScalar": config.get("query_pre_attn_scalar", config["head_dim"]),
                "attnLogitSoftcapping": config.get("attn_logit_softcapping"), "slidingWindow": config.get("sliding_window"),
                "queryKeyNorm": qk_norm, "causal": True, "attentionBias": config.get("attention_bias", False),
                "attentionOutputGate": False, "valueNorm": False},
            "normalization": {
                "rmsNormEps": config["rms_norm_eps"], "rmsNormWeightOffset": gemma, "postAttentionNorm": sandwich,
                "preFeedforwardNorm": sandwich, "postFeedforwardNorm": sandwich},
            "ffn": {"activation": "gelu" if gemma else "silu", "gatedActivation": True, "swigluLimit": None},
            "rope": {
                "ropeTheta": rope["rope_theta"], "ropeLocalTheta": local["rope_theta"] if local else None,
                "partialRotaryFactor": None, "ropeScalingType": "linear" if linear else None,
                "ropeScalingFactor": rope["factor"] if linear else 1, "ropeLocalScalingType": None},
            "output": {
                "finalLogitSoftcapping": config.get("final_logit_softcapping"),
                "tieWordEmbeddings": config["tie_word_embeddings"], "scaleEmbeddings": gemma, "embeddingTranspose": False},
            "layerPattern": pattern}}


def write_rdrr(folder, config, tensors, q4_k=None, shard_size=64 << 20):
    """q4_k: None, or the layout in which the layers' matrices are quantised; "mixed": each in another one. Returns the tensors as
    they can be read back."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stream, entries, written = bytearray(), {}, {}
    for name, (dtype, data) in tensors.items():
        written[name] = dtype, data
        entry = {"shape": list(data.shape), "dtype": dtype, "role": "matmul"}
        payload = data.tobytes()
        if q4_k and data.ndim == 2 and "embed" not in name and "lm_head" not in name:
            layout = LAYOUTS[len(entries) % 3] if q4_k == "mixed" else q4_k
            entry.update({"dtype": "Q4_K_M"} if layout == "packed" else {"dtype": "Q4_K_M", "layout": layout})
            payload = q4_k_bytes(to_float32(dtype, data), layout)
            written[name] = "F32", q4_k_values(payload, data.shape, layout)
        spans, at = [], len(stream)
        stream += payload
        while at < len(stream):
            end = min(len(stream), (at // shard_size + 1) * shard_size)
            spans.append({"shardIndex": at // shard_size, "offset": at % shard_size, "size": end - at})
            at = end
        entry["size"] = len(payload)
        entry.update({"shard": spans[0]["shardIndex"], "offset": spans[0]["offset"]} if len(spans) == 1 else {"spans": spans})
        entries[name] = entry
    manifest = rdrr_manifest(config, tensors)
    manifest["quantization"] = "Q4_K_M" if q4_k else "BF16"
    manifest["shards"] = []
    for index, at in enumerate(range(0, len(stream), shard_size)):
        data = bytes(stream[at:at + shard_size])
        name = f"shard_{index:05d}.bin"
        (folder / name).write_bytes(data)
        manifest["shards"].append({"index": index, "filename": name, "size": len(data), "offset": at,
                                   "hash": hashlib.sha256(data).hexdigest()})
    manifest["tensors"] = entries
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return written
