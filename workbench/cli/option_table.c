#include "workbench/cli/option_table.h"

#include <string.h>

#include "workbench/cli/command.h"

#define FIELD(field) offsetof(struct arguments, field)

/* A value with a "|" lists the words that are possible; FILE, FOLDER, MODEL, SCRIPT and *.h5 are paths; FAULT and
 * STAGES are names that the program knows. Completion goes by this (completion.c). */
static const struct option options[] = {
    {"--golden", OPTION_TEXT, FIELD(golden), 0, "G.h5", "The golden to compare with; its tokens are run."},
    {"--golden-model", OPTION_TEXT, FIELD(golden_model), 0, "FOLDER",
     "The model that the golden was made with, unquantised say: the golden is judged by its weights."},
    {"--model", OPTION_TEXT, FIELD(model), 0, "MODEL",
     "The model that ran: its widths and heads tell which way arrays lie; fused ones are split by them."},
    {"--map", OPTION_TEXT, FIELD(map), 0, "FILE",
     "TOML that says which stage a name is, where the table of names does not know or is wrong."},
    {"--trace", OPTION_TEXT, FIELD(trace), 0, "T.h5",
     "Judge another engine's trace of the same tokens in the engine's place; no device is needed."},
    {"--on", OPTION_TEXT, FIELD(on), 0, "engine|reference", "The side that runs: engine (default) or reference."},
    {"--json", OPTION_TEXT, FIELD(json), 0, "FILE",
     "Also write the result as JSON; - writes it to standard output, and nothing else."},
    {"--html", OPTION_TEXT, FIELD(html), 0, "FILE",
     "Also write a page for a browser: one file, without network or scripts."},
    {"--md", OPTION_TEXT, FIELD(md), 0, "FILE", "Also write Markdown, under 64 KB, to paste into an issue."},
    {"--junit", OPTION_TEXT, FIELD(junit), 0, "FILE",
     "Also write JUnit XML for a CI: a case for each source and stage."},
    {"--resume", OPTION_FLAG, FIELD(resume), 0, NULL,
     "Go on with the file of --json: run only cases that it lacks, or whose files, options or lockstep changed."},
    {"--dask", OPTION_TEXT, FIELD(dask), 0, "ADDRESS",
     "Run the cases on this Dask scheduler, whose machines have lockstep and the files under the same paths."},
    {"--jobs", OPTION_COUNT, FIELD(jobs), 0, "N", "Run at most N models at once (default: as cores and memory allow)."},
    {"--strict", OPTION_FLAG, FIELD(strict), 0, NULL,
     "Infer no arithmetic: what a file rounds and does not declare is a divergence."},
    {"--table", OPTION_FLAG, FIELD(table), 0, NULL, "Also print the table by stage."},
    {"--ledger", OPTION_FLAG, FIELD(ledger), 0, NULL, "Also print the gain ledger."},
    {"--growth", OPTION_FLAG, FIELD(growth), 0, NULL,
     "Also print the largest values and the rms by layer, each source beside the others."},
    {"--all", OPTION_FLAG, FIELD(all), 0, NULL,
     "Also print all else: every diagnosis, coverage, arithmetic, notes, provenance, table, growth and ledger."},
    {"--weights", OPTION_TEXT, FIELD(weights), 0, "f32|f16",
     "Expand the engine's weights to this type on load (default: keep the file's own format, compute in f32)."},
    {"--fault", OPTION_LIST, FIELD(faults), 0, "FAULT",
     "Plant a known bug (`lockstep faults` lists them): NAME, NAME@LAYER or NAME@LAYER.STAGE; up to 16 times."},
    {"--kernel", OPTION_LIST, FIELD(kernel_choices), 0, "STAGE=KERNEL",
     "Have this kernel make this stage, where batches have as many rows as it takes (`set kernel` at the prompt lists "
     "kernels); up to 16 times."},
    {"--device", OPTION_TEXT, FIELD(device), 0, "D",
     "Use this Vulkan device: its number or part of its name (`lockstep devices` lists them)."},
    {"--drift", OPTION_FLAG, FIELD(drift), 0, NULL, "Print how far A strays from B, layer by layer; exit with 0."},
    {"--prompt", OPTION_TEXT, FIELD(prompt), 0, "TEXT", "The prompt; the model's own tokenizer turns it into tokens."},
    {"--ids", OPTION_TEXT, FIELD(ids), 0, "1,2,3", "The prompt as token ids; needs no tokenizer."},
    {"--chat", OPTION_TEXT, FIELD(chat), 0, "FILE",
     "The prompt as messages in JSON, to which the model's chat template is applied."},
    {"--no-transformers", OPTION_FLAG, FIELD(no_transformers), 0, NULL,
     "Do not ask transformers, which takes seconds to start."},
    {"-n", OPTION_COUNT, FIELD(n), 0, "N", "Decode N tokens after the prompt, each fed back (default: 0)."},
    {"--decode-ids", OPTION_TEXT, FIELD(decode_ids), 0, "4,5",
     "Decode with these tokens instead of those that are chosen."},
    {"--stages", OPTION_TEXT, FIELD(stages), 0, "STAGES",
     "Record only these stages, separated by commas: layer_out,ffn_down."},
    {"--temperature", OPTION_TEXT, FIELD(temperature), 0, "T",
     "Above 0: sample; 0 or omitted: greedy (omitted beside another sampling option: 1)."},
    {"--top-k", OPTION_TEXT, FIELD(top_k), 0, "K", "Sample from the K likeliest tokens."},
    {"--top-p", OPTION_TEXT, FIELD(top_p), 0, "P", "Sample from the likeliest tokens whose probabilities add up to P."},
    {"--seed", OPTION_TEXT, FIELD(seed), 0, "S", "Seed of the sampling (default: 0)."},
    {"--config", OPTION_LIST, FIELD(configs), 0, "FILE",
     "Read a debug configuration, log level, trace categories, layers, probes: a file, JSON as it stands, one key of "
     "it "
     "(KEY.KEY=VALUE), or a preset's name; up to 16 times, each on top of those before."},
    {"--preset", OPTION_TEXT, FIELD(preset), 0, "bench|debug|gemma2-debug", "Use a built-in debug configuration."},
    {"--trace-layers", OPTION_TEXT, FIELD(trace_layers), 0, "0,12,25",
     "Print lines of these layers alone, and copy only them to the host."},
    {"--dtype", OPTION_TEXT, FIELD(dtype), 0, "float32|float16|bfloat16",
     "What transformers computes in (default: float32)."},
    {"--attn-probs", OPTION_FLAG, FIELD(attn_probs), 0, NULL, "Also record the attention probabilities."},
    {"--check", OPTION_FLAG, FIELD(check), 0, NULL,
     "Plant each known bug in every model under golden/, or only in MODEL (a name there or a path), and find it."},
    {"-p", OPTION_COUNT, FIELD(n_prompt), 0, "N", "Run a prompt of N tokens (default: 32)."},
    {"--capture", OPTION_TEXT, FIELD(capture), 0, "off|all|both",
     "Copy every stage to the host (all, the default) or none (off), or compare the speed of both."},
    {"--ops", OPTION_FLAG, FIELD(ops), 0, NULL, "Also print the time of each op."},
    {"--kernels", OPTION_FLAG, FIELD(kernels), 0, NULL,
     "Time single kernels instead of a model: all, or those with WORDS in their names."},
    {"--record", OPTION_TEXT, FIELD(record), 0, "FILE",
     "Also put the result as a row into the table of devices of a Markdown file, docs/hardware.md say."},
    {"-v", OPTION_FLAG, FIELD(verbose), 0, NULL, "Also print what each kernel runs."},
    {"-o", OPTION_TEXT, FIELD(output), 0, "T.h5", "The trace file to write."},
    {"-x", OPTION_TEXT, FIELD(script), 0, "SCRIPT", "Run the lines of a script; stop at the first that fails."},
    {"--interactive", OPTION_FLAG, FIELD(interactive), 0, NULL, "After the script of -x, stay at the prompt."},
};

const struct option *option_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0) {
            return &options[i];
        }
    }
    return NULL;
}
