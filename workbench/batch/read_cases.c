/* Reading the cases of a batch: TOML, JSON, or a folder of goldens. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/batch/batch.h"
#include "workbench/python/python.h"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* A path as a case gives it: relative to the file that lists the cases. */
static char *resolve(const struct batch_cases *batch, const char *given)
{
    char path[2 * PATH_MAX];
    const char *slash = strrchr(batch->path, '/');
    if (given[0] == '/' || slash == NULL) {
        return xstrdup(given);
    }
    snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - batch->path), batch->path, given);
    return xstrdup(path);
}

/* The texts that a case may give; golden, trace, model and golden_model are paths. */
#define CASE_TEXTS(X) \
    X(name, false)    \
    X(model, true) X(golden, true) X(trace, true) X(golden_model, true) X(on, false) X(device, false) X(weights, false)

static char **text_of(struct batch_case *one, const char *key, bool *is_path)
{
#define X(field, path)              \
    if (strcmp(key, #field) == 0) { \
        *is_path = path;            \
        return &one->field;         \
    }
    CASE_TEXTS(X)
#undef X
    return NULL;
}

/* "case 3: model": the field that an error is about; key "": "case 3". */
static const char *field_of(uint32_t index, const char *key, char text[128])
{
    snprintf(text, 128, "case %u%s%s", index + 1, *key != '\0' ? ": " : "", key);
    return text;
}

static enum status read_text(const struct batch_cases *batch, uint32_t index, const char *key, const json_t *value,
                             char **text, struct error *err)
{
    char field[128];
    *text = NULL;
    if (!json_is_string(value) || *json_string_value(value) == '\0') {
        return error_set(err, STATUS_BAD_INPUT, batch->path, field_of(index, key, field), ERROR_NO_OFFSET,
                         "expected a text");
    }
    *text = xstrdup(json_string_value(value));
    return STATUS_OK;
}

static enum status read_faults(const struct batch_cases *batch, uint32_t index, const json_t *value,
                               struct batch_case *one, struct error *err)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    one->faults = xcalloc(n, sizeof(*one->faults));
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_is_array(value) ? json_array_get(value, i) : value;
        TRY(read_text(batch, index, "fault", entry, &one->faults[i], err));
        one->n_faults++;
    }
    return STATUS_OK;
}

static enum status read_expect(const struct batch_cases *batch, uint32_t index, const json_t *value,
                               struct batch_case *one, struct error *err)
{
    char field[128], *text;
    TRY(read_text(batch, index, "expect", value, &text, err));
    for (one->expect = 0; one->expect < OUTCOME_COUNT && strcmp(outcome_name(one->expect), text) != 0;) {
        one->expect++;
    }
    enum status status = STATUS_OK;
    if (one->expect == OUTCOME_COUNT) {
        one->expect = OUTCOME_PARITY;
        status = error_set(err, STATUS_BAD_INPUT, batch->path, field_of(index, "expect", field), ERROR_NO_OFFSET,
                           "\"%s\", expected parity, diverged, undecided or error", text);
    }
    free(text);
    return status;
}

static enum status read_member(const struct batch_cases *batch, uint32_t index, const char *key, const json_t *value,
                               struct batch_case *one, struct error *err)
{
    char field[128], *given;
    bool is_path;
    if (strcmp(key, "fault") == 0) {
        return read_faults(batch, index, value, one, err);
    }
    if (strcmp(key, "expect") == 0) {
        return read_expect(batch, index, value, one, err);
    }
    char **text = text_of(one, key, &is_path);
    if (text == NULL) {
        return error_set(err, STATUS_BAD_INPUT, batch->path, field_of(index, key, field), ERROR_NO_OFFSET,
                         "is no key of a case, expected name, model, golden, trace, golden_model, fault, on, device, "
                         "weights or expect");
    }
    TRY(read_text(batch, index, key, value, &given, err));
    *text = is_path ? resolve(batch, given) : xstrdup(given);
    free(given);
    return STATUS_OK;
}

/* A case without a name is called after its golden or trace. A terminal never gets control characters of a name. */
static void name_case(struct batch_case *one)
{
    const char *path = one->golden != NULL ? one->golden : one->trace;
    if (one->name == NULL) {
        const char *slash = strrchr(path, '/');
        one->name = xstrdup(slash != NULL ? slash + 1 : path);
    }
    for (char *c = one->name; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
    }
}

static enum status read_case(const struct batch_cases *batch, uint32_t index, const json_t *given,
                             struct batch_case *one, struct error *err)
{
    char field[128];
    const char *key;
    const json_t *value;
    if (!json_is_object(given)) {
        return error_set(err, STATUS_BAD_INPUT, batch->path, field_of(index, "", field), ERROR_NO_OFFSET,
                         "expected an object");
    }
    json_object_foreach((json_t *)given, key, value)
    {
        TRY(read_member(batch, index, key, value, one, err));
    }
    if (one->model == NULL || (one->golden == NULL && one->trace == NULL)) {
        return error_set(err, STATUS_BAD_INPUT, batch->path,
                         field_of(index, one->model == NULL ? "model" : "golden", field), ERROR_NO_OFFSET,
                         "is missing, expected a model, and a golden or a trace");
    }
    const char *unused = one->n_faults > 0           ? "fault"
                         : one->on != NULL           ? "on"
                         : one->device != NULL       ? "device"
                         : one->weights != NULL      ? "weights"
                         : one->golden_model != NULL ? "golden_model"
                                                     : NULL;
    if (one->golden == NULL && unused != NULL) {
        return error_set(err, STATUS_BAD_INPUT, batch->path, field_of(index, unused, field), ERROR_NO_OFFSET,
                         "needs a golden: a trace alone is audited, and nothing runs");
    }
    name_case(one);
    return STATUS_OK;
}

