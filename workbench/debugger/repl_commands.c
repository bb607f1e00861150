/* The prompt's commands: one row each, from which come help, completion and the check of arguments. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/repl_show.h"
#include "workbench/python/python.h"

static const struct repl_command commands[] = {
    {"run", "[N]", 0, 1, false, "from position 0: all tokens, or N of them (the prompt is one)", repl_run_command,
     COMPLETE_NOTHING},
    {"step", "[op|layer|token] [N]", 0, 2, false,
     "run N ops, to the end of the layer (or of layer N), or of N tokens (the prompt is one): both sides, each stage "
     "audited",
     repl_step, COMPLETE_UNITS},
    {"back", "[op|layer|token] [N]", 0, 2, false,
     "back N ops, to before the layer (or to the end of layer N), or N tokens (the prompt is one); nothing runs again",
     repl_back, COMPLETE_UNITS},
    {"goto", "LAYER.STAGE [TOKEN]", 1, 2, false,
     "to where the stage has just run, back or forward; of the current batch, or of a token's", repl_goto,
     COMPLETE_STAGES},
    {"continue", "", 0, 0, false, "run all tokens that are left, one line each", repl_continue, COMPLETE_NOTHING},
    {"until", "diverge", 1, 1, false, "run until a step introduces an error, and stop right after it", repl_until,
     COMPLETE_UNTIL},
    {"break", "LAYER.STAGE [if nan|maxabs>X|ratio>X] | diverge", 1, 5, false,
     "stop once the stage ran (and the condition holds), or where any step introduces an error", repl_break_command,
     COMPLETE_STAGES},
    {"delete", "N", 1, 1, false, "take breakpoint N away", repl_delete, COMPLETE_NOTHING},
    {"where", "", 0, 0, false, "the position: tokens, stage that is next", repl_where, COMPLETE_NOTHING},
    {"restart", "[--prompt TEXT | --ids 1,2,3] [-n N]", 0, 4, false,
     "back to position 0, with the same tokens or with these and N decoded ones", repl_restart_command,
     COMPLETE_RESTART},
    {"print", "STAGE[@LAYER] [token] [dim|dim:dim] [from engine|reference|golden]", 1, 5, false,
     "values of a row; dims 3:7 are 3 to 6, token -1 is the last", repl_print, COMPLETE_STAGES},
    {"stats", "STAGE[@LAYER]", 1, 1, false,
     "smallest, largest, mean, rms, share positive, nonfinite over whole rows, and the ten largest dims", repl_stats,
     COMPLETE_STAGES},
    {"diff", "[STAGE[@LAYER]]", 0, 1, false, "where the sides part: all stages, a stage by layer, or one by token",
     repl_diff, COMPLETE_STAGES},
    {"first", "", 0, 0, false, "the first error that a step introduced, and the known bug that explains it", repl_first,
     COMPLETE_NOTHING},
    {"audit", "[STAGE@LAYER]", 0, 1, false, "every recorded row from its own inputs: all stages, or one", repl_audit,
     COMPLETE_STAGES},
    {"diagnose", "", 0, 0, false,
     "every error that a step introduced, the known bug that explains it, and what to try next", repl_diagnose,
     COMPLETE_NOTHING},
    {"logits", "[K] | of TEXT…", 0, REPL_MAX_WORDS, false,
     "the K likeliest next tokens of each side, or the logits of a text's tokens (or id:253)", repl_logits,
     COMPLETE_NOTHING},
    {"probe", "add JSON | load FILE", 1, 1, true, "values to print whenever they are computed", repl_probe,
     COMPLETE_PROBE},
    {"probes", "", 0, 0, false, "the probes", repl_probes, COMPLETE_NOTHING},
    {"trace", "LIST", 1, REPL_MAX_WORDS, false,
     "TRACE lines of categories: attn ffn logits kernels kv sample loader buffers all, -name takes one out, none",
     repl_trace, COMPLETE_TRACE},
    {"log", "LEVEL", 1, 1, false, "silent, info or verbose", repl_log, COMPLETE_LOG},
    {"dump", "FILE.h5 [STAGES] [from engine|reference|golden]", 1, 4, false, "write what was recorded as a trace file",
     repl_dump, COMPLETE_FILES},
    {"load", "golden FILE | hf FOLDER [float32|float16|bfloat16]", 2, 3, false,
     "a golden for the run's tokens: from a file, or recorded now by transformers, in float32 if nothing is said",
     repl_load, COMPLETE_LOAD},
    {"patch", "STAGE@LAYER from reference|golden|FILE | STAGE@LAYER scale X", 3, 3, false,
     "replace a stage's rows each time it runs; the position goes back to before it", repl_patch_command,
     COMPLETE_STAGES},
    {"unpatch", "[STAGE@LAYER]", 0, 1, false, "take the patches away, or one", repl_unpatch, COMPLETE_STAGES},
    {"fault", "on|off NAME[@LAYER[.STAGE]]", 2, 2, false, "plant a known bug in the engine, or take it out", repl_fault,
     COMPLETE_SWITCH},
    {"faults", "[NAME]", 0, 1, false, "the known bugs", repl_faults, COMPLETE_FAULTS},
    {"reload", "shaders", 1, 1, false,
     "compile the GLSL anew (show says from where) and run the last step again; model and position stay", repl_reload,
     COMPLETE_RELOAD},
    {"set", "device|shaders|decode|width|layers|preset VALUE", 2, 2, false,
     "change a setting that show lists; layers 3,17 (or all): those alone are read back", repl_set, COMPLETE_SETTINGS},
    {"show", "", 0, 0, false, "the settings", repl_show_settings, COMPLETE_NOTHING},
    {"plot", "STAGE[@LAYER] [FILE.png]", 1, 2, false,
     "STAGE: rms, layer by token; STAGE@LAYER: values, token by dim; in the terminal, or as a picture", repl_plot,
     COMPLETE_STAGES},
    {"info", "model|device|plan|memory|breakpoints", 1, 1, false, "what is loaded, where the run stops", repl_info,
     COMPLETE_TOPICS},
    {"py", "CODE", 1, 1, true,
     "run Python; engine[\"layer_out\", 17] is a numpy array, likewise reference and golden; tokens, model", repl_py,
     COMPLETE_NOTHING},
    {"source", "FILE", 1, 1, false, "run the commands of a file", repl_source, COMPLETE_FILES},
    {"help", "[COMMAND]", 0, 1, false, "this list, or one command", repl_help, COMPLETE_COMMANDS},
    {"quit", "", 0, 0, false, "end", repl_quit, COMPLETE_NOTHING},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct repl_command *repl_command_by_name(const char *name)
{
    const struct repl_command *found = NULL;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
        if (strncmp(commands[i].name, name, strlen(name)) == 0) {
            if (found != NULL) {
                return NULL;
            }
            found = &commands[i];
        }
    }
    return found;
}

static enum status unknown_command(const char *name, struct error *err)
{
    char fitting[256] = "";
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strncmp(commands[i].name, name, strlen(name)) == 0) {
            strcat(strcat(fitting, fitting[0] != '\0' ? ", " : ""), commands[i].name);
        }
    }
    if (fitting[0] != '\0') {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "fits several commands: %s", fitting);
    }
    return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                     "unknown command, expected one of those that help lists");
}

/* Takes what follows the command's name: as one word if the command wants it raw, else split. */
static enum status read_arguments(const struct repl_command *command, const char *rest, struct words *words,
                                  struct error *err)
{
    enum status status = STATUS_OK;
    if (!command->raw) {
        status = words_split(words, rest, err);
    } else {
        words->n = *rest != '\0' ? 1 : 0;
        words->word[0] = words->n == 1 ? xstrdup(rest) : NULL;
    }
    if (status == STATUS_OK && (words->n < command->min || words->n > command->max)) {
        status = error_set(err, STATUS_USAGE, NULL, command->name, ERROR_NO_OFFSET, "%s arguments, expected: %s %s",
                           words->n < command->min ? "too few" : "too many", command->name,
                           command->args[0] != '\0' ? command->args : "alone");
        words_free(words);
    }
    return status;
}

