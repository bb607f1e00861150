/* lockstep guide: the shortest way from an engine to a verdict. */
#include <stdio.h>
#include <string.h>

#include "workbench/cli/command.h"
#include "workbench/trace/install_paths.h"

/* @ stands for the folder of the recorders. */
static const struct guide {
    const char *engine, *what, *text;
} guides[] = {
    {"transformers", "HuggingFace transformers, or another torch model",
     "In your own script; copy the recorder beside it (it needs torch alone):\n"
     "\n"
     "  cp @/lockstep_record.py .\n"
     "\n"
     "  from lockstep_record import record\n"
     "  with record(model, \"mine.rec\"):\n"
     "      model.generate(input_ids, max_new_tokens=4, do_sample=False)\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"
     "\n"
     "One sequence, not a batch. Load the model with attn_implementation=\"eager\" and dtype=…;\n"
     "model.to(torch.bfloat16) would round rope's frequencies as well.\n"
     "\n"
     "A golden by transformers, without a script: lockstep golden MODEL --prompt TEXT -n 4 -o golden.h5\n"},
    {"torch", "any torch module tree: your own port, vLLM, SGLang",
     "  cp @/lockstep_record.py .\n"
     "\n"
     "  from lockstep_record import record\n"
     "  with record(model, \"mine.rec\", model_type=\"llama\", n_layers=30):\n"
     "      model(input_ids=ids)                 # [1, positions]; once a forward pass\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"
     "\n"
     "Modules are known by transformers' paths (model.layers.0.self_attn.q_proj); fused qkv_proj and\n"
     "gate_up_proj are split, and a residual that is handed on beside the hidden states is added.\n"
     "What has no place is listed; --map of `lockstep import` gives it one. An engine that does not call\n"
     "modules names its stages itself: see `lockstep guide python`.\n"},
    {"llama.cpp", "llama.cpp, from a Python wheel or from C++",
     "From a Python wheel; nothing has to be built:\n"
     "\n"
     "  pip install xllamacpp\n"
     "  cp @/lockstep_record.py @/lockstep_llama.py .\n"
     "  python lockstep_llama.py MODEL.gguf --prompt \"The color of the sky is\" -n 4 -o mine.rec\n"
     "  lockstep audit MODEL.gguf mine.rec\n"
     "\n"
     "In your own C or C++ program:\n"
     "\n"
     "  cp @/lockstep_record.h @/lockstep_llama.h .\n"
     "\n"
     "  #define LOCKSTEP_RECORD_IMPLEMENTATION\n"
     "  #include \"lockstep_llama.h\"\n"
     "  struct lockstep_llama recorder;\n"
     "  lockstep_llama_begin(&recorder, \"mine.rec\", model);\n"
     "  context_params.cb_eval = lockstep_llama_eval;\n"
     "  context_params.cb_eval_user_data = &recorder;\n"
     "  ...                                      // llama_decode as ever\n"
     "  lockstep_llama_end(&recorder);\n"
     "\n"
     "Its KV cache is f16 and its inputs beside quantised weights are 8-bit: declared by the recorder, and\n"
     "no bugs. A cache of 8 bits: set LLAMA_ATTN_ROT_DISABLE=1, or K and V are kept in other coordinates.\n"},
    {"c", "an engine in C, C++, Rust, Zig or any language that calls C",
     "  cp @/lockstep_record.h .                 # one file, C99 or C++, no dependencies\n"
     "\n"
     "  #define LOCKSTEP_RECORD_IMPLEMENTATION\n"
     "  #include \"lockstep_record.h\"\n"
     "  struct lockstep_record *r = lockstep_record_begin(\"mine.rec\", \"my engine\", \"llama\", n_layers);\n"
     "  lockstep_record_batch(r, tokens, n, LOCKSTEP_PREFILL);   // once a forward pass\n"
     "  lockstep_record_put(r, LOCKSTEP_NO_LAYER, \"embed\", x, n, hidden);\n"
     "  lockstep_record_put(r, layer, \"layer_out\", x, n, hidden);\n"
     "  lockstep_record_end(r);\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"
     "\n"
     "Values on a GPU: read the buffer back, then put it. Start with embed and layer_out; add attn_out and\n"
     "ffn_act to part a layer in three. docs/traces.md lists all stages.\n"},
    {"python", "an engine in Python without torch modules: MLX, JAX, numpy, tinygrad",
     "  cp @/lockstep_record.py .                # it needs numpy\n"
     "\n"
     "  from lockstep_record import Recorder\n"
     "  with Recorder(\"mine.rec\", \"my engine\", \"llama\", n_layers=30) as r:\n"
     "      r.batch(tokens)                      # once a forward pass; r.batch([token], decode=True)\n"
     "      r.put(\"embed\", x)                    # [positions, width]\n"
     "      r.put(\"layer_out\", x, layer=0)\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"
     "\n"
     "MLX: numpy.array(x.astype(mlx.core.float32)). JAX: numpy.asarray(x). Arrays that are saved already\n"
     "(.npz, a folder of .npy, .safetensors) are read as they are: lockstep audit MODEL arrays.npz\n"},
    {"onnxruntime", "ONNX Runtime",
     "Make the stages outputs of the graph, run it, and put them:\n"
     "\n"
     "  cp @/lockstep_record.py .\n"
     "\n"
     "  for name in stages.values():             # {\"layer_out.0\": \"/model/layers.0/Add_1_output_0\", …}\n"
     "      model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))\n"
     "  session = onnxruntime.InferenceSession(model.SerializeToString())\n"
     "  with Recorder(\"mine.rec\", \"onnxruntime\", \"llama\", n_layers=30) as r:\n"
     "      r.batch(tokens)\n"
     "      for stage, values in zip(stages, session.run(list(stages.values()), inputs)):\n"
     "          name, _, layer = stage.partition(\".\")\n"
     "          r.put(name, values[0], int(layer) if layer else -1)\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"},
    {"webgpu", "an engine in JavaScript: WebGPU, WGSL",
     "Copy each stage's buffer to one that can be mapped, and keep its bytes under the stage's name:\n"
     "\n"
     "  async function rows(device, buffer, bytes) {\n"
     "      const copy = device.createBuffer({size: bytes, usage: GPUBufferUsage.MAP_READ | "
     "GPUBufferUsage.COPY_DST});\n"
     "      const encoder = device.createCommandEncoder();\n"
     "      encoder.copyBufferToBuffer(buffer, 0, copy, 0, bytes);\n"
     "      device.queue.submit([encoder.finish()]);\n"
     "      await copy.mapAsync(GPUMapMode.READ);\n"
     "      const values = new Float32Array(copy.getMappedRange().slice(0));\n"
     "      copy.destroy();\n"
     "      return values;                       // the shape's bytes alone: buffers are padded\n"
     "  }\n"
     "\n"
     "Write the values as raw float32 files, layer_out.0.f32 and so on (Node, Deno: writeFileSync; a\n"
     "browser: a download), and pack them with @/lockstep_record.py:\n"
     "\n"
     "  with Recorder(\"mine.rec\", \"my engine\", \"gemma3_text\", n_layers=26) as r:\n"
     "      r.batch(tokens)\n"
     "      for path in pathlib.Path(\"dump\").glob(\"*.f32\"):\n"
     "          stage, _, layer = path.stem.partition(\".\")\n"
     "          r.put(stage, numpy.fromfile(path, \"<f4\").reshape(len(tokens), -1), int(layer) if layer else -1)\n"
     "\n"
     "  lockstep audit MODEL mine.rec\n"},
};

