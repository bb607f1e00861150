/* Reads the run of a saved session: tokens, batches, place, rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/run.h"
#include "workbench/debugger/session_reading.h"
#include "workbench/session/digest/file_digest.h"
#include "workbench/session/progress.h"
#include "workbench/trace/version.h"

/* Whether a golden was a side of the run. */
static bool has_golden_side(const struct session_reading *in)
{
    json_t *sides = json_object_get(json_object_get(in->root, "run"), "sides"), *side;
    bool found = false;
    size_t i;
    json_array_foreach(sides, i, side)
    {
        const char *source = json_string_value(json_object_get(side, "source"));
        found = found || (source != NULL && strcmp(source, source_name(SOURCE_GOLDEN)) == 0);
    }
    return found;
}

/* Starts the run with the saved tokens. Those of a golden are there already. */
static enum status read_tokens(const struct session_reading *in, struct repl *repl)
{
    json_t *run = json_object_get(in->root, "run"), *tokens;
    int n_prompt, capacity;
    UNPACK(in, run, "{s:o, s:i, s:i}", "tokens", &tokens, "n_prompt", &n_prompt, "capacity", &capacity);
    size_t n = json_array_size(tokens);
    if (n_prompt == 0) {
        return n == repl->n_known ? STATUS_OK : session_malformed(in, "run.tokens: not those of the golden");
    }
    if (n_prompt < 0 || (size_t)n_prompt > n || (size_t)capacity < n) {
        return session_malformed(in, "run.tokens: fewer than the prompt, or more than there is room for");
    }
    int32_t *ids = xcalloc(n, sizeof(*ids));
    bool sane = true;
    for (size_t i = 0; i < n; i++) {
        json_int_t id = json_integer_value(json_array_get(tokens, i));
        sane = sane && id >= 0 && id < (json_int_t)repl->session->model.config.vocab;
        ids[i] = (int32_t)id;
    }
    enum status status = !sane ? session_malformed(in, "run.tokens: not of this vocabulary")
                               : repl_restart(repl, ids, (uint32_t)n_prompt, (uint32_t)(capacity - n_prompt), in->err);
    if (status == STATUS_OK) {
        memcpy(repl->tokens, ids, n * sizeof(*ids));
        repl->n_known = (uint32_t)n;
        if (repl->golden != NULL && has_golden_side(in)) { /* loaded into a run of its own tokens */
            struct trace *golden = repl->golden;
            repl->golden = NULL;
            repl_attach_golden(repl, golden);
        }
    }
    free(ids);
    return status;
}

/* A text that lives as long as the prompt. */
static const char *keep_name(struct repl *repl, const char *name)
{
    for (uint32_t i = 0; i < repl->n_names; i++) {
        if (strcmp(repl->names[i], name) == 0) {
            return repl->names[i];
        }
    }
    repl->names = xrealloc(repl->names, (repl->n_names + 1) * sizeof(*repl->names));
    repl->names[repl->n_names] = xstrdup(name);
    return repl->names[repl->n_names++];
}

static void read_kernels(struct repl *repl, json_t *array, struct engine_kernel *kernels)
{
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const char *shader = NULL;
        json_t *variant;
        int numbers[5];
        if (json_unpack(json_array_get(array, s), "[s, o, i, i, i, i, i]", &shader, &variant, &numbers[0], &numbers[1],
                        &numbers[2], &numbers[3], &numbers[4]) == 0) {
            kernels[s] = (struct engine_kernel){
                keep_name(repl, shader), json_is_string(variant) ? keep_name(repl, json_string_value(variant)) : NULL,
                (uint32_t)numbers[0],    (uint32_t)numbers[1],
                (uint32_t)numbers[2],    (uint32_t)numbers[3],
                (uint32_t)numbers[4]};
        }
    }
}

static enum status read_batch(const struct session_reading *in, struct repl *repl, json_t *object,
                              struct repl_batch *batch)
{
    int first, rows;
    json_t *versions, *from;
    UNPACK(in, object, "{s:i, s:i, s:o, s:o}", "first", &first, "rows", &rows, "versions", &versions, "from", &from);
    if (first < 0 || rows < 1 || (uint32_t)first + (uint32_t)rows > repl->n_known) {
        return session_malformed(in, "run.batches: positions that the run does not have");
    }
    *batch = (struct repl_batch){.first = (uint32_t)first, .n_rows = (uint32_t)rows};
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        batch->version[i] = (uint32_t)json_integer_value(json_array_get(versions, i));
        batch->from[i] = (uint32_t)json_integer_value(json_array_get(from, i));
    }
    batch->kernels = xcalloc(repl->plan->n_steps, sizeof(*batch->kernels));
    read_kernels(repl, json_object_get(object, "kernels"), batch->kernels);
    return STATUS_OK;
}

