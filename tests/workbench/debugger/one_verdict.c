/* The prompt says what `diff` says: for every known bug, on every model of golden/ (on four of them without
 * LOCKSTEP_ALL_MODELS), `until diverge`, `first` and `audit` tell the same layer, stage and name; and parity where the
 * engine is healthy. The twin sets what the prompt says of one bug beside the comparison of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "workbench/debugger/repl.h"
#include "workbench/session/compare_run.h"

#ifdef __SANITIZE_ADDRESS__ /* many times slower */
static const char *const some[] = {"tiny-llama", NULL};
#else
static const char *const some[] = {"tiny-llama", "tiny-gemma3", "tiny-gpt-oss", "tiny-gemma2", NULL};
#endif
static const char *const more[] = {"tiny-llama-long",  "tiny-llama-105",   "tiny-llama-odd",    "tiny-gemma3-loud",
                                   "tiny-gemma3-105",  "tiny-gemma3-odd",  "tiny-gemma2-105",   "tiny-gemma2-odd",
                                   "tiny-gpt-oss-odd", "tiny-gpt-oss-105", "tiny-gpt-oss-wide", NULL};

/* A model with its golden, and an engine in which faults are planted one after the other. */
struct bench {
    struct session session;
    struct trace golden;
    char name[64];
};

static void bench_open(struct bench *bench, const char *model)
{
    char path[256];
    struct error err;
    snprintf(bench->name, sizeof(bench->name), "%s", model);
    snprintf(path, sizeof(path), "golden/%s.h5", model);
    assert_int_equal(trace_read(&bench->golden, path, &err), STATUS_OK);
    snprintf(path, sizeof(path), "golden/%s", model);
    const struct session_options options = {
        .engine = true, .reference = true, .max_positions = bench->golden.n_positions};
    assert_int_equal(session_open(&bench->session, path, &options, &err), STATUS_OK);
}

static void bench_close(struct bench *bench)
{
    session_close(&bench->session);
    trace_free(&bench->golden);
}

/* Plants a fault in place of the one before; NULL: none. false: it does not apply to the model. */
static bool plant(struct bench *bench, const char *fault)
{
    struct error err;
    struct fault_request request;
    struct plan copy;
    int32_t first;
    if (fault != NULL) {
        assert_int_equal(fault_parse(&request, fault, &err), STATUS_OK);
        plan_copy(&copy, &bench->session.plan);
        bool applies = fault_plant(&request, &copy, &first, &err) == STATUS_OK;
        plan_free(&copy);
        if (!applies) {
            return false;
        }
    }
    const struct session_options options = {
        .max_positions = bench->golden.n_positions, .faults = &fault, .n_faults = fault != NULL};
    assert_int_equal(session_take_engine(&bench->session, &bench->session, &options, &err), STATUS_OK);
    return true;
}

/* What `diff` finds. false: the engine failed, and nothing was judged. */
static bool compare(struct bench *bench, struct comparison *comparison)
{
    struct error err;
    bool same;
    struct trace golden;
    *comparison = (struct comparison){.plan = &bench->session.plan};
    assert_int_equal(compare_check_golden(&bench->session, comparison, &bench->golden, NULL, &same, &err), STATUS_OK);
    if (compare_record(&bench->session, comparison, SOURCE_ENGINE, &bench->golden, true, &err) != STATUS_OK) {
        return false;
    }
    assert_int_equal(compare_record(&bench->session, comparison, SOURCE_REFERENCE, &bench->golden, true, &err),
                     STATUS_OK);
    trace_copy(&golden, &bench->golden);
    comparison_add(comparison, SOURCE_GOLDEN, &golden);
    comparison_judge(comparison, same, NULL);
    return true;
}

/* Types lines into a prompt on the bench. Returns what it printed, malloc'ed. */
static char *type_lines(struct bench *bench, const char *const *lines)
{
    struct repl repl;
    struct error err;
    struct trace *golden = xcalloc(1, sizeof(*golden));
    FILE *said = tmpfile();
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    assert_true(said != NULL && before >= 0 && dup2(fileno(said), STDOUT_FILENO) >= 0);
    trace_copy(golden, &bench->golden);
    repl_open(&repl, &bench->session, golden, NULL);
    enum status status = STATUS_OK;
    for (; *lines != NULL && status == STATUS_OK; lines++) {
        printf("dbg> %s\n", *lines);
        status = repl_run_line(&repl, *lines, &err);
    }
    repl_close(&repl);
    fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    long size = lseek(fileno(said), 0, SEEK_END);
    char *text = xcalloc((uint64_t)size + 1, 1);
    assert_true(pread(fileno(said), text, (size_t)size, 0) == size);
    fclose(said);
    if (status != STATUS_OK) {
        print_message("%s: %s\n", lines[-1], err.text);
    }
    return text;
}

