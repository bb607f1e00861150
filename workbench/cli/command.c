/* The command table and the parser of command lines. */
#include "workbench/cli/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/python/python.h"
#include "workbench/trace/version.h"

typedef enum status command_function(const struct arguments *arguments, struct error *err);

/* One row a command. positional: how many words it needs at least and takes at most; options: those that it
 * understands, as they are written on the command line. */
static const struct command {
    const char *name;
    unsigned min_positional, max_positional;
    const char *usage;
    const char *options;
    const char *help;
    command_function *function;
} commands[] = {
    {"diff", 1, 1,
     "MODEL --golden G.h5 [--trace T.h5] [--on engine,reference] [--json FILE] [--weights f32|f16] [--fault NAME] "
     "[--device D]",
     "--golden --trace --on --json --weights --fault --device",
     "run engine and reference on a golden's tokens; which op goes wrong first", command_diff},
    {"audit", 2, 2, "MODEL TRACE.h5 [--json FILE]", "--json", "every op of a trace from its own inputs", command_audit},
    {"compare", 2, 2, "A.h5 B.h5 [--drift] [--json FILE]", "--drift --json",
     "two traces row by row, no model; --drift: how far A strays from B, by layer", command_compare},
    {"trace", 1, 1,
     "MODEL (--prompt TEXT | --ids 1,2,3) [-n N | --decode-ids 4,5] [--on engine|reference] [--stages LIST] "
     "[--temperature T] [--top-k K] [--top-p P] [--seed S] [--weights f32|f16] [--fault NAME] [--device D] -o T.h5",
     "--prompt --ids -n --decode-ids --on --stages --temperature --top-k --top-p --seed --weights --fault --device -o",
     "record every stage of a run", command_trace},
    {"run", 1, 1,
     "MODEL (--prompt TEXT | --ids 1,2,3) [-n N] [--temperature T] [--top-k K] [--top-p P] [--seed S] "
     "[--on engine|reference] [--config FILE] [--preset NAME] [--weights f32|f16] [--fault NAME] [--device D]",
     "--prompt --ids -n --temperature --top-k --top-p --seed --on --config --preset --weights --fault --device",
     "generate text, greedily unless a temperature or another of its options is given", command_run},
    {"debug", 1, 1,
     "MODEL [--golden G.h5] [--prompt TEXT | --ids 1,2,3] [-n N] [--on engine,reference] [--config FILE] [--preset "
     "NAME] "
     "[--weights f32|f16] [--fault NAME] [--device D] [-x SCRIPT]",
     "--golden --prompt --ids -n --on --config --preset --weights --fault --device -x",
     "the prompt: step both sides together", command_debug},
    {"golden", 1, 1,
     "MODEL (--prompt TEXT | --ids 1,2,3) [-n N | --decode-ids 4,5] [--dtype float32|float16|bfloat16] "
     "[--attn-probs] -o G.h5",
     "--prompt --ids -n --decode-ids --dtype --attn-probs -o", "record a golden with HuggingFace transformers",
     command_golden},
    {"faults", 0, 1, "[--check [MODEL]] [--json FILE] [--device D]", "--check --json --device",
     "list the known bugs; --check plants each and must find it", command_faults},
    {"bench", 0, 1,
     "(MODEL [-p N] [-n N] [--capture off|all|both] [--ops] [--on engine|reference] | --kernels [WORDS] [-v]) [--fault "
     "NAME] [--device D] [--json FILE]",
     "-p -n --capture --ops --on --kernels -v --fault --device --json",
     "how fast, what a token costs, and whether what ran was right; --kernels: single kernels, those with WORDS in "
     "their names; -v: and what they run",
     command_bench},
    {"info", 1, 1, "MODEL [--json FILE]", "--json", "config, tensors, the plan, whether they agree", command_info},
    {"devices", 0, 0, "", "", "the Vulkan devices, and which one is taken", command_devices},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* One row an option: where its value goes. */
static const struct option {
    const char *name;
    size_t offset; /* of a const char * in struct arguments */
} options[] = {
    {"--golden", offsetof(struct arguments, golden)},
    {"--trace", offsetof(struct arguments, trace)},
    {"--json", offsetof(struct arguments, json)},
    {"--device", offsetof(struct arguments, device)},
    {"--prompt", offsetof(struct arguments, prompt)},
    {"--ids", offsetof(struct arguments, ids)},
    {"--decode-ids", offsetof(struct arguments, decode_ids)},
    {"--config", offsetof(struct arguments, config)},
    {"--preset", offsetof(struct arguments, preset)},
    {"--stages", offsetof(struct arguments, stages)},
    {"--on", offsetof(struct arguments, on)},
    {"--capture", offsetof(struct arguments, capture)},
    {"--weights", offsetof(struct arguments, weights)},
    {"--dtype", offsetof(struct arguments, dtype)},
    {"--temperature", offsetof(struct arguments, temperature)},
    {"--top-k", offsetof(struct arguments, top_k)},
    {"--top-p", offsetof(struct arguments, top_p)},
    {"--seed", offsetof(struct arguments, seed)},
    {"-o", offsetof(struct arguments, output)},
    {"-x", offsetof(struct arguments, script)},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

/* What `lockstep COMMAND --help` says of each. */
static const struct {
    const char *name, *help;
} option_help[] = {
    {"--golden", "G.h5: what transformers recorded (`golden` makes one); its tokens are run"},
    {"--trace", "T.h5: another engine's trace of the same tokens, in the engine's place; no device is needed"},
    {"--on", "what runs: engine, reference, or both with a comma where both can"},
    {"--json", "FILE: the report as JSON; - is standard output, and nothing else is printed"},
    {"--weights", "how the engine keeps its weights: f32 (as they are stored) or f16"},
    {"--fault",
     "NAME, NAME@LAYER or NAME@LAYER.STAGE: a known bug (`faults` lists them) planted in the engine; up to 16"},
    {"--device", "D: a number or a part of a name that `devices` lists; else the one that it marks"},
    {"--drift", "how far A strays from B, by layer"},
    {"--prompt", "TEXT: is tokenised by the model's own tokenizer"},
    {"--ids", "1,2,3: the prompt as token ids"},
    {"-n", "N: tokens to decode, each fed back"},
    {"--decode-ids", "4,5: tokens to decode with, in the place of those that are chosen"},
    {"--stages", "LIST: layer_out,ffn_down: record these stages alone"},
    {"--temperature", "T: sample; 0 and nothing: greedily"},
    {"--top-k", "K: sample from the K likeliest"},
    {"--top-p", "P: sample from the likeliest that make up P"},
    {"--seed", "S: of the sampling"},
    {"--config", "FILE: debug configuration: log level, trace categories, layers, probes"},
    {"--preset", "NAME: a configuration by name: bench, debug, gemma2-debug"},
    {"--dtype", "what transformers computes in: float32 (as if nothing is said), float16, bfloat16"},
    {"--attn-probs", "record the attention's probabilities as well"},
    {"--check", "plant each known bug, in all models of golden/ or in MODEL (a name there or a path), and find it"},
    {"--capture", "off, all or both: whether every stage is brought to the host"},
    {"--ops", "the time of each op"},
    {"--kernels", "single kernels; WORDS: those with these in their names"},
    {"-v", "and what each kernel runs"},
    {"-p", "N: tokens of the prompt"},
    {"-o", "FILE: where the trace goes"},
    {"-x", "SCRIPT: run its lines, and end at the first that fails"},
};

/* One line for each option of a command, in the order of its row. */
static void print_options(const struct command *command)
{
    for (const char *at = command->options; *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " "), i = 0;
        while (strlen(option_help[i].name) != length || strncmp(option_help[i].name, at, length) != 0) {
            ASSERT(++i < sizeof(option_help) / sizeof(option_help[0]));
        }
        printf("    %-14s %s\n", option_help[i].name, option_help[i].help);
        at += length;
    }
}

static void print_usage(FILE *out)
{
    fputs(
        "lockstep: which layer, op, token and dim of an LLM port goes wrong first, and which known bug explains it\n\n",
        out);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        fprintf(out, "  lockstep %-8s %s\n                    %s\n", commands[i].name, commands[i].usage,
                commands[i].help);
    }
    fputs("\nMODEL is a folder with config.json and *.safetensors or with an RDRR manifest.json, or a .gguf file. FILE "
          "\"-\" is standard output. lockstep COMMAND --help says what its options are.\n"
          "Exit status: 0 parity, 1 divergence, 2 usage, 3 bad input, 4 device or package absent, 5 read or write "
          "failed,\n"
          "6 the GPU was lost, 130 interrupted.\n",
          out);
}