/* Reads what repl_restore_run needs. What was read is freed by the caller, on failure too. */
static enum status read_place_and_rows(const struct session_reading *in, struct repl *repl, struct saved_run *saved,
                                       struct repl_batch *batches)
{
    json_t *run = json_object_get(in->root, "run"), *sides, *array, *object;
    int next;
    size_t i;
    UNPACK(in, run, "{s:o, s:o, s:i}", "sides", &sides, "batches", &array, "next", &next);
    bool sane = next >= 0 && (uint32_t)next <= repl->plan->n_steps && json_array_size(sides) == repl->n_sides;
    saved->next = (uint32_t)next;
    json_array_foreach(array, i, object)
    {
        TRY(read_batch(in, repl, object, &batches[i]));
        saved->n_batches++;
        sane = sane && batches[i].first == (i > 0 ? batches[i - 1].first + batches[i - 1].n_rows : 0);
    }
    json_array_foreach(sides, i, object)
    {
        int version, made;
        const char *source;
        UNPACK(in, object, "{s:s, s:i, s:i}", "source", &source, "version", &version, "made", &made);
        sane = sane && i < repl->n_sides && strcmp(source, source_name(repl->sides[i].source)) == 0 && made >= 0 &&
               (uint32_t)made <= repl->plan->n_steps;
        if (sane) {
            saved->sides[i].version = (uint32_t)version;
            saved->sides[i].made = (uint32_t)made;
            TRY(session_read_trace(in, "rows", json_object_get(object, "rows"), &saved->sides[i].rows));
        }
        if (sane && saved->sides[i].rows != NULL) {
            TRY(trace_check_plan(saved->sides[i].rows, repl->plan, in->err));
            for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
                TRY(repl_check_experts(&repl->plan->steps[s], saved->sides[i].rows, in->path, in->err));
            }
        }
    }
    return sane ? STATUS_OK : session_malformed(in, "run: its batches or sides are not those of this model and golden");
}

/* Says where a side's rows are not those that were saved. */
static void note_other_rows(const struct session_reading *in, const struct repl *repl)
{
    json_t *sides = json_object_get(json_object_get(in->root, "run"), "sides");
    const char *commit = json_string_value(json_object_get(in->root, "commit"));
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const char *was = json_string_value(json_object_get(json_array_get(sides, i), "rows_sha256"));
        char is[65];
        trace_rows_sha256(repl->sides[i].trace, is);
        if (repl->sides[i].backend != NULL && was != NULL && strcmp(was, is) != 0) {
            bool other = commit != NULL && strcmp(commit, version_commit()) != 0;
            fprintf(stderr,
                    "lockstep: note: the %s does not make the rows that were saved: device, driver, %s changed\n",
                    source_name(repl->sides[i].source), other ? "shaders or lockstep" : "or shaders");
        }
    }
}

enum status session_read_run(const struct session_reading *in, struct repl *repl)
{
    struct saved_run saved = {0};
    size_t n = json_array_size(json_object_get(json_object_get(in->root, "run"), "batches"));
    struct repl_batch *batches = xcalloc(n + 1, sizeof(*batches));
    saved.batches = batches;
    enum status status = read_tokens(in, repl);
    status = status == STATUS_OK ? read_place_and_rows(in, repl, &saved, batches) : status;
    if (status == STATUS_OK) {
        progress_note("resuming", in->path);
        status = repl_restore_run(repl, &saved, in->err);
        progress_wipe();
    }
    if (status == STATUS_OK) {
        note_other_rows(in, repl);
    }
    for (size_t b = 0; b < n; b++) {
        free(batches[b].kernels);
    }
    free(batches);
    for (uint32_t i = 0; i < REPL_MAX_SIDES; i++) {
        session_free_trace(saved.sides[i].rows);
    }
    return status;
}
