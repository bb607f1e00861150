#include "workbench/python/prompt_tokens.h"

#include <errno.h>
#include <stdlib.h>

#include "workbench/python/python.h"

/* Sets *ids to NULL, so that a caller may free it after an error too. */
static void free_ids(int32_t **ids)
{
    free(*ids);
    *ids = NULL;
}

enum status token_ids_parse(const char *text, int32_t **ids, uint32_t *n_ids, struct error *err)
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
            free_ids(ids);
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

enum status prompt_tokens(const struct prompt *prompt, const struct model *model, int32_t **ids, uint32_t *n_ids,
                          struct error *err)
{
    *ids = NULL;
    *n_ids = 0;
    if ((prompt->text != NULL) == (prompt->ids != NULL)) {
        return error_set(err, STATUS_USAGE, NULL, "--prompt, --ids", ERROR_NO_OFFSET,
                         "%s given, expected exactly one of them", prompt->text != NULL ? "both" : "neither");
    }
    TRY(prompt->ids != NULL ? token_ids_parse(prompt->ids, ids, n_ids, err)
                            : python_tokenize(model, prompt->text, ids, n_ids, err));
    if (*n_ids == 0) {
        free_ids(ids);
        return error_set(err, STATUS_USAGE, NULL, "--prompt", ERROR_NO_OFFSET, "no token in it, expected at least one");
    }
    for (uint32_t i = 0; i < *n_ids; i++) {
        if ((uint32_t)(*ids)[i] >= model->config.vocab) {
            error_set(err, STATUS_BAD_INPUT, model->path, "token ids", ERROR_NO_OFFSET,
                      "token %d at position %u, expected ids under %u", (*ids)[i], i, model->config.vocab);
            free_ids(ids);
            return STATUS_BAD_INPUT;
        }
    }
    return STATUS_OK;
}
