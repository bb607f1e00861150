/* Opens the prompt and starts runs: tokens, sides with their traces, the golden. */
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"
#include "workbench/debugger/shader_files.h"
#include "workbench/probes/probe_config.h"
#include "workbench/python/python.h"

void repl_open(struct repl *repl, struct session *session, struct trace *golden, struct trace *foreign)
{
    *repl = (struct repl){.session = session, .plan = &session->plan, .golden = golden, .foreign = foreign};
    repl->config = xcalloc(1, sizeof(*repl->config));
    probe_config_init(repl->config);
    repl_settings_init(&repl->settings, NULL, NULL, 0);
    repl_init_judged_plan(repl);
    repl->next = repl->plan->n_steps;
    if (foreign != NULL) {
        trace_fill_logits(foreign, repl->plan); /* as audit and diff do */
    }
    if (golden != NULL || foreign != NULL) {
        repl_restart_with_golden(repl);
    }
}

/* Frees a trace; or, as user code may still hold arrays over its memory, keeps it until Python has ended. */
static void retire_trace(struct repl *repl, struct trace *trace)
{
    if (!repl->python_used) {
        trace_free(trace);
        free(trace);
        return;
    }
    repl->retired = xrealloc(repl->retired, (repl->n_retired + 1) * sizeof(*repl->retired));
    repl->retired[repl->n_retired++] = trace;
}

/* Ends the run; the session and the golden stay. */
static void clear_run(struct repl *repl)
{
    repl_forget_comparison(repl);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].backend != NULL) {
            retire_trace(repl, repl->sides[i].trace);
        }
        free(repl->sides[i].summaries);
    }
    repl_drop_batches(repl, 0);
    free(repl->batches);
    free(repl->introduced);
    free(repl->tokens);
    free(repl->phase);
    repl->batches = NULL;
    repl->introduced = NULL;
    repl->tokens = NULL;
    repl->phase = NULL;
    repl->n_sides = repl->n_introduced = repl->capacity = repl->n_known = repl->n_prompt = repl->first = repl->n_rows =
        0;
    repl->next = repl->plan->n_steps;
}

void repl_close(struct repl *repl)
{
    clear_run(repl);
    if (repl->python_used && !python_close()) {
        return; /* threads of user code may still look at what is freed here; the program ends */
    }
    probe_config_free(repl->config);
    free(repl->config);
    repl_settings_free(&repl->settings);
    repl_drop_patches(repl);
    free(repl->patches);
    free(repl->breakpoints);
    for (uint32_t i = 0; i < repl->n_retired; i++) {
        trace_free(repl->retired[i]);
        free(repl->retired[i]);
    }
    free(repl->retired);
    if (repl->shaders != NULL) {
        shader_files_free(repl->shaders);
        free(repl->shaders);
    }
    for (uint32_t i = 0; i < repl->n_names; i++) {
        free(repl->names[i]);
    }
    free(repl->names);
    free(repl->captured);
    free(repl->golden_steps);
    free(repl->last_run);
    free(repl->last_line);
    free(repl->probe_text);
    plan_free(&repl->judged_plan);
    if (repl->golden != NULL) {
        trace_free(repl->golden);
        free(repl->golden);
    }
    if (repl->foreign != NULL) {
        trace_free(repl->foreign);
        free(repl->foreign);
    }
    memset(repl, 0, sizeof(*repl));
}

void repl_replace(struct repl *repl, struct repl *fresh)
{
    struct session *old = repl->session;
    clear_run(repl); /* keeps the traces that user code may look into */
    if (repl->python_used && repl->golden != NULL) {
        retire_trace(repl, repl->golden);
        repl->golden = NULL;
    }
    if (repl->python_used && repl->foreign != NULL) {
        retire_trace(repl, repl->foreign);
        repl->foreign = NULL;
    }
    fresh->retired = repl->retired;
    fresh->n_retired = repl->n_retired;
    fresh->python_used = repl->python_used;
    fresh->depth = repl->depth;
    fresh->on_terminal = repl->on_terminal;
    memcpy(fresh->legends, repl->legends, sizeof(fresh->legends));
    repl->retired = NULL;
    repl->n_retired = 0;
    repl->python_used = false;
    repl_close(repl);
    session_close(old);
    free(old);
    *repl = *fresh;
}

static void add_side(struct repl *repl, enum source source, struct backend *backend, struct trace *trace)
{
    struct repl_summary *summaries = xcalloc(repl->plan->n_steps, sizeof(*summaries));
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        summaries[s] = repl_no_summary();
    }
    repl->sides[repl->n_sides++] =
        (struct repl_side){.source = source, .backend = backend, .trace = trace, .summaries = summaries};
}

/* A trace with room for the whole run and every stage of the plan, so that rows never move while user code looks at
 * them. Its n_positions grows with the run. */
static struct trace *empty_trace(const struct repl *repl, const char *name)
{
    struct trace *trace = xcalloc(1, sizeof(*trace));
    trace_init(trace, name, repl->session->model.config.model_type, repl->plan->n_layers, repl->capacity, repl->tokens,
               repl->phase);
    if (strcmp(name, source_name(SOURCE_ENGINE)) == 0) {
        trace->weights_dtype = session_weights_dtype(repl->session); /* --weights f16 */
    }
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const struct step *step = &repl->plan->steps[s];
        trace_add(trace, step->layer, step->stage, step->width);
    }
    trace_add(trace, LAYER_NONE, STAGE_sample_token, 1);
    trace->n_positions = 0;
    return trace;
}

