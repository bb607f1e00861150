#include "workbench/trace/stage_list.h"

#include <string.h>

const char *stage_suggest(const char *word, char text[SUGGEST_SIZE])
{
    struct suggestion suggestion = {.word = word};
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        suggest_offer(&suggestion, stage_name(stage));
    }
    return suggest_text(&suggestion, text);
}

enum status stage_list_parse(const char *list, bool *stages, struct error *err)
{
    memset(stages, 0, STAGE_COUNT * sizeof(*stages));
    for (const char *at = list;;) {
        size_t length = strcspn(at, ",");
        char name[64];
        if (length >= sizeof(name)) {
            length = sizeof(name) - 1;
        }
        memcpy(name, at, length);
        name[length] = '\0';
        enum stage stage = stage_by_name(name);
        if (stage == STAGE_COUNT) {
            char suggestion[SUGGEST_SIZE];
            return error_set(err, STATUS_USAGE, NULL, "stages", at - list,
                             "\"%s\", expected names of stages like layer_out,ffn_down%s", name,
                             stage_suggest(name, suggestion));
        }
        stages[stage] = true;
        at += strcspn(at, ",");
        if (*at == '\0') {
            return STATUS_OK;
        }
        at++;
    }
}
