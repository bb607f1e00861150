"""llama.cpp, as the wheel xllamacpp ships it, run through its C interface; every stage is recorded through cb_eval.

The structures are llama.h's and ggml.h's of that version. check_layout() compares them with the library's own defaults, so
that another version fails with a sentence.
"""
import ctypes
import os
import re

import numpy as np
import xllamacpp

F16, Q8_0, Q4_0 = 1, 8, 2  # enum ggml_type


class ContextParams(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32), ("n_seq_max", ctypes.c_uint32),
        ("further", ctypes.c_uint32 * 3), ("n_threads", ctypes.c_int32), ("n_threads_batch", ctypes.c_int32),
        ("types", ctypes.c_int32 * 4), ("flash_attn_type", ctypes.c_int32), ("rope", ctypes.c_float * 8),
        ("cb_eval", ctypes.c_void_p), ("cb_eval_user_data", ctypes.c_void_p), ("type_k", ctypes.c_int32), ("type_v", ctypes.c_int32),
        ("rest", ctypes.c_uint8 * 256)]  # more than there is, never looked at


class ModelParams(ctypes.Structure):
    _fields_ = [("all", ctypes.c_uint8 * 256)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("rest", ctypes.c_void_p * 5)]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int32), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int32), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32), ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t), ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64)]


EVAL = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.POINTER(Tensor), ctypes.c_bool, ctypes.c_void_p)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

# llama.cpp's name and op -> stage. Qcur is the name of a projection, of its reshaped view and of the rotated one.
STAGES = {
    ("embd", "GET_ROWS"): "embed", ("attn_norm", "MUL"): "attn_norm",
    ("Qcur", "MUL_MAT"): "q_proj", ("Kcur", "MUL_MAT"): "k_proj", ("Vcur", "MUL_MAT"): "v_proj",
    ("Qcur", "ROPE"): "q_rope", ("Kcur", "ROPE"): "k_rope", ("kqv_out", "RESHAPE"): "attn_out", ("attn_out", "MUL_MAT"): "o_proj",
    ("ffn_inp", "ADD"): "attn_resid", ("ffn_norm", "MUL"): "ffn_norm", ("ffn_gate", "MUL_MAT"): "ffn_gate",
    ("ffn_up", "MUL_MAT"): "ffn_up", ("ffn_swiglu", "GLU"): "ffn_act", ("ffn_out", "MUL_MAT"): "ffn_down",
    ("l_out", "ADD"): "layer_out", ("result_norm", "MUL"): "final_norm", ("result_output", "MUL_MAT"): "logits_final"}


class Library:
    def __init__(self):
        c = self.c = ctypes.CDLL(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp.abi3.so"))
        for name, result, arguments in (
                ("llama_context_default_params", ContextParams, []), ("llama_model_default_params", ModelParams, []),
                ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, ModelParams]),
                ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, ContextParams]),
                ("llama_batch_get_one", Batch, [ctypes.POINTER(ctypes.c_int32), ctypes.c_int32]),
                ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]), ("llama_free", None, [ctypes.c_void_p]),
                ("llama_model_free", None, [ctypes.c_void_p]), ("ggml_op_name", ctypes.c_char_p, [ctypes.c_int32]),
                ("ggml_backend_tensor_get", None, [ctypes.POINTER(Tensor), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t])):
            function = getattr(c, name)
            function.restype, function.argtypes = result, arguments
        self.quiet = LOG(lambda level, text, user: None)
        c.llama_log_set(self.quiet, None)
        c.llama_backend_init()
        self.check_layout()

    def check_layout(self):
        p = self.c.llama_context_default_params()
        found = (p.n_batch, p.n_ubatch, p.n_seq_max, p.flash_attn_type, p.cb_eval, p.type_k, p.type_v)
        if found != (2048, 512, 1, -1, None, F16, F16):
            raise SystemExit(f"another llama_context_params than this script knows: its defaults read {found}")

    def record(self, gguf, prompt, decoded, cache=F16):
        """Runs the prompt as one batch, then each decoded token by itself. cache: the ggml_type of keys and values.
        Returns {(layer or None, stage): [(position, row)…]}. The last layer's rows are those whose logits are made: the last of each
        batch."""
        taken, end = {}, 0

        def take(pointer, asks, user):
            tensor = pointer.contents
            op = self.c.ggml_op_name(tensor.op).decode()
            name, _, layer = tensor.name.decode().partition("-")
            stage = STAGES.get((name, op))
            if not asks and stage:
                n_rows = tensor.ne[2] if op == "ROPE" else tensor.ne[1]
                rows = np.empty((n_rows, np.prod(tensor.ne) // n_rows), np.float32)
                self.c.ggml_backend_tensor_get(pointer, rows.ctypes.data, 0, rows.nbytes)
                taken.setdefault((int(layer) if layer else None, stage), []).extend(zip(range(end - n_rows, end), rows))
            return stage is not None

        callback = EVAL(take)
        params = self.c.llama_context_default_params()
        params.n_threads = params.n_threads_batch = 2
        params.cb_eval = ctypes.cast(callback, ctypes.c_void_p)
        params.type_k = params.type_v = cache
        model = self.c.llama_model_load_from_file(os.fsencode(gguf), self.c.llama_model_default_params())
        context = model and self.c.llama_init_from_model(model, params)
        if not context:
            raise SystemExit(f"llama.cpp does not load {gguf}")
        for batch in [prompt, *([token] for token in decoded)]:
            end += len(batch)
            ids = (ctypes.c_int32 * len(batch))(*batch)
            if self.c.llama_decode(context, self.c.llama_batch_get_one(ids, len(batch))) != 0:
                raise SystemExit("llama_decode failed")
        self.c.llama_free(context)
        self.c.llama_model_free(model)
        return taken
