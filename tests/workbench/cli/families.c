/* Every small model of golden/ is at parity with its golden, and every stage is compared. The twin: with one number of
 * the config changed, the audit must find the op that reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/error.h"
#include "tests/support/folder_doc.h"
#include "tests/support/program.h"

#define GOLDEN LOCKSTEP_SOURCE_DIR "/golden/"

/* A model, and an edit of its config.json, whose error must show first at this stage. */
static const struct golden {
    const char *name, *find, *replace, *stage;
} goldens[] = {
    {"tiny-llama", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-01", "attn_norm"},
    {"tiny-llama-odd", "\"factor\": 4.0", "\"factor\": 5.0", "q_rope"},
    {"tiny-gemma2", "\"attn_logit_softcapping\": 5.0", "\"attn_logit_softcapping\": 5.5", "attn_out"},
    {"tiny-gemma3", "\"query_pre_attn_scalar\": ", "\"query_pre_attn_scalar\": 1", "attn_out"},
    {"tiny-gemma3-odd", "\"sliding_window\": 4", "\"sliding_window\": 5", "attn_out"},
    {"tiny-gemma2-odd", "\"final_logit_softcapping\": 6.0", "\"final_logit_softcapping\": 6.5", "logits_final"},
    {"tiny-gpt-oss-odd", "\"truncate\": true", "\"truncate\": false", "q_rope"},
    {"tiny-gpt-oss", "\"swiglu_limit\": 7.0", "\"swiglu_limit\": 1.0", "moe_act"},
    {"tiny-llama-105", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 5.0", "q_rope"},
    {"tiny-gemma2-105", "\"sliding_window\": 4", "\"sliding_window\": 5", "attn_out"},
    {"tiny-gemma3-105", "\"query_pre_attn_scalar\": 14", "\"query_pre_attn_scalar\": 15", "attn_out"},
    {"tiny-gpt-oss-105", "\"beta_fast\": 32.0", "\"beta_fast\": 16.0", "q_rope"},
};
#define N_GOLDENS (sizeof(goldens) / sizeof(goldens[0]))

static void diff(struct outcome *outcome, const char *model, const char *golden, const char *on)
{
    const char *arguments[] = {"diff", model, "--golden", golden, "--on", on, "--json", "-", NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

static void all_are_at_parity(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDENS; i++) {
        char model[512], golden[512];
        struct outcome outcome;
        snprintf(model, sizeof(model), GOLDEN "%s", goldens[i].name);
        snprintf(golden, sizeof(golden), GOLDEN "%s.h5", goldens[i].name);
        diff(&outcome, model, golden, "engine,reference");
        if (outcome.status != 0) {
            print_error("%s: exit %d\n%s%s", goldens[i].name, outcome.status, outcome.err, outcome.out);
        }
        assert_int_equal(outcome.status, 0);
        expect_text(outcome.out, "\"verdict\": \"parity\"");
        expect_text(outcome.out, "\"missing\": []");
        expect_text(outcome.out, "\"unaudited\": []");
        expect_no_text(outcome.out, "\"rows_inherited\": 1");
        outcome_free(&outcome);
    }
}

/* Makes a folder of the model with an edited config.json. */
static void spoil(const char *folder, const struct golden *golden)
{
    char path[512], target[512], text[8192];
    snprintf(path, sizeof(path), GOLDEN "%s/config.json", golden->name);
    scratch_read(path, text, sizeof(text) / 2);
    text_replace(text, sizeof(text), golden->find, golden->replace);
    scratch_write(scratch_path(path, folder, "config.json"), text, strlen(text));
    snprintf(path, sizeof(path), GOLDEN "%s", golden->name);
    DIR *entries = opendir(path);
    assert_non_null(entries);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        if (strncmp(entry->d_name, "model", 5) != 0) {
            continue;
        }
        snprintf(target, sizeof(target), GOLDEN "%s/%.100s", golden->name, entry->d_name);
        assert_int_equal(symlink(target, scratch_path(path, folder, entry->d_name)), 0);
    }
    closedir(entries);
}

static void another_config_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDENS; i++) {
        char folder[256], golden[512], place[128];
        struct outcome outcome;
        scratch_make(folder);
        spoil(folder, &goldens[i]);
        snprintf(golden, sizeof(golden), GOLDEN "%s.h5", goldens[i].name);
        diff(&outcome, folder, golden, "reference");
        if (outcome.status != 1) {
            print_error("%s: exit %d\n%s%s", goldens[i].name, outcome.status, outcome.err, outcome.out);
        }
        assert_int_equal(outcome.status, 1);
        expect_text(outcome.out, "\"outlier\": \"golden-or-weights\"");
        snprintf(place, sizeof(place), "\"stage\": \"%s\"", goldens[i].stage);
        char *first = strstr(outcome.out, "\"first_divergence\"");
        assert_non_null(first);
        *strchr(first, '}') = '\0';
        expect_text(first, place);
        outcome_free(&outcome);
        scratch_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_at_parity),
        cmocka_unit_test(another_config_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
