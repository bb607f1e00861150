#include "workbench/cli/command_table.h"

#include <string.h>

static const struct command commands[] = {
    {
        .name = "diff",
        .group = GROUP_COMPARE,
        .synopsis = "MODEL --golden [--golden-model] [--trace] [--on] [--strict] [--table] [--ledger] [--growth] "
                    "[--all] [--json] "
                    "[--html] "
                    "[--md] [--junit] [--weights] [--fault] [--kernel] [--device]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Run engine and reference on a golden's tokens; name the first bug.",
        .description = "Runs the engine and the reference on the golden's own tokens, checks every op of both and of "
                       "the golden against its own recorded inputs, and reports which layer, op, token and dim goes "
                       "wrong first, which source is wrong, and which known bug explains it.",
        .meanings = {{"--on", "engine|reference|engine,reference",
                      "The sides that run (default: engine,reference; with --trace: reference)."}},
        .pages = true,
        .function = command_diff,
    },
    {
        .name = "audit",
        .group = GROUP_COMPARE,
        .synopsis =
            "MODEL TRACE.h5 [--strict] [--table] [--ledger] [--growth] [--all] [--json] [--html] [--md] [--junit]",
        .min_words = 2,
        .max_words = 2,
        .summary = "Check every op of a trace against its own recorded inputs.",
        .description =
            "Recomputes every op of a trace in double precision from the inputs that the trace recorded, and "
            "compares with the output that it recorded. It needs neither a second trace nor a device. Another "
            "program's dump is read as it is (lockstep import --help).",
        .pages = true,
        .function = command_audit,
    },
    {
        .name = "compare",
        .group = GROUP_COMPARE,
        .synopsis = "A.h5 B.h5 [--drift] [--json] [--html] [--md] [--junit]",
        .min_words = 2,
        .max_words = 2,
        .summary = "Compare two traces row by row; needs no model.",
        .description =
            "Compares two traces of the same tokens row by row. Without a model there are no rounding bounds: "
            "the exit status is 0 if the traces are bit-identical, else 1.",
        .pages = true,
        .function = command_compare,
    },
    {
        .name = "batch",
        .group = GROUP_COMPARE,
        .synopsis = "CASES.toml|CASES.json|FOLDER [--resume] [--jobs] [--dask] [--json] [--html] [--md] [--junit]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Run many comparisons, and report them together.",
        .description =
            "Runs many comparisons of a model with a golden, a trace, or both. A case that fails never stops the "
            "others. A FOLDER stands for every golden NAME.h5 in it whose model, the folder NAME or NAME.gguf, lies "
            "beside it.",
        .meanings = {{"--json", NULL, "Also write the result as JSON, after every case; --resume goes on with it."}},
        .checks_outputs = true,
        .function = command_batch,
    },
    {
        .name = "invariants",
        .group = GROUP_COMPARE,
        .synopsis =
            "MODEL [--prompt | --chat | --ids] [--weights] [--fault] [--device] [--json] [--html] [--md] [--junit]\n"
            "MODEL --trace --trace [--json] [--html] [--md] [--junit]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Check that prefill, decode and chunks agree.",
        .description =
            "Runs the same tokens on the engine in several ways: as one prefill, again behind another prompt, token by "
            "token as decode, and in chunks whose sizes select other kernels. Each run is audited by itself; the "
            "repeated one must be bit-identical. With two traces of another engine, of the same tokens, these are "
            "compared instead; padding before the tokens of the second one is found by itself.",
        .meanings = {{"--trace", "T.h5", "Compare two traces instead, A and B: --trace A --trace B.",
                      offsetof(struct arguments, second_trace)}},
        .pages = true,
        .function = command_invariants,
    },
    {
        .name = "run",
        .group = GROUP_RUN,
        .synopsis =
            "MODEL (--prompt | --chat | --ids) [-n] [--temperature] [--top-k] [--top-p] [--seed] [--on] [--config] "
            "[--preset] [--trace] [--trace-layers] [--weights] [--fault] [--kernel] [--device]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Generate text.",
        .description =
            "Generates text, greedily unless a sampling option is given, then prints the ids of the generated "
            "tokens. With --config or --preset it also prints probes and traces, in lines made for grep.",
        .meanings = {{"-n", NULL, "Generate at most N tokens (default: 24)."},
                     {"--trace", "CATEGORIES",
                      "Print TRACE lines of these categories, separated by commas: attn, ffn, logits, kernels, kv, "
                      "sample, loader, buffers, all; -NAME takes one out."}},
        .function = command_run,
    },
    {
        .name = "trace",
        .group = GROUP_RUN,
        .synopsis = "MODEL (--prompt | --chat | --ids) [-n | --decode-ids] [--on] [--stages] [--temperature] [--top-k] "
                    "[--top-p] "
                    "[--seed] [--weights] [--fault] [--device] -o",
        .min_words = 1,
        .max_words = 1,
        .summary = "Record every stage of a run in a trace file.",
        .description = "Runs one side and writes every stage, or those that are asked for, to an HDF5 file that audit, "
                       "compare and diff read.",
        .function = command_trace,
    },
    {
        .name = "golden",
        .group = GROUP_RUN,
        .synopsis = "MODEL (--prompt | --chat | --ids) [-n | --decode-ids] [--dtype] [--attn-probs] -o",
        .min_words = 1,
        .max_words = 1,
        .summary = "Record a golden with HuggingFace transformers.",
        .description = "Runs HuggingFace transformers inside the program and records every intermediate result in an "
                       "HDF5 file, the golden. It needs the Python packages torch and transformers.",
        .meanings = {{"-o", "G.h5", "The golden file to write."}},
        .function = command_golden,
    },
    {
        .name = "import",
        .group = GROUP_RUN,
        .synopsis = "SOURCE [--model] [--map] -o",
        .min_words = 1,
        .max_words = 1,
        .summary = "Turn another program's dump into a trace.",
        .description =
            "Reads what another program dumped (arrays by module path, by llama.cpp's or by lockstep's names; "
            "docs/traces.md lists the formats), writes it as a trace, and tells what it put right and which "
            "arrays have no place. audit, compare, diff --trace and debug --trace take SOURCE as it is.",
        .pages = true,
        .function = command_import,
    },
    {
        .name = "guide",
        .group = GROUP_RUN,
        .synopsis = "[ENGINE]",
        .min_words = 0,
        .max_words = 1,
        .summary = "Tell the shortest way from an engine to a verdict.",
        .description =
            "Prints the few lines that record what an engine computes, and the command that judges it. Without "
            "ENGINE it lists the engines.",
        .function = command_guide,
    },
    {
        .name = "bench",
        .group = GROUP_RUN,
        .synopsis =
            "MODEL [-p] [-n] [--capture] [--ops] [--record] [--on] [--fault] [--kernel] [--device] [--json] [--html]\n"
            "--kernels [WORDS] [-v] [--fault] [--device] [--json] [--html]",
        .min_words = 0,
        .max_words = 1,
        .summary = "Measure speed, and check that what ran was right.",
        .description =
            "Measures how fast a side runs a model, what a token costs it, and whether what it ran was right. "
            "With --kernels it times single kernels; each is first checked against the reference, and one "
            "that fails is not timed.",
        .meanings = {{"-n", NULL, "Decode N tokens after the prompt (default: 16)."}},
        .function = command_bench,
    },
    {
        .name = "debug",
        .group = GROUP_DEBUG,
        .synopsis =
            "MODEL [--golden | --prompt | --chat | --ids] [--trace] [-n] [--on] [--config] [--preset] [--trace-layers] "
            "[--weights] "
            "[--fault] [--kernel] [--device] [-x] [--interactive]\n"
            "--resume [-x] [--interactive]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Step engine and reference together at a prompt.",
        .description =
            "Opens a prompt that steps the engine and the reference together, by op, layer or token, shows and "
            "patches what they computed, and audits it. Its command `help` lists all others.",
        .meanings = {{"--golden", NULL, "A golden: its tokens are run, and its values can be shown beside the others."},
                     {"--trace", "T.h5",
                      "A file: another engine's trace, stepped through in the engine's place; no device is needed. "
                      "Names of trace categories where there is no such file: print their TRACE lines. May be given "
                      "twice, for both.",
                      offsetof(struct arguments, second_trace), 0},
                     {"--resume", "FILE", "Go on with a session that `save FILE` wrote: same place, same values.", 0,
                      offsetof(struct arguments, resume_file)},
                     {"-n", NULL, "Decode N tokens after the prompt (default: 24)."},
                     {"--on", "engine|reference|engine,reference", "The sides that run (default: engine,reference)."}},
        .function = command_debug,
    },
    {
        .name = "info",
        .group = GROUP_INSPECT,
        .synopsis = "MODEL [--json]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Show a model's config, tensors and plan, and whether they agree.",
        .description =
            "Shows what lockstep makes of a model: its config, its tensors, the plan of its forward pass, and "
            "what is odd about its files.",
        .pages = true,
        .function = command_info,
    },
    {
        .name = "tokens",
        .group = GROUP_INSPECT,
        .synopsis = "MODEL (--prompt | --chat | --ids) [--trace] [--no-transformers] [--all] [--json]",
        .min_words = 1,
        .max_words = 1,
        .summary = "Show the tokens of a prompt or a chat, beside transformers'.",
        .description =
            "Shows what a model is given before its first layer: the ids with their texts, BOS and special tokens, the "
            "text that the chat template makes of messages, and whether transformers, where it is installed, makes the "
            "same ids. With --trace, whether another engine ran these tokens as its prompt, and else where and how "
            "they "
            "differ; the exit status is 1 then.",
        .meanings = {{"--trace", "T.h5", "Compare with the prompt's tokens of this trace."},
                     {"--all", NULL, "Show every token of a long text."}},
        .function = command_tokens,
    },
    {
        .name = "faults",
        .group = GROUP_INSPECT,
        .synopsis = "[NAME] [--json]\n--check [MODEL] [--json] [--device]",
        .min_words = 0,
        .max_words = 1,
        .summary = "List the known bugs, or plant each and check that it is found.",
        .description =
            "Lists the known bugs that --fault can plant, and the kinds of bugs that are solved for. With NAME it "
            "tells "
            "one of them: what it is, its formula, where it applies, how it shows and how to plant it. With --check "
            "each "
            "is planted in the engine and must be found where it was planted and called by its name; healthy runs must "
            "raise no alarm; and bugs of each kind must be called what they are.",
        .pages = true,
        .function = command_faults,
    },
    {
        .name = "devices",
        .group = GROUP_INSPECT,
        .synopsis = "",
        .min_words = 0,
        .max_words = 0,
        .summary = "List the Vulkan devices.",
        .description = "Lists the Vulkan devices, and marks the one that runs where --device names none.",
        .pages = true,
        .function = command_devices,
    },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct exit_meaning exit_meanings[] = {
    {STATUS_OK, "parity, or success"},
    {STATUS_DIVERGED, "a divergence was found"},
    {STATUS_USAGE, "wrong usage"},
    {STATUS_BAD_INPUT, "a file, its JSON or its shapes are wrong"},
    {STATUS_ABSENT, "a Vulkan device or a Python package is missing"},
    {STATUS_IO, "reading or writing failed"},
    {STATUS_DEVICE, "the GPU was lost or timed out"},
    {STATUS_UNDECIDED, "undecided: too little could be judged"},
    {STATUS_INTERRUPTED, "interrupted"},
};

const char *command_group_name(enum command_group group)
{
    static const char *const names[GROUP_COUNT] = {"Compare", "Run", "Debug", "Inspect"};
    return names[group];
}

const struct command *command_list(uint32_t *n_commands)
{
    *n_commands = N_COMMANDS;
    return commands;
}

const struct exit_meaning *exit_meaning_list(uint32_t *n_meanings)
{
    *n_meanings = sizeof(exit_meanings) / sizeof(exit_meanings[0]);
    return exit_meanings;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* Finds the next option in a synopsis, at or after *at: where it begins, and its length. Moves *at behind it. */
static const char *next_name(const char *synopsis, size_t *at, size_t *length)
{
    static const char between[] = " \n()[]|";
    *length = 0;
    while (synopsis[ *at += strspn(synopsis + *at, between)] != '\0') {
        const char *word = synopsis + *at;
        *length = strcspn(word, between);
        *at += *length;
        if (word[0] == '-') {
            return word;
        }
    }
    return NULL;
}

/* Fills *option with its row, changed as the command says. */
static void apply_meaning(const struct command *command, const struct option *row, struct option *option)
{
    *option = *row;
    for (size_t i = 0; i < COMMAND_MOST_MEANINGS && command->meanings[i].option != NULL; i++) {
        const struct option_meaning *meaning = &command->meanings[i];
        if (strcmp(meaning->option, row->name) == 0) {
            option->value = meaning->value != NULL ? meaning->value : row->value;
            option->help = meaning->help != NULL ? meaning->help : row->help;
            option->second = meaning->second;
            if (meaning->as_text > 0) {
                option->kind = OPTION_TEXT;
                option->offset = meaning->as_text;
            }
        }
    }
}

/* Where a name stands in a synopsis first; NULL: nowhere. */
static const char *find_name(const char *synopsis, const char *name, size_t length)
{
    size_t at = 0, word_length;
    const char *word = next_name(synopsis, &at, &word_length);
    while (word != NULL && (word_length != length || strncmp(word, name, length) != 0)) {
        word = next_name(synopsis, &at, &word_length);
    }
    return word;
}

bool command_option(const struct command *command, const char *name, size_t length, struct option *option)
{
    if (find_name(command->synopsis, name, length) == NULL) {
        return false;
    }
    const struct option *row = option_find(name, length);
    ASSERT(row != NULL);
    apply_meaning(command, row, option);
    return true;
}

bool command_next_option(const struct command *command, size_t *at, struct option *option)
{
    size_t length;
    const char *word = next_name(command->synopsis, at, &length);
    while (word != NULL && find_name(command->synopsis, word, length) != word) {
        word = next_name(command->synopsis, at, &length); /* it stood earlier in the synopsis, too */
    }
    return word != NULL && command_option(command, word, length, option);
}