/* Whether word is one of the words of list. */
static bool in_list(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static enum status parse_count(const char *name, const char *text, int64_t *n, struct error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > 1000000) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected a count from 0 to 1000000",
                         text);
    }
    *n = value;
    return STATUS_OK;
}

/* Stores one option's value. */
static enum status store_option(struct arguments *arguments, const char *name, const char *value, struct error *err)
{
    if (strcmp(name, "-n") == 0) {
        return parse_count(name, value, &arguments->n, err);
    }
    if (strcmp(name, "-p") == 0) {
        return parse_count(name, value, &arguments->n_prompt, err);
    }
    if (strcmp(name, "--fault") == 0) {
        if (arguments->n_faults == sizeof(arguments->faults) / sizeof(arguments->faults[0])) {
            return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET, "given more than %u times",
                             arguments->n_faults);
        }
        arguments->faults[arguments->n_faults++] = value;
        return STATUS_OK;
    }
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (strcmp(options[i].name, name) == 0) {
            const char **place = (const char **)((char *)arguments + options[i].offset);
            if (*place != NULL) {
                return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "given twice, expected once");
            }
            *place = value;
            return STATUS_OK;
        }
    }
    ASSERT(!"an option in the command table that nothing stores");
    return STATUS_USAGE;
}

