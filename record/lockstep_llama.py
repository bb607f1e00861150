"""lockstep_llama.py MODEL.gguf (--prompt TEXT | --ids N,N,…) [-n N] -o mine.rec: runs llama.cpp from a Python wheel, and records it.

    $ pip install xllamacpp
    $ python lockstep_llama.py MODEL.gguf --prompt "The color of the sky is" -n 4 -o mine.rec
    $ lockstep audit MODEL.gguf mine.rec

Copy it beside lockstep_record.py. It calls llama.cpp's C interface, which the wheel xllamacpp exports, and needs nothing else; --library
names another library with that interface. The structures are those of llama.h of that wheel: another version that has others is refused.
For your own C or C++ program, lockstep_llama.h does the same.
"""

import argparse
import ctypes
import importlib.util
import os
import pathlib
import re
import sys

import numpy

from lockstep_record import Recorder

ROPE_TYPE_NORM = 0  # partners of rope lie side by side
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}  # enum ggml_type
CACHE_NAMES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
VIEWS = frozenset("kqv_out ffn_moe_topk ffn_moe_weights_softmax".split())  # of views these alone are recorded
NAMES = VIEWS | frozenset(
    "embd inp_embd inp_scaled attn_norm Qcur Kcur Vcur Qcur_normed Kcur_normed attn_out attn_post_norm sa_out ffn_inp ffn_norm ffn_gate "
    "ffn_up ffn_swiglu ffn_geglu ffn_out ffn_moe_logits ffn_moe_logits_biased ffn_moe_probs ffn_moe_down_biased ffn_moe_out ffn_post_norm "
    "l_out result_norm result_output".split()
)


class ContextParams(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("further", ctypes.c_uint32 * 3),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("types", ctypes.c_int32 * 4),
        ("flash_attn_type", ctypes.c_int32),
        ("rope", ctypes.c_float * 8),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int32),
        ("type_v", ctypes.c_int32),
        ("rest", ctypes.c_uint8 * 256),  # more than there is, never looked at
    ]


class ModelParams(ctypes.Structure):
    _fields_ = [("all", ctypes.c_uint8 * 256)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("rest", ctypes.c_void_p * 5)]


class Tensor(ctypes.Structure):
    pass


Tensor._fields_ = [
    ("type", ctypes.c_int32),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int32),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]
EVAL = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.POINTER(Tensor), ctypes.c_bool, ctypes.c_void_p)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def load_library(path=None):
    """llama.cpp's C interface: of a library, or of the wheel xllamacpp."""
    if not path:
        wheel = importlib.util.find_spec("xllamacpp")
        if not wheel:
            raise SystemExit("lockstep_llama: xllamacpp is not installed: pip install xllamacpp, or give --library libllama.so")
        path = os.path.join(wheel.submodule_search_locations[0], "xllamacpp.abi3.so")
    c = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    pointer, text, int32 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
    for name, result, arguments in (
        ("llama_context_default_params", ContextParams, []),
        ("llama_model_default_params", ModelParams, []),
        ("llama_model_load_from_file", pointer, [text, ModelParams]),
        ("llama_init_from_model", pointer, [pointer, ContextParams]),
        ("llama_batch_get_one", Batch, [ctypes.POINTER(int32), int32]),
        ("llama_decode", int32, [pointer, Batch]),
        ("llama_free", None, [pointer]),
        ("llama_model_free", None, [pointer]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", int32, [pointer]),
        ("llama_tokenize", int32, [pointer, text, int32, ctypes.POINTER(int32), int32, ctypes.c_bool, ctypes.c_bool]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, int32]),
        ("llama_model_meta_val_str", int32, [pointer, text, ctypes.c_char_p, ctypes.c_size_t]),
        ("llama_model_n_layer", int32, [pointer]),
        ("llama_model_rope_type", ctypes.c_int, [pointer]),
        ("ggml_op_name", text, [int32]),
        ("ggml_type_name", text, [int32]),
        ("ggml_is_quantized", ctypes.c_bool, [int32]),
        ("ggml_type_size", ctypes.c_size_t, [int32]),
        ("ggml_backend_buffer_is_host", ctypes.c_bool, [pointer]),
        ("ggml_backend_tensor_get", None, [ctypes.POINTER(Tensor), pointer, ctypes.c_size_t, ctypes.c_size_t]),
    ):
        function = getattr(c, name)
        function.restype, function.argtypes = result, arguments
    c.quiet = LOG(lambda level, message, user: None)
    c.llama_log_set(c.quiet, None)
    c.llama_backend_init()
    p = c.llama_context_default_params()
    found = (p.n_batch, p.n_ubatch, p.n_seq_max, p.flash_attn_type, p.cb_eval, p.type_k, p.type_v)
    if found != (2048, 512, 1, -1, None, TYPES["f16"], TYPES["f16"]):
        raise SystemExit(f"lockstep_llama: this llama.cpp has another llama_context_params (its defaults read {found}): use lockstep_llama.h")
    return c


