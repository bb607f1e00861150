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

/* The length of the character that begins with these bytes; 0: they are not UTF-8. (A NUL ends the text, so no byte
 * behind it is looked at.) */
static size_t utf8_length(const unsigned char *at)
{
    static const struct {
        unsigned char least, most, second_least, second_most;
        size_t length;
    } forms[] = {{0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                 {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                 {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (at[0] < forms[i].least || at[0] > forms[i].most) {
            continue;
        }
        bool whole = forms[i].length == 1 || (at[1] >= forms[i].second_least && at[1] <= forms[i].second_most);
        for (size_t k = 2; whole && k < forms[i].length; k++) {
            whole = (at[k] & 0xc0) == 0x80;
        }
        return whole ? forms[i].length : 0;
    }
    return 0;
}

static enum status check_text(const char *text, struct error *err)
{
    if (*text == '\0') {
        return error_set(err, STATUS_USAGE, NULL, "--prompt", ERROR_NO_OFFSET,
                         "is empty: no token in it, expected a text");
    }
    for (const char *at = text; *at != '\0';) {
        size_t length = utf8_length((const unsigned char *)at);
        if (length == 0) {
            return error_set(err, STATUS_USAGE, NULL, "--prompt", at - text, "byte 0x%02x is not UTF-8, expected UTF-8",
                             (unsigned char)*at);
        }
        at += length;
    }
    return STATUS_OK;
}

/* The tokens of what was given, before they are checked against the vocabulary. */
static enum status read_tokens(const struct prompt *prompt, const struct model *model, int32_t **ids, uint32_t *n_ids,
                               struct error *err)
{
    if (prompt->ids != NULL) {
        return token_ids_parse(prompt->ids, ids, n_ids, err);
    }
    if (prompt->text != NULL) {
        TRY(check_text(prompt->text, err));
        return python_tokenize(model, prompt->text, ids, n_ids, err);
    }
    char *text;
    TRY(python_chat(model, prompt->chat, &text, err));
    enum status status = python_tokenize_plain(model, text, ids, n_ids, err);
    free(text);
    return status;
}

enum status prompt_tokens(const struct prompt *prompt, const struct model *model, int32_t **ids, uint32_t *n_ids,
                          struct error *err)
{
    *ids = NULL;
    *n_ids = 0;
    int given = (prompt->text != NULL) + (prompt->ids != NULL) + (prompt->chat != NULL);
    if (given != 1) {
        return error_set(err, STATUS_USAGE, NULL, "--prompt, --chat, --ids", ERROR_NO_OFFSET,
                         "%s given, expected exactly one of them", given > 1 ? "more than one" : "none");
    }
    TRY(read_tokens(prompt, model, ids, n_ids, err));
    if (*n_ids == 0) {
        free_ids(ids);
        return error_set(err, STATUS_USAGE, NULL, prompt->text != NULL ? "--prompt" : "--chat", ERROR_NO_OFFSET,
                         "no token in it, expected at least one");
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