static enum status parse_arguments(const struct command *command, int argc, char **argv, struct arguments *arguments,
                                   struct error *err)
{
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (word[0] != '-' || word[1] == '\0') {
            if (arguments->n_positional == command->max_positional) {
                return error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET,
                                 "one word too many, expected: lockstep %s %s", command->name, command->usage);
            }
            arguments->positional[arguments->n_positional++] = word;
            continue;
        }
        if (!in_list(command->options, word)) {
            return error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET, "unknown option, expected: lockstep %s %s",
                             command->name, command->usage);
        }
        bool *flag = strcmp(word, "--check") == 0        ? &arguments->check
                     : strcmp(word, "--drift") == 0      ? &arguments->drift
                     : strcmp(word, "--ops") == 0        ? &arguments->ops
                     : strcmp(word, "--kernels") == 0    ? &arguments->kernels
                     : strcmp(word, "-v") == 0           ? &arguments->verbose
                     : strcmp(word, "--attn-probs") == 0 ? &arguments->attn_probs
                                                         : NULL;
        if (flag) {
            *flag = true;
            continue;
        }
        if (i + 1 == argc) {
            return error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET, "nothing follows it, expected a value");
        }
        enum status status = store_option(arguments, word, argv[++i], err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (arguments->n_positional < command->min_positional) {
        return error_set(err, STATUS_USAGE, NULL, command->name, ERROR_NO_OFFSET,
                         "%u of %u words given, expected: lockstep %s %s", arguments->n_positional,
                         command->min_positional, command->name, command->usage);
    }
    return STATUS_OK;
}

enum status command_line_run(int argc, char **argv, struct error *err)
{
    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return STATUS_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return version_print(NULL, err);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const struct command *command = &commands[i];
        if (strcmp(command->name, argv[1]) != 0) {
            continue;
        }
        if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("lockstep %s %s\n    %s\n", command->name, command->usage, command->help);
            print_options(command);
            return STATUS_OK;
        }
        struct arguments arguments = {.n = -1, .n_prompt = -1};
        enum status status = parse_arguments(command, argc - 2, argv + 2, &arguments, err);
        return status == STATUS_OK ? command->function(&arguments, err) : status;
    }
    return error_set(err, STATUS_USAGE, NULL, argv[1], ERROR_NO_OFFSET,
                     "unknown command, expected one of those that lockstep --help lists");
}

enum status parse_ids(const char *text, int32_t **ids, uint32_t *n_ids, struct error *err)
{
    uint32_t capacity = 1;
    for (const char *at = text; *at != '\0'; at++) {
        capacity += *at == ',';
    }
    *ids = xmalloc(capacity * sizeof(**ids));
    *n_ids = 0;
    const char *at = text;
    for (;;) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (end == at || errno != 0 || value < 0 || value > INT32_MAX || (*end != ',' && *end != '\0')) {
            free(*ids);
            *ids = NULL;
            return error_set(err, STATUS_USAGE, NULL, "token ids", at - text,
                             "\"%.20s\", expected token ids like 1,2,3", at);
        }
        (*ids)[(*n_ids)++] = (int32_t)value;
        if (*end == '\0') {
            return STATUS_OK;
        }
        at = end + 1;
    }
}

enum status arguments_tokens(const struct arguments *arguments, const struct model *model, int32_t **ids,
                             uint32_t *n_ids, struct error *err)
{
    if ((arguments->prompt != NULL) == (arguments->ids != NULL)) {
        return error_set(err, STATUS_USAGE, NULL, "--prompt, --ids", ERROR_NO_OFFSET,
                         "%s given, expected exactly one of them", arguments->prompt != NULL ? "both" : "neither");
    }
    enum status status = arguments->ids != NULL ? parse_ids(arguments->ids, ids, n_ids, err)
                                                : python_tokenize(model, arguments->prompt, ids, n_ids, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (*n_ids == 0) {
        free(*ids);
        return error_set(err, STATUS_USAGE, NULL, "--prompt", ERROR_NO_OFFSET, "no token in it, expected at least one");
    }
    for (uint32_t i = 0; i < *n_ids; i++) {
        if ((uint32_t)(*ids)[i] >= model->config.vocab) {
            error_set(err, STATUS_BAD_INPUT, model->path, "token ids", ERROR_NO_OFFSET,
                      "token %d at position %u, expected ids under %u", (*ids)[i], i, model->config.vocab);
            free(*ids);
            return STATUS_BAD_INPUT;
        }
    }
    return STATUS_OK;
}
