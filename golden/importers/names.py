"""Which stage a name is: one table for module paths (transformers, vLLM, SGLang, MLX), one for llama.cpp, one for lockstep's own names.

match() returns a Place, or None: the name says nothing. A name that says more than one thing (`Qcur-0` without its op) is a Place
with `either`, and is told, never guessed.
"""

import dataclasses
import re

# Stage -> whether it lies in a layer, in plan order (model/stages.h; a test compares).
OUTSIDE = ("embed", "final_norm", "logits", "logits_final", "sample_probs", "sample_token")
STAGES = {
    stage: stage not in OUTSIDE
    for stage in (
        "embed attn_norm q_proj k_proj v_proj q_norm k_norm q_rope k_rope attn_probs attn_out o_proj post_attn_norm attn_resid "
        "ffn_norm ffn_gate ffn_up ffn_act ffn_down router_logits router_weights router_indices moe_gate_up moe_act moe_down moe_out "
        "post_ffn_norm layer_out final_norm logits logits_final sample_probs sample_token").split()
}


def dataset(stage, layer):
    return f"stages/{stage}" if layer is None else f"layers/{layer}/{stage}"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an array belongs. parts: the stages that a fused array holds side by side, or the one stage that it is."""

    parts: tuple  # ("q_proj",), ("q_proj", "k_proj", "v_proj"), ("tokens",), ("phase",)
    layer: int | None = None
    addend: int | None = None  # 0, 1: one of two arrays whose sum is the stage (hidden states and residual)
    stack: str | None = None  # "hidden_states", "attentions": one array holds what several stages are
    either: tuple = ()  # stages that the name may mean; then it is not taken
    call: int | None = None  # the forward pass, where the name tells it
    engine: str = ""  # "llama.cpp": it has its own order of q and k, and lays heads behind positions
    rank: int = 0  # of several arrays for a stage, the one with the highest rank is taken


# Module inside a layer -> (stages of its output, stages of its input). "<": what enters the layer. None: nothing we have.
NORM_BEFORE_FFN = {"post_attention_layernorm": ("ffn_norm", "attn_resid")}
SANDWICH = {
    "post_attention_layernorm": ("post_attn_norm", "o_proj"),
    "pre_feedforward_layernorm": ("ffn_norm", "attn_resid"),
    "post_feedforward_layernorm": ("post_ffn_norm", "ffn_down"),
}
DENSE = {"mlp": ("ffn_down", "ffn_norm")}
EXPERTS = {
    "mlp": ("moe_out", "ffn_norm"), "mlp.experts": ("moe_out", None), "mlp.router": (None, "ffn_norm"),
    "mlp.router.0": ("router_logits", None), "mlp.router.1": ("router_weights", None), "mlp.router.2": ("router_indices", None)}
MODULES = {
    "": ("layer_out", "<"),
    "input_layernorm": ("attn_norm", "<"),
    "self_attn": ("o_proj", "attn_norm"),
    "self_attn.q_proj": ("q_proj", "attn_norm"), "self_attn.k_proj": ("k_proj", "attn_norm"), "self_attn.v_proj": ("v_proj", "attn_norm"),
    "self_attn.qkv_proj": ("q_proj k_proj v_proj", "attn_norm"),
    "self_attn.q_norm": ("q_norm", "q_proj"), "self_attn.k_norm": ("k_norm", "k_proj"),
    "self_attn.rotary_emb.0": ("q_rope", None), "self_attn.rotary_emb.1": ("k_rope", None),
    "self_attn.apply_rotary_pos_emb.0": ("q_rope", None), "self_attn.apply_rotary_pos_emb.1": ("k_rope", None),
    "self_attn.q_rope": ("q_rope", None), "self_attn.k_rope": ("k_rope", None),
    "self_attn.1": ("attn_probs", None),
    "self_attn.attn": ("attn_out", None), "self_attn.o_proj": ("o_proj", "attn_out"),
    "mlp.gate_proj": ("ffn_gate", "ffn_norm"), "mlp.up_proj": ("ffn_up", "ffn_norm"),
    "mlp.gate_up_proj": ("ffn_gate ffn_up", "ffn_norm"), "mlp.down_proj": ("ffn_down", "ffn_act"),
}
# DOPPLER's stages, in a layer (L3.attn.q_proj); the end `.out` is that of any module's output.
DOPPLER = {
    "attn.post_input_norm": "attn_norm", "attn.q_proj": "q_proj", "attn.k_proj": "k_proj", "attn.v_proj": "v_proj", "attn.q_norm": "q_norm",
    "attn.k_norm": "k_norm", "attn.q_rope": "q_rope", "attn.k_rope": "k_rope", "attn.scores": "attn_probs", "attn.core": "attn_out",
    "attn.o_proj": "o_proj", "attn.post_attn": "attn_resid", "ffn.normed": "ffn_norm", "ffn.gate": "ffn_gate", "ffn.up": "ffn_up",
    "ffn": "ffn_down", "moe": "moe_out", "layer": "layer_out"}
MODULES |= {name: (stage, None) for name, stage in DOPPLER.items()}
# Modules outside the layers. The last entries are of a model's output, not of a module.
OUTER = {
    "embed_tokens": ("embed", None), "norm": ("final_norm", "<"), "lm_head": ("logits", "final_norm"),
    "logits_processor": ("logits_final", None), "last_hidden_state": ("final_norm", None), "inputs_embeds": ("embed", None), "embed": ("embed", None),
    "final_norm": ("final_norm", None), "logits.final": ("logits_final", None)}
TOKENS = ("input_ids", "tokens", "token_ids", "inp_tokens", "prompt_token_ids")

# llama.cpp: (name, op) -> stage. Without an op, a name that stands here once is clear.
LLAMA = {
    ("embd", "GET_ROWS"): "embed", ("inp_embd", "GET_ROWS"): "embed", ("inp_scaled", "SCALE"): "embed", ("inp_scaled", "MUL"): "embed", ("attn_norm", "MUL"): "attn_norm",
    ("Qcur", "MUL_MAT"): "q_proj", ("Kcur", "MUL_MAT"): "k_proj", ("Vcur", "MUL_MAT"): "v_proj",
    ("Qcur", "ADD"): "q_proj", ("Kcur", "ADD"): "k_proj", ("Vcur", "ADD"): "v_proj",
    ("Qcur_normed", "MUL"): "q_norm", ("Kcur_normed", "MUL"): "k_norm",
    ("Qcur", "ROPE"): "q_rope", ("Kcur", "ROPE"): "k_rope", ("kq_soft_max", "SOFT_MAX"): "attn_probs",
    ("kqv_out", "RESHAPE"): "attn_out", ("kqv_out", "CONT"): "attn_out", ("attn_out", "MUL_MAT"): "o_proj", ("attn_out", "ADD"): "o_proj",
    ("attn_post_norm", "MUL"): "post_attn_norm", ("ffn_inp", "ADD"): "attn_resid", ("sa_out", "ADD"): "attn_resid",
    ("ffn_norm", "MUL"): "ffn_norm", ("ffn_gate", "MUL_MAT"): "ffn_gate", ("ffn_up", "MUL_MAT"): "ffn_up",
    ("ffn_swiglu", "GLU"): "ffn_act", ("ffn_swiglu", "SWIGLU"): "ffn_act", ("ffn_geglu", "GLU"): "ffn_act", ("ffn_geglu", "GEGLU"): "ffn_act", ("ffn_gate_par", "MUL"): "ffn_act", ("ffn_out", "MUL_MAT"): "ffn_down",
    ("ffn_moe_logits", "MUL_MAT"): "router_logits", ("ffn_moe_logits_biased", "ADD"): "router_logits", ("ffn_moe_probs", "ADD"): "router_logits",
    ("ffn_moe_weights_softmax", "RESHAPE"): "router_weights", ("ffn_moe_down_biased", "ADD_ID"): "moe_down", ("ffn_moe_topk", "VIEW"): "router_indices",
    ("ffn_moe_out", "ADD"): "moe_out", ("ffn_post_norm", "MUL"): "post_ffn_norm", ("l_out", "ADD"): "layer_out",
    ("result_norm", "MUL"): "final_norm", ("result_output", "MUL_MAT"): "logits_final", ("result_output", "SCALE"): "logits_final"}
VIEWS = ("RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE", "CONT", "CPY")  # the same values, seen otherwise
LLAMA_BASES = {name: {stage for (base, _), stage in LLAMA.items() if base == name} for name, _ in LLAMA}

# What dumps hold beside stages.
BESIDE = re.compile(r"(^|\.)(attention_mask|position_ids|cache_position|position_embeddings(\.\d)?|positions|seq_lens|causal_mask)$"
                    r"|(^|\.)past_key_values(\.|$)|^(\w+\.)?(model\.)?rotary_emb\.(in|out)put(\.\d)?$")
PREFIX = re.compile(r"^(?:module|_orig_mod|base_model|model|language_model|text_model|transformer|(?!L\d)[A-Z]\w*|\(top-level\))\.")
IN_LAYER = re.compile(r"^(?:layers\.|layer\.|h\.|blocks\.|L)(\d+)(?:\.(.+))?$")
SIDE = re.compile(r"^(.*?)(?:^|[._])(outputs?|out|inputs?|in)(?:[._](?:args[._])?(\d+))?$")
CALL_BEFORE = re.compile(r"^(?:step|call|batch|ubatch|forward|decode)[_-]?(\d+)[./]")
CALL_AFTER = re.compile(r"[#@](\d+)$")


def strip_call(name):
    """The name without the number of its forward pass, and that number or None: `step_1/…`, `…#1`."""
    for pattern in (CALL_BEFORE, CALL_AFTER):
        match = pattern.search(name)
        if match:
            return name[: match.start()] + name[match.end() :], int(match.group(1))
    return name, None


class Names:
    """The table of one dump. names: all of its names, by which the kind of model is known where MODEL is not given."""

    def __init__(self, names, model_type):
        joined = "\n".join(names)
        gemma = (model_type or "").startswith("gemma") or "pre_feedforward_layernorm" in joined
        experts = model_type == "gpt_oss" or "mlp.router" in joined
        self.model_type = model_type
        self.modules = MODULES | (SANDWICH if gemma else NORM_BEFORE_FFN) | (EXPERTS if experts else DENSE)
        self.scaled = gemma  # the embedding is scaled after it is looked up
        self.has_scaled = "inp_scaled" in joined
        self.fused_gate = "gate_up_proj" in joined
        self.is_modules = re.search(r"layers\.\d+\.(self_attn|mlp|input_layernorm)|hidden_states", joined) is not None
        self.norm_after = model_type == "gpt_oss"

    def match(self, name, op=""):
        """op: llama.cpp's, "" if the dump does not say. "ignore": no stage, and nobody expects one."""
        plain = name.replace("/", ".").removeprefix(".")
        if BESIDE.search(plain):
            return "ignore"
        return self._own(plain) or self._llama(plain, op) or self._module(plain)

    def _own(self, name):
        """layers.3.q_proj, q_proj.3, q_proj-3, stages.embed; not `logits` beside module paths, which is the model's output."""
        if name in TOKENS or name.endswith(".input_ids"):
            return Place(("tokens",))
        if name in ("phase", "n_prompt"):
            return Place((name,))
        match = re.fullmatch(r"(?:layers\.(\d+)\.)?([a-z_]+)(?:[.-](\d+))?", name.removeprefix("stages."))
        stage = match and match.group(2)
        if stage not in STAGES or (match.group(1) and match.group(3)):
            return None
        layer = match.group(1) or match.group(3)
        if STAGES[stage] != (layer is not None):
            return None
        if stage == "logits" and self.is_modules and not name.startswith("stages."):
            stage = "logits_final"
        if layer is not None and stage in LLAMA_BASES and LLAMA_BASES[stage] != {stage} and "-" in name:
            return None  # attn_out-3 is llama.cpp's o_proj
        return Place((stage,), None if layer is None else int(layer))

    def _llama(self, name, op):
        match = re.fullmatch(r"([A-Za-z_]+?)(?:-(\d+))?((?: \((?:view|reshaped|permuted|transposed|copy|cont)\))*)(?:[. ]\(?([A-Z_0-9]+)\)?)?", name)
        if not match or match.group(1) not in LLAMA_BASES:
            return None
        if match.group(3):
            return "ignore"
        base, layer, op = match.group(1), match.group(2), op or match.group(4) or ""
        if op in VIEWS and (base, op) not in LLAMA:
            return "ignore"
        stages = {LLAMA[base, op]} if (base, op) in LLAMA else set() if op else LLAMA_BASES[base]
        if base in ("embd", "inp_embd") and self.scaled and self.has_scaled:
            return None  # not scaled yet
        if (base, op) == ("ffn_moe_logits", "MUL_MAT") and self.norm_after:
            return None  # its bias is added next
        if base == "kq_soft_max" and self.model_type not in (None, "llama"):
            return None  # keys are cells of the cache, which are positions only where no layer slides
        if base == "attn_post_norm" and self.norm_after:
            stages = {"ffn_norm"}
        layer = None if layer is None else int(layer)
        stages = {stage for stage in stages if STAGES[stage] == (layer is not None)}
        if len(stages) > 1:
            return Place((), layer, either=tuple(sorted(stages)), engine="llama.cpp")
        # A projection with a bias is made twice, MUL_MAT then ADD: the sum is the stage.
        return Place((stages.pop(),), layer, rank=int(op == "ADD"), engine="llama.cpp") if stages else None

    def _module(self, name):
        while (match := PREFIX.match(name)) and name[match.end() :]:
            name = name[match.end() :]
        stack = re.fullmatch(r"(hidden_states|attentions)((?:[._]\d+)*)", name)
        if stack:
            numbers = [int(n) for n in re.findall(r"\d+", stack.group(2))]
            # generate() returns a tuple a forward pass, of a state a layer.
            call = numbers[0] if len(numbers) == 2 else None
            return Place((), numbers[-1] if numbers else None, stack=stack.group(1), call=call) if len(numbers) < 3 else None
        match = SIDE.match(name)
        path, side, index = (match.group(1), match.group(2)[0], match.group(3)) if match else (name, "o", None)
        found = self._find(path, side, None if index is None else int(index))
        if found is None and match is None:  # `layers.0.self_attn.0`: an output of several, by its number
            tail = re.fullmatch(r"(.*)[._](\d+)", name)
            if tail and not re.search(r"(^|\.)(layers|layer|h|blocks)$", tail.group(1)):
                found = self._find(tail.group(1), "o", int(tail.group(2)))
        return found

    def _find(self, path, side, index):
        layer, module = None, path
        match = IN_LAYER.match(path)
        if match:
            layer, module = int(match.group(1)), match.group(2) or ""
        table = OUTER if layer is None else self.modules
        if layer is None and path == "logits":
            return Place(("logits_final",))
        if module == "mlp.act_fn":  # of gate alone, or where the two are fused of both
            return Place(("ffn_act",), layer) if self.fused_gate and side == "o" else "ignore"
        if module == "embed_tokens" and side == "i":
            return "ignore"
        if side == "o" and index in (0, 1) and layer is None and module == "norm":
            return Place(("final_norm",)) if index == 0 else Place(("layer_out",), -1)
        if side == "o" and index is not None and layer is not None:
            pair = self._pair(module, layer, index)
            if pair is not None:
                return pair
            if f"{module}.{index}" in table:
                module = f"{module}.{index}"
            elif index > 0:
                return None
        if module not in table:
            return None
        if side == "i" and (index or 0) > 0:
            return self._attention_input(module, layer, index)
        stages = table[module][0 if side == "o" else 1]
        if side == "i" and module == "self_attn.attn" and layer is not None:
            return self._attention_input(module, layer, index or 0)
        if stages is None:
            return None
        if stages == "<":
            return self._entering(layer)
        # What a module got is worth less than what one made; what a module hands through less than what its last part made.
        return Place(tuple(stages.split()), layer, rank=-2 if side == "i" else -1 if module in ("self_attn", "mlp") else 0)

    def _attention_input(self, module, layer, index):
        """The attention of vLLM and SGLang takes q, k, v."""
        if module == "self_attn.attn" and index < 3:
            return Place((("q_rope",), ("k_rope",), ("v_proj",))[index], layer, rank=-2)
        return None

    def _pair(self, module, layer, index):
        """vLLM and SGLang hand on (hidden states, residual): norms add the two, and a layer ends before they are added."""
        if module == "input_layernorm" and index == 1 and layer > 0:
            return Place(("layer_out",), layer - 1, rank=-2)
        if module == "post_attention_layernorm" and index == 1:
            return Place(("attn_resid",), layer, rank=-1)
        if module == "pre_feedforward_layernorm" and index == 1:
            return Place(("attn_resid",), layer, rank=-1)
        if module == "" and index in (0, 1):
            return Place(("layer_out",), layer, addend=index)
        return None

    def _entering(self, layer):
        """What enters a layer: what left the one before. The last norm is entered by the last layer (-1)."""
        if layer is None:
            return Place(("layer_out",), -1, rank=-2)
        return Place(("embed",), rank=-2) if layer == 0 else Place(("layer_out",), layer - 1, rank=-2)