static enum status check_names(const struct batch_cases *batch, struct error *err)
{
    char field[128];
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(batch->cases[i].name, batch->cases[k].name) == 0) {
                return error_set(err, STATUS_BAD_INPUT, batch->path, field_of(i, "name", field), ERROR_NO_OFFSET,
                                 "\"%s\" is the name of case %u, too: each needs a name of its own",
                                 batch->cases[i].name, k + 1);
            }
        }
    }
    return STATUS_OK;
}

static enum status read_list(struct batch_cases *batch, const json_t *document, struct error *err)
{
    const json_t *list = json_object_get(document, "case");
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return error_set(err, STATUS_BAD_INPUT, batch->path, "case", ERROR_NO_OFFSET,
                         "expected a list of cases: [[case]] in TOML, {\"case\": [{…}]} in JSON");
    }
    batch->cases = xcalloc(json_array_size(list), sizeof(*batch->cases));
    for (size_t i = 0; i < json_array_size(list); i++) {
        batch->n_cases++;
        TRY(read_case(batch, (uint32_t)i, json_array_get(list, i), &batch->cases[i], err));
    }
    return check_names(batch, err);
}

static enum status read_document(const char *path, json_t **document, struct error *err)
{
    json_error_t json;
    char *text = NULL;
    struct stat info;
    if (strcmp(path, "-") != 0 && (stat(path, &info) != 0 || !S_ISREG(info.st_mode))) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be opened: %s",
                         stat(path, &info) != 0 ? strerror(errno) : "it is no regular file");
    }
    if (ends_with(path, ".toml")) {
        TRY(python_toml(path, &text, err));
        *document = json_loads(text, JSON_REJECT_DUPLICATES, &json);
        free(text);
    } else if (strcmp(path, "-") == 0) {
        *document = json_loadf(stdin, JSON_REJECT_DUPLICATES, &json);
    } else {
        *document = json_load_file(path, JSON_REJECT_DUPLICATES, &json);
    }
    if (*document == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, json.position, "line %d: %s", json.line, json.text);
    }
    return STATUS_OK;
}

static void add_case(struct batch_cases *batch, const char *model, const char *golden)
{
    batch->cases = xrealloc(batch->cases, (batch->n_cases + 1) * sizeof(*batch->cases));
    struct batch_case *one = &batch->cases[batch->n_cases++];
    *one = (struct batch_case){.model = xstrdup(model), .golden = xstrdup(golden)};
    name_case(one);
}

/* Adds a golden with its model, the folder or .gguf of the same stem, or notes that it has none. */
static void add_golden(struct batch_cases *batch, const char *golden)
{
    char model[2 * PATH_MAX];
    struct stat info;
    int stem = (int)(strlen(golden) - strlen(".h5"));
    snprintf(model, sizeof(model), "%.*s", stem, golden);
    bool found = stat(model, &info) == 0 && S_ISDIR(info.st_mode);
    if (!found) {
        snprintf(model, sizeof(model), "%.*s.gguf", stem, golden);
        found = stat(model, &info) == 0;
    }
    if (found) {
        add_case(batch, model, golden);
        return;
    }
    batch->skipped = xrealloc(batch->skipped, (batch->n_skipped + 1) * sizeof(*batch->skipped));
    batch->skipped[batch->n_skipped++] = xstrdup(golden);
}

static int is_golden(const struct dirent *entry)
{
    return ends_with(entry->d_name, ".h5") && entry->d_name[0] != '.';
}

static enum status read_folder(struct batch_cases *batch, struct error *err)
{
    char golden[2 * PATH_MAX];
    struct dirent **entries = NULL;
    size_t length = strlen(batch->path);
    while (length > 1 && batch->path[length - 1] == '/') {
        length--;
    }
    int n = scandir(batch->path, &entries, is_golden, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(golden, sizeof(golden), "%.*s/%s", (int)length, batch->path, entries[i]->d_name);
        add_golden(batch, golden);
        free(entries[i]);
    }
    free(entries);
    if (batch->n_cases == 0) {
        return error_set(err, STATUS_BAD_INPUT, batch->path, NULL, ERROR_NO_OFFSET,
                         "holds no golden NAME.h5 beside its model, the folder NAME or NAME.gguf");
    }
    return STATUS_OK;
}

enum status cases_read(struct batch_cases *batch, const char *path, struct error *err)
{
    struct stat info;
    json_t *document = NULL;
    *batch = (struct batch_cases){.path = xstrdup(path)};
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    enum status status = is_folder ? read_folder(batch, err) : read_document(path, &document, err);
    if (status == STATUS_OK && !is_folder) {
        status = read_list(batch, document, err);
    }
    json_decref(document);
    if (status != STATUS_OK) {
        cases_free(batch);
    }
    return status;
}

void cases_free(struct batch_cases *batch)
{
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        struct batch_case *one = &batch->cases[i];
#define X(field, path) free(one->field);
        CASE_TEXTS(X)
#undef X
        for (uint32_t k = 0; k < one->n_faults; k++) {
            free(one->faults[k]);
        }
        free(one->faults);
        json_decref(one->result);
    }
    for (uint32_t i = 0; i < batch->n_skipped; i++) {
        free(batch->skipped[i]);
    }
    free(batch->skipped);
    free(batch->cases);
    free(batch->path);
    *batch = (struct batch_cases){0};
}
