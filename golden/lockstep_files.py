"""Reads safetensors, and writes a model as safetensors and as RDRR. Needs only numpy. bf16 tensors are uint16 arrays: their bytes
are copied, never rounded.

Tensors are {name: (dtype, array)}, with dtype "F32", "F16", "BF16" or "U8", and with the names and shapes of transformers.
Files are mapped, not loaded, so that a model of many gigabytes fits: one tensor at a time is in memory.
"""
import hashlib
import json
import struct
from pathlib import Path

import numpy as np

LAYOUTS = ["row", "col", "packed"]
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8}


def text_config(config):
    """The config of the text model, if config is that of a model with a vision tower; else config."""
    inner = config.get("text_config")
    return config | inner | {"model_type": inner["model_type"]} if inner else config


def mapped_tensors(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            kind = NUMPY[entry["dtype"]]
            begin = 8 + length + entry["data_offsets"][0]
            yield name, (entry["dtype"], np.memmap(path, kind, "r", begin, tuple(entry["shape"])))


def read_safetensors(folder):
    """Returns config.json and all tensors of a folder, with the names of the text model."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(mapped_tensors(path))
    for prefix, becomes in ("model.language_model.", "model."), ("language_model.", ""):
        tensors = {becomes + n.removeprefix(prefix) if n.startswith(prefix) else n: t for n, t in tensors.items()}
    config = json.loads((Path(folder) / "config.json").read_text())
    if "text_config" in config:  # leave the vision tower out
        text = ("model.layers.", "model.embed_tokens.", "model.norm.", "lm_head.")
        tensors = {n: t for n, t in tensors.items() if n.startswith(text)}
    return config, tensors


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [at, at + data.nbytes]}
        at += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(d.tobytes() for _, d in tensors.values()))


def to_bf16(values):
    """Rounds float32 to bf16, to nearest even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def to_float32(dtype, data):
    return (data.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else data.astype(np.float32)


# RDRR, as docs/FORMATS.md of clocksmith/doppler describes it and its converter writes it.

def quantize_q4_k(rows):
    """[n, 256] to [n, 144]: rounds each run of 32 to its own range, as DOPPLER's quantizer.js does."""
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
    """The blocks of a matrix [out, in]. "row" pads each row to whole blocks, "col" transposes first, "packed" makes one stream."""
    if layout == "col":
        matrix = matrix.T
    rows = matrix.reshape(1, -1) if layout == "packed" else matrix
    padded = np.zeros((rows.shape[0], -(-rows.shape[1] // 256) * 256), np.float32)
    padded[:, :rows.shape[1]] = rows
    return quantize_q4_k(padded.reshape(-1, 256)).tobytes()


def q4_k_values(payload, shape, layout):
    """The values of q4_k_bytes, by gguf's dequantiser."""
    from gguf import GGMLQuantizationType, quants

    rows = shape if layout == "row" else shape[::-1] if layout == "col" else (1, shape[0] * shape[1])
    values = quants.dequantize(np.frombuffer(payload, np.uint8).reshape(-1, 144), GGMLQuantizationType.Q4_K)
    matrix = values.reshape(rows[0], -1)[:, :rows[1]]
    return np.ascontiguousarray(matrix.T if layout == "col" else matrix.reshape(shape))


def q4_k_layouts(tensors, q4_k):
    """Returns {name: layout} of the matrices to quantise."""
    names = [name for name in tensors if role(name) == "matmul"] if q4_k else []
    return {name: LAYOUTS[i % 3] if q4_k == "mixed" else q4_k for i, name in enumerate(names)}


def q4_k_read_back(tensors, q4_k):
    """The tensors that write_rdrr writes with q4_k, dequantised by gguf."""
    read = dict(tensors)
    for name, layout in q4_k_layouts(tensors, q4_k).items():
        data = to_float32(*tensors[name])
        read[name] = "F32", q4_k_values(q4_k_bytes(data, layout), data.shape, layout)
    return read


def rdrr_manifest(config, tensors):
    """The sections of the manifest that do not depend on how weights are stored."""
    ropes = config["rope_parameters"]
    for what, found in {"rope_type llama3": ropes.get("rope_type") == "llama3", "mlp_bias": config.get("mlp_bias")}.items():
        if found:
            raise SystemExit(f"config.json: {what}: an RDRR manifest cannot say it")
    gemma, experts = config["model_type"].startswith("gemma"), config.get("num_local_experts")
    sandwich = "model.layers.0.pre_feedforward_layernorm.weight" in tensors
    qk_norm = "model.layers.0.self_attn.q_norm.weight" in tensors
    rope = ropes.get("full_attention", ropes)
    local = ropes.get("sliding_attention")
    scaling = rope["rope_type"] if rope["rope_type"] != "default" else None
    types = config.get("layer_types")
    local_layers = types and "sliding_attention" in types
    pattern = {"type": "custom", "layerTypes": types} if local_layers else {"type": "uniform", "layerTypes": None}
    return {
        "version": 1, "modelId": config["model_type"] + "-test", "modelType": "transformer", "hashAlgorithm": "sha256",
        "eos_token_id": config.get("eos_token_id"), "config": config,
        "moeConfig": experts and {"numExperts": experts, "numExpertsPerToken": config["num_experts_per_tok"],
                                  "expertFormat": "gpt-oss"},
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
            "ffn": {"activation": "gelu" if gemma else "silu", "gatedActivation": True, "swigluLimit": config.get("swiglu_limit")},
            "rope": {
                "ropeTheta": rope["rope_theta"], "ropeLocalTheta": local["rope_theta"] if local else None,
                "partialRotaryFactor": None, "ropeScalingType": scaling, "ropeScalingFactor": rope.get("factor", 1),
                "yarnBetaFast": rope.get("beta_fast"), "yarnBetaSlow": rope.get("beta_slow"),
                "yarnOriginalMaxPos": rope.get("original_max_position_embeddings"), "ropeLocalScalingType": None},
            "output": {
                "finalLogitSoftcapping": config.get("final_logit_softcapping"),
                "tieWordEmbeddings": config["tie_word_embeddings"], "scaleEmbeddings": gemma, "embeddingTranspose": False},
            "layerPattern": pattern}}


class Shards:
    """Splits bytes into files of at most a size, each with its hash."""

    def __init__(self, folder, size):
        self.folder, self.size, self.at, self.entries, self.file = folder, size, 0, [], None

    def add(self, payload):
        """The pieces of shards that hold a payload."""
        spans, payload = [], memoryview(payload).cast("B")
        while payload:
            if self.at % self.size == 0:
                self.next()
            piece = payload[:self.size - self.at % self.size]
            spans.append({"shardIndex": len(self.entries) - 1, "offset": self.at % self.size, "size": len(piece)})
            self.file.write(piece)
            self.hash.update(piece)
            self.at += len(piece)
            payload = payload[len(piece):]
        return spans

    def next(self):
        self.close()
        name = f"shard_{len(self.entries):05d}.bin"
        self.entries.append({"index": len(self.entries), "filename": name, "size": 0, "offset": self.at})
        self.file, self.hash = open(self.folder / name, "wb"), hashlib.sha256()

    def close(self):
        if self.file:
            self.file.close()
            self.entries[-1] |= {"size": self.at - self.entries[-1]["offset"], "hash": self.hash.hexdigest()}


def write_rdrr(folder, config, tensors, q4_k=None, shard_size=64 << 20):
    """q4_k: None, or the layout of the layers' matrices, which are then quantised; "mixed": a different one each."""
    folder, manifest = Path(folder), rdrr_manifest(text_config(config), tensors)
    folder.mkdir(parents=True, exist_ok=True)
    shards, entries, layouts = Shards(folder, shard_size), {}, q4_k_layouts(tensors, q4_k)
    for name, (dtype, data) in tensors.items():
        entry = {"shape": list(data.shape), "dtype": dtype, "role": role(name)}
        payload = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        if name in layouts:
            entry.update({"dtype": "Q4_K_M"} if layouts[name] == "packed" else {"dtype": "Q4_K_M", "layout": layouts[name]})
            payload = q4_k_bytes(to_float32(dtype, data), layouts[name])
        spans = shards.add(payload)
        entry["size"] = sum(span["size"] for span in spans)
        entry.update({"shard": spans[0]["shardIndex"], "offset": spans[0]["offset"]} if len(spans) == 1 else {"spans": spans})
        entries[name] = entry
    shards.close()
    manifest |= {"quantization": "Q4_K_M" if q4_k else "BF16", "shards": shards.entries, "tensors": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def role(name):
    """The role of a tensor, as RDRR calls it."""
    parts = {"embed_tokens": "embedding", "lm_head": "lm_head", "norm": "norm", ".router.": "router", ".experts.": "expert",
             "_proj.weight": "matmul"}
    return next((role for part, role in parts.items() if part in name), "other")
