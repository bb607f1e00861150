"""make_imports_llama.py [FOLDER]: the samples of golden/imports/ that llama.cpp makes: tensors by name and op, and the beginning of the text
that its eval-callback prints of them. Needs the wheels xllamacpp, gguf and h5py (tests/slow/with_wheels.sh makes the environment)."""

import ctypes
import os
import pathlib
import sys
import tempfile

import gguf
import numpy

GOLDEN = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(GOLDEN.parent / "tests/slow"))
import llama_engine  # noqa: E402

TOKENS, N_PROMPT, UBATCH = [3, 17, 99, 204], 3, 2
SHOWN, TOLD = 3, 24  # values at each end that the text shows; tensors that it is kept of


def loadable(source, target):
    """llama.cpp wants a tokenizer, if only the model \"none\"."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    if reader.get_field("tokenizer.ggml.model") is None:
        writer.add_string("tokenizer.ggml.model", "none")
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def printed(name, kind, op, sources, shape, array):
    """As common/debug.cpp prints a tensor. array: [ne3, ne2, ne1, ne0]."""
    def ends(n):
        return range(n) if n <= 2 * SHOWN else [*range(SHOWN), None, *range(n - SHOWN, n)]

    def dims(ne):
        return ", ".join(map(str, ne))

    first, second = ([f"{n}{{{dims(ne)}}}" for n, ne in sources] + ["", ""])[:2]
    lines = [f"common_debug_cb_eval: {name:>24} = ({kind}) {op:>10}({first}, {second}}}) = {{{dims(shape)}}}\n"]
    for i3 in range(shape[3]):
        lines.append("    [\n")
        for i2 in ends(shape[2]):
            if i2 is None:
                lines.append("        ..., \n")
                continue
            lines.append("        [\n")
            for i1 in ends(shape[1]):
                if i1 is None:
                    lines.append("            ..., \n")
                    continue
                row = array[i3, i2, i1]
                text = "".join("   ..., " if i0 is None else f"{row[i0]:12.4f}" + (", " if i0 < shape[0] - 1 else "") for i0 in ends(shape[0]))
                lines.append(f"            [{text}  ],\n")
            lines.append("        ],\n")
        lines += ["    ]\n", f"    sum = {array.sum(dtype=numpy.float32):f}\n"]
    return "".join(lines)


TYPES = {0: ("f32", numpy.float32), 1: ("f16", numpy.float16), 26: ("i32", numpy.int32)}


def run(engine, path, each):
    """Runs the prompt in ubatches, then the rest one by one; calls each(name, kind, op, op in text, sources, shape, array [ne3 … ne0])."""
    c = engine.c

    def take(pointer, asks, user):
        tensor = pointer.contents
        if asks or tensor.type not in TYPES:
            return tensor.type in TYPES
        name, kind = tensor.name.decode(), TYPES[tensor.type]
        shape = list(tensor.ne)
        size = 4 if kind[0] != "f16" else 2
        extent = 0 if 0 in shape else sum((tensor.ne[i] - 1) * tensor.nb[i] for i in range(4)) + size  # a view has holes
        raw = numpy.zeros(extent, numpy.uint8)
        if extent:
            c.ggml_backend_tensor_get(pointer, raw.ctypes.data, 0, extent)
        strides = [tensor.nb[3 - i] for i in range(4)]
        array = numpy.ndarray(shape[::-1], kind[1], raw, 0, strides)
        sources = []
        for i in range(2):
            if tensor.src[i]:
                source = ctypes.cast(tensor.src[i], ctypes.POINTER(llama_engine.Tensor)).contents
                sources.append((source.name.decode(), list(source.ne)))
        each(name, kind[0], c.ggml_op_name(tensor.op).decode(), c.ggml_op_desc(pointer).decode(), sources, shape, array)
        return True

    callback = llama_engine.EVAL(take)
    params = c.llama_context_default_params()
    params.n_threads = params.n_threads_batch = 1
    params.n_ubatch = UBATCH
    params.flash_attn_type = 0
    params.cb_eval = ctypes.cast(callback, ctypes.c_void_p)
    model = c.llama_model_load_from_file(os.fsencode(path), c.llama_model_default_params())
    context = model and c.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"llama.cpp does not load {path}")
    for batch in [TOKENS[:N_PROMPT], *([token] for token in TOKENS[N_PROMPT:])]:
        ids = (ctypes.c_int32 * len(batch))(*batch)
        if c.llama_decode(context, c.llama_batch_get_one(ids, len(batch))) != 0:
            raise SystemExit("llama_decode failed")
    c.llama_free(context)
    c.llama_model_free(model)


# Names that the sample keeps; others (views of the cache, masks) are many and no stages.
KEPT = ("embd", "attn_norm-", "Qcur-", "Kcur-", "Vcur-", "kqv_out-", "attn_out-", "ffn_inp-", "ffn_norm-", "ffn_gate-", "ffn_up-", "ffn_swiglu-",
        "ffn_out-", "l_out-", "result_norm", "result_output")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "imports"
    engine, taken, text = llama_engine.Library(), {}, []
    engine.c.ggml_op_desc.restype, engine.c.ggml_op_desc.argtypes = ctypes.c_char_p, [ctypes.POINTER(llama_engine.Tensor)]
    state = {"ubatch": -1}

    def each(name, kind, op, described, sources, shape, array):
        if name == "embd":
            state["ubatch"] += 1
        if name.startswith(KEPT) and op != "VIEW" and "(" not in name:
            taken[f"ubatch{state['ubatch']}/{name}.{op}"] = numpy.squeeze(array.copy(), 0)
        text.append(printed(name, kind, described, sources, shape, array))

    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "model.gguf"
        loadable(GOLDEN / "tiny-llama-q4_1.gguf", path)
        run(engine, path, each)
    numpy.savez_compressed(folder / "llama.cpp.npz", tokens=numpy.array(TOKENS, numpy.int32), n_prompt=numpy.array(N_PROMPT), **taken)
    numbers = "".join(f"  {token}\n" for token in TOKENS[:N_PROMPT])
    (folder / "eval-callback.txt").write_text(f"number of input tokens = {N_PROMPT}\n{numbers}" + "".join(text[:TOLD]))


main()