/* What reload runs again: the last command that ran something, if nothing ended it early. */
static void remember(struct repl *repl, const struct repl_command *command, const char *line, uint64_t before,
                     enum status status)
{
    static repl_function *const running[] = {repl_run_command, repl_step, repl_goto, repl_continue, repl_until};
    bool runs = false;
    for (size_t i = 0; i < sizeof(running) / sizeof(running[0]); i++) {
        runs = runs || command->function == running[i];
    }
    if (!runs) {
        return;
    }
    free(repl->last_run);
    repl->last_run = status == STATUS_OK ? xstrdup(line) : NULL;
    repl->last_from = command->function == repl_run_command ? 0 : before;
    repl->last_to = repl_point(repl);
}

enum status repl_line(struct repl *repl, const char *line, struct error *err)
{
    while (isspace((unsigned char)*line)) {
        line++;
    }
    size_t length = 0;
    while (line[length] != '\0' && !isspace((unsigned char)line[length])) {
        length++;
    }
    if (length == 0 || line[0] == '#') {
        return STATUS_OK;
    }
    char name[64];
    if (length >= sizeof(name)) {
        length = sizeof(name) - 1;
    }
    memcpy(name, line, length);
    name[length] = '\0';
    const struct repl_command *command = repl_command_by_name(name);
    if (command == NULL) {
        return unknown_command(name, err);
    }
    const char *rest = line + length;
    while (isspace((unsigned char)*rest)) {
        rest++;
    }
    repl->stopped = false;
    struct words words = {0};
    enum status status = read_arguments(command, rest, &words, err);
    if (status == STATUS_OK) {
        uint64_t before = repl_point(repl);
        status = command->function(repl, &words, err);
        words_free(&words);
        remember(repl, command, line, before, status);
    }
    return status;
}

