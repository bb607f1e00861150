"""Records a golden: runs HuggingFace transformers on a model and keeps every stage of every position.

`lockstep golden` calls record() inside the program. Hooks on transformers' own modules take the stages, so that the golden holds
what transformers computed: no formula is repeated here. docs/traces.md lists the stages.
"""

import contextlib
import importlib
import itertools
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # never download anything
os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars would fill a log

import gguf
import numpy
import torch
import transformers
from transformers.integrations import moe

import packed_experts

# (stage, module inside the layer, "input", "output" or the number of an output, whether the value is [heads, positions, dim])
COMMON = [
    ("attn_norm", "input_layernorm", "output", False),
    ("q_proj", "self_attn.q_proj", "output", False),
    ("k_proj", "self_attn.k_proj", "output", False),
    ("v_proj", "self_attn.v_proj", "output", False),
    ("attn_out", "self_attn.o_proj", "input", False),
    ("o_proj", "self_attn.o_proj", "output", False),
    ("layer_out", "", "output", False),
]
DENSE_FFN = [
    ("ffn_gate", "mlp.gate_proj", "output", False),
    ("ffn_up", "mlp.up_proj", "output", False),
    ("ffn_act", "mlp.down_proj", "input", False),
    ("ffn_down", "mlp.down_proj", "output", False),
]
# post_attention_layernorm is the norm before the FFN in Llama, and the norm after attention in Gemma.
NORM_BEFORE_FFN = [
    ("attn_resid", "post_attention_layernorm", "input", False),
    ("ffn_norm", "post_attention_layernorm", "output", False),
]
SANDWICH_NORMS = [
    ("post_attn_norm", "post_attention_layernorm", "output", False),
    ("attn_resid", "pre_feedforward_layernorm", "input", False),
    ("ffn_norm", "pre_feedforward_layernorm", "output", False),
    ("post_ffn_norm", "post_feedforward_layernorm", "output", False),
]
HEAD_NORMS = [
    ("q_norm", "self_attn.q_norm", "output", True),
    ("k_norm", "self_attn.k_norm", "output", True),
]

# The router's three outputs, and the sum of the experts. _experts_recorded takes the stages inside the experts.
EXPERTS = [
    ("router_logits", "mlp.router", 0, False),
    ("router_weights", "mlp.router", 1, False),
    ("router_indices", "mlp.router", 2, False),
    ("moe_out", "mlp.experts", "output", False),
]

# A family is one row: model_type -> the hooks of a layer.
FAMILIES = {
    "llama": COMMON + DENSE_FFN + NORM_BEFORE_FFN,
    "gemma2": COMMON + DENSE_FFN + SANDWICH_NORMS,
    "gpt_oss": COMMON + NORM_BEFORE_FFN + EXPERTS,
    "gemma3_text": COMMON + DENSE_FFN + SANDWICH_NORMS + HEAD_NORMS,
}


class Recorder:
    """Collects the rows of each (stage, layer), batch by batch."""

    def __init__(self):
        self.rows = {}
        self.n_positions = 0  # positions of the whole run: values a head of a row of attn_probs
        self.end = 0  # one past the last position of the running batch
        self.layer = None  # layer whose attention is running; apply_rotary_pos_emb does not know it

    def keep(self, stage, layer, value, heads_first=False):
        value = value[0] if isinstance(value, tuple) else value
        value = value.detach()
        value = value[0] if value.dim() > 2 else value  # drop the batch dimension; a router's output has none
        if heads_first:  # [heads, positions, dim]
            value = value.transpose(0, 1)
        rows = value.reshape(value.shape[0], -1).to(torch.float32).numpy().copy()
        self.rows.setdefault((stage, layer), []).append(rows)

    def keep_probs(self, layer, value):
        """[1, heads, positions, keys], the last key is that of the last position. A sliding cache holds only the latest keys."""
        heads, rows, keys = value.shape[1:]
        first = self.end - keys
        padded = torch.zeros(heads, rows, self.n_positions, dtype=torch.float32)
        padded[:, :, first : self.end] = value[0].detach().to(torch.float32)
        self.keep("attn_probs", layer, padded[None], heads_first=True)

    def stages(self):
        return {key: numpy.ascontiguousarray(numpy.concatenate(rows)) for key, rows in self.rows.items()}