static void add_running_sides(struct repl *repl)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_REFERENCE};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (repl->session->on[sources[i]]) {
            struct backend *backend = &repl->session->backend[sources[i]];
            add_side(repl, sources[i], backend, empty_trace(repl, source_name(sources[i])));
        }
    }
}

/* Steps judge a foreign trace in the arithmetic that the comparison infers of it. */
static void take_inferred(struct repl *repl)
{
    const struct comparison *comparison = NULL;
    struct repl_side *side = repl_side_of(repl, SOURCE_TRACE);
    struct error unused;
    if (side != NULL && repl_compare(repl, &comparison, &unused) == STATUS_OK && comparison != NULL) {
        side->trace = &repl->comparison->traces[0]; /* the foreign trace was added first */
    }
}

void repl_restart_with_golden(struct repl *repl)
{
    const struct trace *golden = repl->golden != NULL ? repl->golden : repl->foreign;
    ASSERT(golden != NULL);
    clear_run(repl);
    repl->capacity = repl->n_known = golden->n_positions;
    repl->tokens = xcalloc(repl->capacity, sizeof(*repl->tokens));
    repl->phase = xcalloc(repl->capacity, sizeof(*repl->phase));
    memcpy(repl->tokens, golden->tokens, repl->capacity * sizeof(*repl->tokens));
    memcpy(repl->phase, golden->phase, repl->capacity * sizeof(*repl->phase));
    add_running_sides(repl);
    if (repl->foreign != NULL) {
        add_side(repl, SOURCE_TRACE, NULL, repl->foreign);
    }
    if (repl->golden != NULL) {
        add_side(repl, SOURCE_GOLDEN, NULL, repl->golden);
    }
    take_inferred(repl);
}

/* Rows that a patch takes from a file must be of the run's tokens. */
static enum status check_patches(const struct repl *repl, const int32_t *ids, uint32_t n_ids, struct error *err)
{
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        const struct trace *file = repl->patches[i].file;
        for (uint32_t p = 0; file != NULL && p < n_ids && p < file->n_positions; p++) {
            if (file->tokens[p] != ids[p]) {
                return error_set(err, STATUS_USAGE, NULL, "restart", ERROR_NO_OFFSET,
                                 "a patch takes rows of %s, whose token %u is %d and not %d, expected unpatch first",
                                 file->path, p, file->tokens[p], ids[p]);
            }
        }
    }
    return STATUS_OK;
}

enum status repl_restart(struct repl *repl, const int32_t *ids, uint32_t n_ids, uint32_t n_decode, struct error *err)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_REFERENCE};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        const struct backend *backend = &repl->session->backend[sources[i]];
        if (repl->session->on[sources[i]] && (uint64_t)n_ids + n_decode > backend->max_positions) {
            return error_set(err, STATUS_USAGE, NULL, "restart", ERROR_NO_OFFSET,
                             "%u prompt and %u decoded positions, expected at most %u", n_ids, n_decode,
                             backend->max_positions);
        }
    }
    TRY(check_patches(repl, ids, n_ids, err));
    clear_run(repl);
    repl->capacity = n_ids + n_decode;
    repl->n_known = repl->n_prompt = n_ids;
    repl->tokens = xcalloc(repl->capacity, sizeof(*repl->tokens));
    repl->phase = xcalloc(repl->capacity, sizeof(*repl->phase));
    memcpy(repl->tokens, ids, n_ids * sizeof(*ids));
    memset(repl->phase + n_ids, PHASE_DECODE, n_decode);
    add_running_sides(repl);
    return STATUS_OK;
}

void repl_replace_golden(struct repl *repl, struct trace *golden)
{
    struct trace *old = repl->golden;
    repl_forget_comparison(repl);
    repl->golden = golden;
    free(repl->golden_steps);
    repl->golden_steps = NULL;
    if (old != NULL) {
        retire_trace(repl, old);
    }
}

void repl_attach_golden(struct repl *repl, struct trace *golden)
{
    repl_replace_golden(repl, golden);
    struct repl_side *side = repl_side_of(repl, SOURCE_GOLDEN);
    if (side == NULL) {
        add_side(repl, SOURCE_GOLDEN, NULL, golden);
    } else {
        side->trace = golden;
    }
    repl_rejudge(repl, 0, 0);
}

enum source repl_running_source(const struct repl *repl)
{
    return repl->session->on[SOURCE_ENGINE] ? SOURCE_ENGINE : SOURCE_REFERENCE;
}

struct repl_side *repl_side_of(struct repl *repl, enum source source)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].source == source) {
            return &repl->sides[i];
        }
    }
    return NULL;
}

bool repl_side_runs(const struct repl_side *side)
{
    return side->backend != NULL && !side->lost;
}

struct repl_side *repl_leader(struct repl *repl)
{
    ASSERT(repl->n_sides > 0 && repl->sides[0].backend != NULL);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_side_runs(&repl->sides[i])) {
            return &repl->sides[i];
        }
    }
    return &repl->sides[0];
}