enum status repl_help(struct repl *repl, const struct words *words, struct error *err)
{
    (void)repl;
    if (words->n == 1) {
        const struct repl_command *command = repl_command_by_name(words->word[0]);
        if (command == NULL) {
            return unknown_command(words->word[0], err);
        }
        printf("%s %s\n    %s\n", command->name, command->args, command->help);
        return STATUS_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        printf("  %s %s\n      %s\n", commands[i].name, commands[i].args, commands[i].help);
    }
    printf("The beginning of a name is enough where it fits one command. # begins a comment.\n");
    return STATUS_OK;
}

enum status repl_py(struct repl *repl, const struct words *words, struct error *err)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_REFERENCE, SOURCE_GOLDEN};
    repl->python_used = true;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        const struct repl_side *side = repl_side_of(repl, sources[i]);
        enum status status = python_set_trace(source_name(sources[i]), side != NULL ? side->trace : NULL, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    enum status status = python_set_run(&repl->session->model, repl->tokens, repl->n_known, err);
    return status == STATUS_OK ? python_exec(words->word[0], err) : status;
}

enum status repl_source(struct repl *repl, const struct words *words, struct error *err)
{
    return repl_script(repl, words->word[0], err);
}

enum status repl_quit(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    (void)err;
    repl->quit = true;
    return STATUS_OK;
}

/* Collects words into a NULL-terminated list. */
struct list {
    const char **words;
    uint32_t n;
};

static void add_word(struct list *list, const char *word)
{
    list->words = xrealloc(list->words, (list->n + 2) * sizeof(*list->words));
    list->words[list->n++] = word;
    list->words[list->n] = NULL;
}

static void add_words(struct list *list, const char *const *words)
{
    for (; *words != NULL; words++) {
        add_word(list, *words);
    }
}

const char **repl_candidates(enum completion completion, const char *previous_word)
{
    static const char *const sides[] = {"engine", "reference", "golden", NULL};
    static const char *const lists[][10] = {
        [COMPLETE_UNITS] = {"op", "layer", "token"},
        [COMPLETE_TOPICS] = {"model", "device", "plan", "memory", "breakpoints"},
        [COMPLETE_RESTART] = {"--prompt", "--ids", "-n"},
        [COMPLETE_UNTIL] = {"diverge"},
        [COMPLETE_SWITCH] = {"on", "off"},
        [COMPLETE_RELOAD] = {"shaders"},
        [COMPLETE_PROBE] = {"add", "load"},
        [COMPLETE_TRACE] = {"attn", "ffn", "logits", "kernels", "kv", "sample", "loader", "buffers", "all"},
        [COMPLETE_LOG] = {"silent", "info", "verbose"},
        [COMPLETE_LOAD] = {"golden", "hf"},
        [COMPLETE_SETTINGS] = {"device", "shaders", "decode", "width", "layers", "preset"},
    };
    struct list list = {0};
    if (completion == COMPLETE_SWITCH && (strcmp(previous_word, "on") == 0 || strcmp(previous_word, "off") == 0)) {
        completion = COMPLETE_FAULTS;
    }
    if (completion == COMPLETE_SETTINGS && strcmp(previous_word, "preset") == 0) {
        static const char *const presets[] = {"bench", "debug", "gemma2-debug", NULL};
        add_words(&list, presets);
    } else if (strcmp(previous_word, "from") == 0) {
        add_words(&list, sides);
    } else if (completion == COMPLETE_STAGES) {
        for (int stage = 0; stage < STAGE_COUNT; stage++) {
            add_word(&list, stage_name(stage));
        }
    } else if (completion == COMPLETE_COMMANDS) {
        for (size_t i = 0; i < N_COMMANDS; i++) {
            add_word(&list, commands[i].name);
        }
    } else if (completion == COMPLETE_FAULTS) {
        uint32_t n;
        const struct fault *faults = fault_list(&n);
        for (uint32_t i = 0; i < n; i++) {
            add_word(&list, faults[i].name);
        }
    } else if (completion < sizeof(lists) / sizeof(lists[0]) && lists[completion][0] != NULL) {
        add_words(&list, lists[completion]);
    }
    return list.words;
}
