/* The command table: what Tab offers for each place of a line, and that every row is complete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/completion.h"

static const struct {
    const char *line, *words; /* Tab at the line's end offers these words */
    bool files, open_ended;
} rows[] = {
    {"fau", "fault faults", false, false},
    {"zz", "", false, false},
    {"step ", "op layer token", false, false},
    {"  step l", "layer", false, false},
    {"inf m", "model memory", false, false}, /* an abbreviated command */
    {"st ", "", false, false},               /* that fits several commands */
    {"quit ", "", false, false},
    {"nonsense ", "", false, false},
    {"print ffn_d", "ffn_down", false, true},
    {"print ffn_down@0 3 from ", "engine reference golden", false, false},
    {"print zz", "", false, true},
    {"fault ", "on off", false, false},
    {"fault on qk-n", "qk-norm-no-offset", false, false},
    {"faults weight-s", "weight-spike", false, false},
    {"set pre", "preset", false, false},
    {"set preset ", "bench debug gemma2-debug", false, false},
    {"help whe", "where", false, false},
    {"trace -", "", false, false},
    {"trace l", "logits loader", false, false},
    {"trace attn a", "attn all", false, false},
    {"log v", "verbose", false, false},
    {"restart --p", "--prompt", false, false},
    {"dump ", "", true, false},
    {"dump a.h5 from r", "reference", false, false},
    {"load ", "golden hf", false, false},
    {"load golden ", "", true, false},
};

static void tab_offers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct candidates candidates;
        const char *line = rows[i].line, *blank = strrchr(line, ' '), *prefix = blank != NULL ? blank + 1 : line;
        char words[512] = "";
        candidates_find(&candidates, NULL, line, (uint32_t)(prefix - line), prefix);
        for (uint32_t c = 0; c < candidates.n; c++) {
            strcat(strcat(words, c > 0 ? " " : ""), candidates.word[c]);
        }
        if (strcmp(words, rows[i].words) != 0 || candidates.files != rows[i].files ||
            candidates.open_ended != rows[i].open_ended) {
            fail_msg("\"%s\": \"%s\", files %d, open-ended %d", line, words, candidates.files, candidates.open_ended);
        }
        candidates_free(&candidates);
    }
}

/* Names differ, help says something, and completion knows every list that a row names. */
static void every_row_is_complete(void **state)
{
    (void)state;
    struct candidates all;
    candidates_find(&all, NULL, "", 0, "");
    for (uint32_t i = 0; i < all.n; i++) {
        const struct repl_command *command = repl_command_at(i);
        struct candidates candidates;
        char line[64];
        assert_string_equal(all.word[i], command->name);
        assert_ptr_equal(repl_command_by_name(command->name), command);
        assert_non_null(command->function);
        assert_true(strlen(command->help) > 10 && command->help[strlen(command->help) - 1] != '.');
        assert_true(command->min <= command->max && command->max <= MAX_WORDS);
        assert_true((command->args != NULL) == (command->max > 0));
        assert_true(command->example == NULL || strncmp(command->example, command->name, strlen(command->name)) == 0);
        snprintf(line, sizeof(line), "%s ", command->name);
        candidates_find(&candidates, NULL, line, (uint32_t)strlen(line), "<");
        assert_int_equal(candidates.n, 0); /* <nonsense> would be offered as it stands */
        candidates_free(&candidates);
    }
    assert_null(repl_command_at(all.n));
    candidates_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tab_offers),
        cmocka_unit_test(every_row_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