/* The part of a text that a command printed; the caller frees it. */
static char *part_of(const char *text, const char *line)
{
    char prompt[64];
    snprintf(prompt, sizeof(prompt), "dbg> %s\n", line);
    const char *at = strstr(text, prompt);
    if (at == NULL) {
        return xstrdup("");
    }
    at += strlen(prompt);
    const char *end = strstr(at, "dbg> ");
    char *part = xstrdup(at);
    part[end != NULL ? (size_t)(end - at) : strlen(at)] = '\0';
    return part;
}

static bool says(const char *text, const char *line, const char *where, const char *name)
{
    char *part = part_of(text, line);
    bool all = strstr(part, where) != NULL && strstr(part, name) != NULL;
    free(part);
    return all;
}

/* Whether the prompt's text says what the comparison found. */
static bool agrees(const char *text, const struct comparison *comparison)
{
    if (!comparison->verdict.diverged) {
        return says(text, "until diverge", "no step introduced an error", "") &&
               says(text, "first", "no step introduced an error so far", "") &&
               says(text, "audit", comparison->verdict.conclusion == CONCLUSION_UNDECIDED ? "undecided" : ": parity",
                    "");
    }
    char label[64], where[160];
    const struct introduced *first = verdict_first(&comparison->verdict);
    const char *name = comparison->n_diagnoses > 0 ? comparison->diagnoses[0].fault : "";
    snprintf(where, sizeof(where), "diverged: %s, %s,", verdict_source(comparison->verdict.outlier, first->source),
             step_label(&comparison->plan->steps[first->step], label));
    return says(text, "until diverge", where, name) && says(text, "first", where, name) &&
           says(text, "audit", where, name);
}

static const char *const asked[] = {"until diverge", "first", "audit", NULL};

/* One bug on one model. Returns whether the prompt agrees with diff. */
static bool try_fault(struct bench *bench, const char *fault)
{
    struct comparison comparison;
    bool same = true;
    if (!plant(bench, fault)) {
        return true;
    }
    if (compare(bench, &comparison)) {
        char *text = type_lines(bench, asked);
        same = agrees(text, &comparison);
        if (!same) {
            const struct verdict *verdict = &comparison.verdict;
            char label[64] = "parity";
            if (verdict->diverged) {
                step_label(&comparison.plan->steps[verdict_first(verdict)->step], label);
            }
            print_message("%s, %s: diff says %s (%s), the prompt:\n%.1500s\n", bench->name,
                          fault != NULL ? fault : "healthy", label,
                          comparison.n_diagnoses > 0 ? comparison.diagnoses[0].fault : "-", text);
        }
        free(text);
    }
    comparison_free(&comparison);
    return same;
}

static uint32_t try_model(const char *model, uint32_t *n_wrong)
{
    struct bench bench;
    uint32_t n_faults, n = 0;
    const struct fault *faults = fault_list(&n_faults);
    bench_open(&bench, model);
    *n_wrong += !try_fault(&bench, NULL);
    for (uint32_t i = 0; i < n_faults; i++) {
        *n_wrong += !try_fault(&bench, faults[i].name);
        n++;
    }
    bench_close(&bench);
    return n;
}

static void the_prompt_says_what_diff_says(void **state)
{
    (void)state;
    uint32_t n_wrong = 0, n = 0;
    for (const char *const *model = some; *model != NULL; model++) {
        n += try_model(*model, &n_wrong);
    }
    for (const char *const *model = more; *model != NULL && getenv("LOCKSTEP_ALL_MODELS") != NULL; model++) {
        n += try_model(*model, &n_wrong);
    }
    print_message("%u bugs\n", n);
    assert_int_equal(n_wrong, 0);
}

/* The twin: what the prompt says of one bug is not what diff says of another. */
static void another_verdict_is_noticed(void **state)
{
    (void)state;
    struct bench bench;
    struct comparison comparison;
    bench_open(&bench, "tiny-gemma3");
    assert_true(plant(&bench, "qk-norm-no-offset@3"));
    char *text = type_lines(&bench, asked);
    assert_true(compare(&bench, &comparison));
    assert_true(agrees(text, &comparison));
    comparison_free(&comparison);
    static const char *const others[] = {"qk-norm-no-offset@2", "softmax-sizes-swapped@3", NULL};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_true(plant(&bench, others[i]));
        assert_true(compare(&bench, &comparison));
        assert_false(agrees(text, &comparison));
        comparison_free(&comparison);
    }
    free(text);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_verdict_is_noticed),
        cmocka_unit_test(the_prompt_says_what_diff_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
