/* probe, probes, trace, log: what is printed while stages run. */
#include <stdio.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/probes/probe_config.h"

/* add JSON, or load FILE. The rest of the line is one word, as JSON holds quotes and blanks. */
enum status do_probe(struct repl *repl, const struct words *words, struct error *err)
{
    const char *text = words->word[0];
    size_t length = strcspn(text, " \t");
    const char *rest = text + length + strspn(text + length, " \t");
    bool add = length == 3 && strncmp(text, "add", 3) == 0, load = length == 4 && strncmp(text, "load", 4) == 0;
    if ((!add && !load) || *rest == '\0') {
        return words_refuse(words, 0, err);
    }
    struct probe_config_text json = {.json = rest, .name = "probe", .only_probes = true};
    enum status status = add ? probe_config_read(repl->config, &json, repl->plan, err)
                             : probe_config_read_file(repl->config, rest, true, repl->plan, err);
    TRY(status);
    return repl_update_capture(repl, err);
}

static void print_list(const char *name, const int32_t *list, uint32_t n)
{
    printf(" %s", name);
    for (uint32_t i = 0; i < n; i++) {
        printf("%s%d", i > 0 ? "," : " ", list[i]);
    }
    printf("%s", n == 0 ? " all" : "");
}

enum status do_probes(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    (void)err;
    for (uint32_t i = 0; i < repl->config->n_probes; i++) {
        const struct probe *probe = &repl->config->probes[i];
        printf("  %s: %s", probe->id, stage_name(probe->stage));
        if (stage_in_layer(probe->stage)) {
            print_list("layers", probe->layers, probe->n_layers);
        }
        print_list("tokens", probe->tokens, probe->n_tokens);
        print_list("dims", probe->dims, probe->n_dims);
        printf("\n");
    }
    if (repl->config->n_probes == 0) {
        printf("no probes\n");
    }
    return STATUS_OK;
}

/* Replaces the list of categories: "attn ffn", "all -buffers", "attn,kv", "none". */
enum status do_trace(struct repl *repl, const struct words *words, struct error *err)
{
    char list[256] = "";
    for (uint32_t i = 0; i < words->n; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? "," : "", words->word[i]);
    }
    return probe_config_set_categories(repl->config, list, err);
}

enum status do_log(struct repl *repl, const struct words *words, struct error *err)
{
    return probe_config_set_level(repl->config, words->word[0], err);
}
