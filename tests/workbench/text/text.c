/* Text for people: lines broken between words, control characters escaped, tables that fit, names that were meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "workbench/text/characters.h"
#include "workbench/text/output.h"
#include "workbench/text/suggest.h"
#include "workbench/text/table.h"
#include "workbench/text/terminal.h"

/* What a text becomes; malloc'ed. */
static char *written(const char *text, unsigned width, int colour)
{
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    assert_non_null(out);
    output_write_lines(text, strlen(text), width, colour, out);
    fclose(out);
    return shown;
}

static const struct {
    const char *text;
    unsigned width;
    const char *shown;
} lines[] = {
    {"a line of any length\n", 0, "a line of any length\n"},
    {"words that are kept whole\n", 12, "words that\n  are kept\n  whole\n"},
    {"  name   its text begins there\n", 24, "  name   its text begins\n         there\n"},
    {"    deep lines stay deep\n", 16, "    deep lines\n    stay deep\n"},
    {"exactly ten\n", 11, "exactly ten\n"},
    {"one|two|three|four\n", 10, "one|two|\n  three|\n  four\n"}, /* behind what joins names */
    {"abcdefghijklmnopqrstuvwxyz\n", 10, "abcdefghijklmnopqrstuvwxyz\n"},
    {"wide 日本語 words\n", 12, "wide 日本語\n  words\n"},
    {"a\033[31mred\a\r\177\n", 0, "a\\x1b[31mred\\x07\\x0d\\x7f\n"},
    {"\302\233 \377 \340\240\n", 0, "\\xc2\\x9b \\xff \\xe0\\xa0\n"}, /* one C1 character, bytes that are no UTF-8 */
    {"a\342\200\256b\n", 0, "a\\xe2\\x80\\xaeb\n"}, /* what follows would be shown from right to left */
    {"no end", 3, "no\n  end"},
};

static void lines_fit_and_are_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char *shown = written(lines[i].text, lines[i].width, 0);
        assert_string_equal(shown, lines[i].shown);
        free(shown);
    }
    char *shown = written("parity: all is well\n", 0, 1);
    assert_string_equal(shown, "\033[1;32mparity\033[0m: all is well\n");
    free(shown);
    shown =
        written("a stage that lies long  <-- introduced by engine\n", 24, 1); /* a colour that ends behind a break */
    assert_non_null(strstr(shown, "\033[31m<-- introduced by"));
    assert_non_null(strstr(shown, "engine\033[0m\n"));
    free(shown);
    /* The twin: what is harmless stays as it is. */
    shown = written("tab\there, é, — and \"quotes\"\n", 0, 0);
    assert_string_equal(shown, "tab\there, é, — and \"quotes\"\n");
    free(shown);
}

static char *printed_table(unsigned width)
{
    struct table table = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    table_add_column(&table, "stage", 2, -12);
    table_add_column(&table, "maxAbs", 1, 20);
    table_add_column(&table, "engine-golden", 1, 20);
    table_add_column(&table, "kernel", 2, 0);
    for (int i = 0; i < 2; i++) {
        table_add_cell(&table, "%s", i == 0 ? "q_proj" : "attn_out");
        table_add_cell(&table, "%d", 7 + 93 * i);
        table_add_cell(&table, "%s", "0.5");
        table_add_cell(&table, "%s", "matmul.comp");
        table_end_row(&table, i == 1 ? "<-- introduced" : NULL);
    }
    terminal_set_width(width);
    table_print(&table, true, out);
    terminal_set_width(0);
    fclose(out);
    table_free(&table);
    return text;
}

static void tables_fit(void **state)
{
    (void)state;
    static const char wide[] =
        "  stage                      maxAbs        engine-golden  kernel\n"
        "  q_proj                          7                  0.5  matmul.comp\n"
        "  attn_out                      100                  0.5  matmul.comp  <-- introduced\n";
    static const struct {
        unsigned width;
        const char *text;
    } rows[] = {
        {0, wide},
        {200, wide},
        {60, "                    engine-\n"
             "  stage     maxAbs   golden  kernel\n"
             "  q_proj         7      0.5  matmul.comp\n"
             "  attn_out     100      0.5  matmul.comp  <-- introduced\n"},
        {40, "                    engine-\n"
             "  stage     maxAbs   golden\n"
             "  q_proj         7      0.5\n"
             "  attn_out     100      0.5  <--\n"
             "\n"
             "  stage     kernel\n"
             "  q_proj    matmul.comp\n"
             "  attn_out  matmul.comp  <-- introduced\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = printed_table(rows[i].width);
        assert_string_equal(text, rows[i].text);
        free(text);
    }
}

static void alike_names_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"step",     "stats",   "set", "layer_out", "softmax-sizes-swapped",
                                        "--golden", "kv-stale"};
    static const struct {
        const char *word, *name; /* NULL: nothing is alike */
    } rows[] = {{"stpe", "step"},
                {"sett", "set"},
                {"layerout", "layer_out"},
                {"softmax_size_swapped", names[4]},
                {"--gold", "--golden"},
                {"STEP", "step"},
                {"kv-stael", "kv-stale"},
                {"xyzzy", NULL},
                {"frobnicate", NULL},
                {"q", NULL},
                {"", NULL}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct suggestion suggestion = {.word = rows[i].word};
        char text[SUGGEST_SIZE], expected[SUGGEST_SIZE] = "";
        suggest_offer_all(&suggestion, names, sizeof(names) / sizeof(names[0]));
        if (rows[i].name != NULL) {
            snprintf(expected, sizeof(expected), "; did you mean %s?", rows[i].name);
        }
        assert_string_equal(suggest_text(&suggestion, text), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_fit_and_are_harmless),
        cmocka_unit_test(tables_fit),
        cmocka_unit_test(alike_names_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