class Callback:
    """llama.cpp's cb_eval: called for every tensor, first with `asks` set, then with its values there."""

    def __init__(self, c, recorder):
        self.c, self.recorder, self.prompt_seen, self.error, self.declared = c, recorder, False, None, set()
        self.function = EVAL(self.call)

    def call(self, pointer, asks, user):
        tensor = pointer.contents
        name, layer, op = self.name_of(tensor)
        wanted = name in NAMES and (name in VIEWS or op not in ("VIEW", "PERMUTE", "RESHAPE"))
        begins = op == "GET_ROWS" and tensor.src[1].contents.name == b"inp_tokens"  # embeddings: a forward pass begins
        if not wanted and not begins or self.c.ggml_type_name(tensor.type) not in (b"f32", b"i32") or 0 in tensor.ne:
            return False  # empty: the last layer's, in a micro-batch of which no logits are wanted
        if not asks:
            try:
                if begins:
                    self.begin(tensor.src[1].contents)
                if wanted:
                    self.take(tensor, f"{name} {op}", layer)
            except Exception as error:  # ctypes would print it, and go on
                self.error = error
                return False
        return True

    def name_of(self, tensor):
        """The name without the layer, the layer (-1: none), the op."""
        whole, op = tensor.name.decode(), self.c.ggml_op_name(tensor.op).decode()
        if op == "MUL_MAT":  # some models give this product no name
            weight = re.fullmatch(r"blk\.(\d+)\.attn_output\.weight", tensor.src[0].contents.name.decode())
            whole = f"attn_out-{weight[1]}" if weight else whole
        name, dash, layer = whole.rpartition("-")
        if dash and layer.isdigit():
            return name, int(layer), op
        weight = re.match(r"blk\.(\d+)\.", tensor.src[1].contents.name.decode()) if op == "MUL" and tensor.src[1] else None
        return whole, int(weight[1]) if weight else -1, op  # a norm whose name lacks the layer

    def begin(self, ids):
        tokens = self.rows(ids, numpy.int32).reshape(-1)
        self.recorder.batch(tokens, decode=self.prompt_seen and len(tokens) == 1)
        self.prompt_seen = True

    def take(self, tensor, stage, layer):
        is_float = self.c.ggml_type_name(tensor.type) == b"f32"
        values = self.rows(tensor, numpy.float32 if is_float else numpy.int32)
        self.declare(tensor, stage, layer)
        self.recorder.put(stage, values, layer)

    def rows(self, tensor, dtype):
        """[positions, width], from whatever device the tensor is on."""

        by_head = self.c.ggml_op_name(tensor.op) in (b"ROPE", b"ADD_ID") or b"_normed" in tensor.name or b"weights_softmax" in tensor.name
        axis = 2 if by_head else 1  # by head: [dim, heads or experts, positions]
        n = tensor.ne[axis]
        values = numpy.empty((n, numpy.prod(tensor.ne) // n), dtype)
        for i, row in enumerate(values):
            self.c.ggml_backend_tensor_get(ctypes.byref(tensor), row.ctypes.data, i * tensor.nb[axis], row.nbytes)
        return values

    def declare(self, tensor, stage, layer):
        """The arithmetic of this op, as far as the graph tells it."""
        c, flash = self.c, tensor
        for _ in range(8):
            if not flash or c.ggml_op_name(flash.op) == b"FLASH_ATTN_EXT":
                break
            flash = flash.src[0].contents if flash.src[0] else None
        if stage == "kqv_out RESHAPE" and flash and c.ggml_op_name(flash.op) == b"FLASH_ATTN_EXT":
            keys, values = (c.ggml_type_name(flash.src[i].contents.type).decode() for i in (1, 2))
            self.declare_all("kv_dtype", CACHE_NAMES.get(keys, keys))
            if values != keys:
                self.declare_all("values_dtype", CACHE_NAMES.get(values, values))
        on_host = tensor.buffer and c.ggml_backend_buffer_is_host(tensor.buffer)
        if stage.startswith("ffn_geglu") and on_host:
            self.declare_all("activation_dtype", "float16")  # GELU is looked up in a table
        if stage.endswith(" MUL_MAT") and on_host:
            weights = tensor.src[0].contents.type
            name = c.ggml_type_name(weights).decode()
            if c.ggml_is_quantized(weights) and name.startswith("q"):
                blocks = "q8_K" if name.endswith("K") else "q8_1" if name in ("q4_1", "q5_1") else "q8_0"
                self.recorder.declare("operand_dtype", blocks, stage, layer)

    def declare_all(self, attribute, value):
        """Of the whole run, once."""
        if attribute not in self.declared:
            self.declared.add(attribute)
            self.recorder.declare(attribute, value)


class Model:
    def __init__(self, c, path):
        self.c = c
        self.model = c.llama_model_load_from_file(os.fsencode(path), c.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"lockstep_llama: llama.cpp does not load {path}")
        self.vocab = c.llama_model_get_vocab(self.model)

    def tokenize(self, text):
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        n = self.c.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, True)
        if n < 0:
            raise SystemExit("lockstep_llama: llama.cpp does not tokenize this prompt")
        return ids[:n]

    def text(self, key):
        value = ctypes.create_string_buffer(256)
        self.c.llama_model_meta_val_str(self.model, key.encode(), value, len(value))
        return value.value.decode()

    def record(self, path, ids, n=0, decode_ids=(), cache="f16", threads=2):
        """Runs ids as a prompt, then n tokens one at a time: decode_ids, or greedily chosen ones. cache: the type of keys and values."""
        c = self.c
        with Recorder(path, "llama.cpp", self.text("general.architecture"), c.llama_model_n_layer(self.model)) as recorder:
            if c.llama_model_rope_type(self.model) == ROPE_TYPE_NORM:
                recorder.declare("rope_order", "pairs")  # lockstep puts that right
            callback = Callback(c, recorder)
            params = c.llama_context_default_params()
            params.n_threads = params.n_threads_batch = threads
            params.cb_eval = ctypes.cast(callback.function, ctypes.c_void_p)
            params.type_k = params.type_v = TYPES[cache]
            context = c.llama_init_from_model(self.model, params)
            if not context:
                raise SystemExit("lockstep_llama: llama.cpp makes no context for this model")
            try:
                batch = list(ids)
                for i in range(n + 1):
                    tokens = (ctypes.c_int32 * len(batch))(*batch)
                    failed = c.llama_decode(context, c.llama_batch_get_one(tokens, len(batch)))
                    if failed or callback.error:
                        raise SystemExit(f"lockstep_llama: llama_decode failed: {callback.error or failed}")
                    scores = c.llama_get_logits_ith(context, -1)
                    vocab = c.llama_vocab_n_tokens(self.vocab)
                    batch = [decode_ids[i] if i < len(decode_ids) else max(range(vocab), key=scores.__getitem__)]
            finally:
                c.llama_free(context)

    def close(self):
        self.c.llama_model_free(self.model)


def main():
    parser = argparse.ArgumentParser(description="Runs llama.cpp from a Python wheel, and records what it computes for lockstep.")
    parser.add_argument("model", type=pathlib.Path, help="a .gguf file")
    tokens = parser.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--prompt", help="text; special tokens in it are parsed, BOS is added where the model wants it")
    tokens.add_argument("--ids", help="token ids, with commas")
    parser.add_argument("-n", type=int, default=4, help="tokens to decode, chosen greedily (default: 4)")
    parser.add_argument("-o", type=pathlib.Path, required=True, metavar="FILE", help="the record to write")
    parser.add_argument("--cache", choices=TYPES, default="f16", help="type of the KV cache (default: f16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of llama.cpp")
    parser.add_argument("--library", help="a shared library with llama.cpp's C interface, instead of xllamacpp's")
    given = parser.parse_args()
    model = Model(load_library(given.library), given.model)
    ids = [int(i) for i in given.ids.split(",")] if given.ids else model.tokenize(given.prompt)
    model.record(given.o, ids, given.n, cache=given.cache, threads=given.threads)
    model.close()
    print(f"{given.o}: {len(ids)} prompt tokens, {given.n} decoded. Next: lockstep audit {given.model} {given.o}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