def _hook(recorder, module, stage, layer, side, heads_first):
    if side == "input":
        return module.register_forward_pre_hook(lambda _, args: recorder.keep(stage, layer, args[0], heads_first))
    if side == "output":
        return module.register_forward_hook(lambda _, args, output: recorder.keep(stage, layer, output, heads_first))
    return module.register_forward_hook(lambda _, args, outputs: recorder.keep(stage, layer, outputs[side], heads_first))


@contextlib.contextmanager
def _rope_recorded(recorder, module):
    """The family's apply_rotary_pos_emb, recording what it returns: [1, heads, positions, dim] each."""
    plain = module.apply_rotary_pos_emb

    def recording(*args, **kwargs):
        q, k = plain(*args, **kwargs)
        recorder.keep("q_rope", recorder.layer, q, heads_first=True)
        recorder.keep("k_rope", recorder.layer, k, heads_first=True)
        return q, k

    module.apply_rotary_pos_emb = recording
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = plain


@contextlib.contextmanager
def _experts_recorded(recorder, model):
    """Records the stages inside batched_mm experts, whose rows are in the router's order. _batched_linear computes first gate and
    up, then down; _apply_gate of each module computes the activation between."""
    experts = [m for m in model.modules() if hasattr(m, "_apply_gate")]
    if not experts:
        yield
        return
    plain, top_k = moe._batched_linear, model.config.num_experts_per_tok
    stages = itertools.cycle(["moe_gate_up", "moe_down"])

    def keep(stage, value):
        recorder.keep(stage, recorder.layer, value.reshape(value.shape[0] // top_k, -1))
        return value

    def gate_recording(apply_gate):
        return lambda gate_up: keep("moe_act", apply_gate(gate_up))

    moe._batched_linear = lambda *args, **kwargs: keep(next(stages), plain(*args, **kwargs))
    for module in experts:
        module._apply_gate = gate_recording(module._apply_gate)
    try:
        yield
    finally:
        moe._batched_linear = plain
        for module in experts:
            del module._apply_gate  # back to the method of the class


@contextlib.contextmanager
def _hooked(recorder, model, attn_probs):
    layer_hooks = FAMILIES[model.config.model_type]
    hooks = []

    def attention_begins(module, args):
        recorder.layer = module.layer_idx

    def layer_zero_begins(module, args):
        recorder.keep("embed", None, args[0])

    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.self_attn.register_forward_pre_hook(attention_begins))
        if attn_probs:  # eager attention returns the probabilities as its second output
            hooks.append(
                layer.self_attn.register_forward_hook(lambda m, _, output: recorder.keep_probs(m.layer_idx, output[1]))
            )
        for stage, path, side, heads_first in layer_hooks:
            hooks.append(_hook(recorder, layer.get_submodule(path), stage, i, side, heads_first))
    hooks.append(model.model.layers[0].register_forward_pre_hook(layer_zero_begins))
    hooks.append(_hook(recorder, model.model.norm, "final_norm", None, "output", False))
    hooks.append(_hook(recorder, model.lm_head, "logits", None, "output", False))
    try:
        with (
            _rope_recorded(recorder, importlib.import_module(type(model).__module__)),
            _experts_recorded(recorder, model),
        ):
            yield
    finally:
        for hook in hooks:
            hook.remove()


# Prefixes of the text model's tensors in a model with a vision tower; its config is text_config.
TEXT_MODEL = {r"^model\.language_model\.": "model.", r"^language_model\.": ""}


def _whole(load, *args, **options):
    """Loads a model, and fails if a tensor is missing: transformers would fill it with random numbers and only warn."""
    model, info = load(*args, output_loading_info=True, **options)
    if info["missing_keys"]:
        raise ValueError(f"{sorted(info['missing_keys'])[0]}: no such tensor, expected one of transformers' names")
    return model


# GGUF architectures that transformers reads completely. It knows gpt-oss, but not the names of its experts.
GGUF_ARCHITECTURES = ("llama", "gemma2", "gemma3")


def _gguf_architecture(reader):
    found = reader.get_field("general.architecture").contents()
    if found not in GGUF_ARCHITECTURES:
        known = ", ".join(GGUF_ARCHITECTURES)
        raise ValueError(f"general.architecture: found {found!r}, transformers reads {known}; expected the model's safetensors")
    return next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == found)