static void print_list(FILE *to)
{
    fprintf(to, "engines:\n");
    for (size_t i = 0; i < sizeof(guides) / sizeof(guides[0]); i++) {
        fprintf(to, "  %-13s %s\n", guides[i].engine, guides[i].what);
    }
}

/* Prints a text with the recorders' folder in the place of each @. */
static void print_guide(const struct guide *guide, const char *folder)
{
    printf("%s: %s\n\n", guide->engine, guide->what);
    for (const char *at = guide->text; *at != '\0'; at++) {
        if (*at == '@') {
            printf("%s", folder);
        } else {
            putchar(*at);
        }
    }
}

enum status command_guide(const struct arguments *arguments, struct error *err)
{
    char folder[PATH_MAX];
    if (arguments->n_positional == 0) {
        printf("usage: lockstep guide ENGINE\n");
        print_list(stdout);
        return STATUS_OK;
    }
    const char *engine = arguments->positional[0];
    TRY(install_path("record", folder, err));
    for (size_t i = 0; i < sizeof(guides) / sizeof(guides[0]); i++) {
        if (strcmp(engine, guides[i].engine) == 0) {
            print_guide(&guides[i], folder);
            return STATUS_OK;
        }
    }
    char names[200] = "";
    for (size_t i = 0, length = 0; i < sizeof(guides) / sizeof(guides[0]); i++) {
        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s", i > 0 ? ", " : "", guides[i].engine);
    }
    return error_set(err, STATUS_USAGE, NULL, "ENGINE", ERROR_NO_OFFSET,
                     "\"%.60s\", expected one of %s; `lockstep guide c` and `guide python` fit every engine", engine,
                     names);
}
