"""llama.cpp's speed on a GGUF, as one line of JSON: llama.py MODEL LAYERS_ON_GPU N_DECODE N_PROMPT [THREADS].
The prompt is run several times, and the last run counts. The tokens are those of `lockstep bench`."""
import json
import statistics
import sys
import time

from cyllama.llama import llama_cpp as L


def run(context, tokens, *position):
    start = time.perf_counter()
    status = context.decode(L.llama_batch_get_one(tokens, *position))
    context.synchronize()
    assert not status, status
    return (time.perf_counter() - start) * 1e3


def main():
    path, layers, n_decode, n_prompt = sys.argv[1], *map(int, sys.argv[2:5])
    threads = int(sys.argv[5]) if len(sys.argv) > 5 else 2
    L.disable_logging()
    L.ggml_backend_load_all()
    model_params, params = L.LlamaModelParams(), L.LlamaContextParams()
    model_params.n_gpu_layers = layers
    model = L.LlamaModel(path, model_params)
    params.n_ctx, params.n_batch, params.n_ubatch = 1024, 512, 512
    params.n_threads = params.n_threads_batch = threads
    context = L.LlamaContext(model, params)
    vocab = 4000
    prompt = [(504 + i * 13) % vocab for i in range(n_prompt)]
    end, runs = time.perf_counter() + 1, 0  # a GPU's clocks are low until it has worked for a while
    while runs < 3 or (layers and time.perf_counter() < end):
        context.kv_cache_clear()
        prefill = run(context, prompt)
        runs += 1
    decode = [run(context, [(504 + (n_prompt + i) * 13) % vocab], n_prompt + i) for i in range(n_decode + 2)][2:]
    print(json.dumps({"prefill_ms": prefill, "decode_ms": statistics.median(decode) if decode else None}))


main()