def _all_read(reader, arch, model):
    """Refuses GGUF contents that transformers would ignore: a table of rope frequencies, biases of Llama."""
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    read = {names.get_name(key, try_suffixes=(".weight", ".bias")) for key in model.state_dict()}
    for tensor in reader.tensors:
        if tensor.name not in read:
            raise ValueError(f"{tensor.name}: transformers does not read it; expected the model's safetensors")
    scalar, dim = getattr(model.config, "query_pre_attn_scalar", None), model.config.head_dim
    if scalar not in (None, dim):  # not in a GGUF: llama.cpp assumes the head dim, transformers 256
        raise ValueError(f"query_pre_attn_scalar: transformers takes {scalar} for {dim}; expected the model's safetensors")


def load(path, dtype):
    """Loads the model in a dtype with eager attention. dtype is given to the loader: model.to() would also round rope's
    inv_freq, and a GGUF model refuses it."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options = {"dtype": getattr(torch, dtype), "attn_implementation": "eager", "local_files_only": True}
    if os.path.isdir(path):
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        if hasattr(config, "text_config"):
            config = config.text_config
            options["key_mapping"] = TEXT_MODEL
        model_type = config.model_type
        if model_type not in FAMILIES:
            raise ValueError(f"config.json: model_type: found {model_type!r}, expected one of {', '.join(FAMILIES)}")
        if hasattr(config, "num_local_experts"):
            options["experts_implementation"] = "batched_mm"
        if getattr(config, "quantization_config", None):  # there is no kernel for it on the CPU
            model = packed_experts.load(transformers.AutoModelForCausalLM, path, config, **options)
        else:
            model = _whole(transformers.AutoModelForCausalLM.from_pretrained, path, config=config, **options)
    else:
        reader = gguf.GGUFReader(path)
        arch = _gguf_architecture(reader)
        folder, name = os.path.split(os.path.abspath(path))
        model = _whole(transformers.AutoModelForCausalLM.from_pretrained, folder, gguf_file=name, **options)
        _all_read(reader, arch, model)
    return model.eval()


def _choose(recorder, scores, masked):
    """The greedy choice after the last position, with transformers' own masked ids, and the probabilities that it was made from."""
    scores = scores.to(torch.float32)
    if masked >= 0:
        scores = transformers.SuppressTokensLogitsProcessor([masked])(None, scores)
    token = scores.argmax(-1, keepdim=True)
    recorder.keep("sample_probs", None, torch.softmax(scores, -1))
    recorder.keep("sample_token", None, token)
    return int(token)


def record(path, ids, n, decode_ids=None, dtype="float32", masked=-1, attn_probs=False):
    """Runs ids as prefill, then n tokens one at a time through the KV cache: decode_ids, or greedily chosen tokens.
    dtype: type of weights and values: float32, float16 or bfloat16. masked: an id that is never chosen. attn_probs: also
    record the attention probabilities.

    Returns a dict: producer, model_type, n_layers; tokens and phase as arrays; stages, which maps (stage, layer or None) to
    float32 [positions, width]. sample_probs and sample_token have only the last 1 + n positions."""
    model = load(path, dtype)
    vocab = model.config.vocab_size
    for i, token in enumerate([*ids, *(decode_ids or [])]):
        if not 0 <= token < vocab:
            raise ValueError(f"token {i}: found {token}, expected 0 to {vocab - 1}")
    recorder = Recorder()
    recorder.n_positions = len(ids) + n
    tokens, batch, cache = [], list(ids), None
    with torch.no_grad(), _hooked(recorder, model, attn_probs):
        for i in range(n + 1):
            recorder.end = len(tokens) + len(batch)
            output = model(input_ids=torch.tensor([batch]), past_key_values=cache, use_cache=True)
            recorder.keep("logits_final", None, output.logits)
            cache = output.past_key_values
            tokens += batch
            chosen = _choose(recorder, output.logits[:, -1], masked)
            if i < n:
                batch = [decode_ids[i] if decode_ids else chosen]
    return {
        "producer": f"transformers {transformers.__version__} {dtype} eager",
        "model_type": model.config.model_type,
        "n_layers": model.config.num_hidden_layers,
        "tokens": numpy.array(tokens, dtype=numpy.int32),
        "phase": numpy.array([0] * len(ids) + [1] * n, dtype=numpy.uint8),
        "stages": recorder.stages(),
    }
