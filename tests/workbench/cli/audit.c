/* The time that the audit of a real model takes in the worst case: every kind of op introduces an error that no known
 * bug explains, so that every mutant and every relation is tried. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/report.h"
#include "tests/support/scratch.h"

#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
#define GOLDEN "golden/smollm2-color-of-the-sky.h5"

/* CPU seconds of all cores. About 2 are used, with both cores of the machine busy. */
#define MOST 10.0

SCRATCH_FIXTURE

/* Every value of these stages is off by a few thousandths, each by another amount. */
static const struct {
    int32_t layer;
    enum stage stage;
} spoiled[] = {
    {LAYER_NONE, STAGE_embed},  {3, STAGE_attn_norm},
    {5, STAGE_q_proj},          {7, STAGE_k_rope},
    {9, STAGE_attn_out},        {11, STAGE_ffn_act},
    {13, STAGE_ffn_down},       {15, STAGE_layer_out},
    {LAYER_NONE, STAGE_logits}, {LAYER_NONE, STAGE_logits_final},
};
#define N_SPOILED (sizeof(spoiled) / sizeof(*spoiled))

static void write_spoiled(const char *path)
{
    struct trace trace;
    assert_int_equal(trace_read(&trace, GOLDEN, NULL), STATUS_OK);
    for (size_t i = 0; i < N_SPOILED; i++) {
        struct trace_stage *stage = stage_at(&trace, spoiled[i].layer, spoiled[i].stage);
        for (uint64_t k = 0; k < (uint64_t)trace.n_positions * stage->width; k++) {
            stage->rows[k] += 0.004f * stage->rows[k] * (float)sin(0.7 * (double)k);
        }
    }
    assert_int_equal(trace_write(&trace, path, NULL), STATUS_OK);
    trace_free(&trace);
}

static double children_seconds(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void every_mutant_is_tried_in_time(void **state)
{
    (void)state;
    char path[512];
    struct outcome outcome;
    if (access(SMOLLM2, R_OK) != 0) {
        print_message(SMOLLM2 " is not there (./check fetches it): its audit is not timed\n");
        skip();
    }
    write_spoiled(scratch_path(path, folder, "spoiled.h5"));
    double before = children_seconds();
    RUN(&outcome, 1, "audit", SMOLLM2, path, "--json", "-");
    double seconds = children_seconds() - before;
    json_t *report = parse_report(&outcome);
    assert_true(json_array_size(json_object_get(report, "introduced")) >= N_SPOILED);
    json_t *diagnosis;
    size_t i;
    json_array_foreach(json_object_get(report, "diagnosis"), i, diagnosis)
    {
        /* The run read another attn_norm than the file holds: what reads it is told so, rightly. */
        bool reads_spoiled = json_integer_value(json_object_get(diagnosis, "layer")) == 3 &&
                             strcmp(text_at(diagnosis, "kind"), "wiring") == 0;
        assert_true(reads_spoiled || strcmp(text_at(diagnosis, "how"), "reproduced") != 0);
    }
    json_decref(report);
    outcome_free(&outcome);
    print_message("%.2f s of CPU time\n", seconds);
#ifndef __SANITIZE_ADDRESS__
    assert_true(seconds < MOST);
#endif
    assert_false(seconds < MOST / 1000); /* the twin: the clock measured the run */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_mutant_is_tried_in_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
