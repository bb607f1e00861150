/* logits: each side's likeliest next tokens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/python/python.h"
#include "workbench/report/wrapped_text.h"
#include "workbench/text/table.h"

#define DEFAULT_CHOICES 5

/* The last position's logits of a side, or NULL. */
static const float *last_logits(const struct repl *repl, const struct repl_side *side)
{
    const struct trace_stage *stage = trace_find(side->trace, LAYER_NONE, STAGE_logits_final);
    uint32_t last = repl->first + repl->n_rows - 1;
    return stage != NULL && last < side->trace->n_positions ? trace_row(stage, last) : NULL;
}

/* Puts a token's text between quotes; nothing if the model has no tokenizer. */
static enum status token_text(struct repl *repl, int32_t id, char *quoted, size_t size, struct error *err)
{
    const struct model *model = &repl->session->model;
    quoted[0] = '\0';
    if (model->tokenizer_json == NULL && model->tokenizer.model == NULL) {
        return STATUS_OK;
    }
    char *text;
    enum status status = python_detokenize(model, &id, 1, &text, err);
    if (status == STATUS_OK) {
        quote_text(text, quoted, size);
        free(text);
    }
    return status;
}

/* How many logits are larger than id's; *probability: its softmax. */
static uint32_t rank_of(const float *logits, uint32_t vocab, uint32_t id, double *probability)
{
    uint32_t rank = 0;
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        rank += logits[i] > logits[id] || (logits[i] == logits[id] && i < id);
        sum += exp((double)logits[i] - logits[id]);
    }
    *probability = 1 / sum;
    return rank;
}

/* Adds one token: its text, and each side's logit, rank and probability. */
static enum status add_token(struct repl *repl, int32_t id, struct table *table, struct error *err)
{
    uint32_t vocab = repl->session->model.config.vocab;
    char text[64];
    TRY(token_text(repl, id, text, sizeof(text), err));
    table_add_cell(table, "%d", id);
    table_add_cell(table, "%s", text);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const float *logits = last_logits(repl, &repl->sides[i]);
        char cell[64] = "-";
        if (logits != NULL) {
            double probability;
            uint32_t rank = rank_of(logits, vocab, (uint32_t)id, &probability);
            snprintf(cell, sizeof(cell), "%.6g #%u p=%.3g", logits[id], rank, probability);
        }
        table_add_cell(table, "%s", cell);
    }
    table_end_row(table, NULL);
    return STATUS_OK;
}

static void add_columns(const struct repl *repl, struct table *table)
{
    table_add_column(table, "id", 2, 7);
    table_add_column(table, "text", 1, -16);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        table_add_column(table, source_name(repl->sides[i].source), 1, 28);
    }
}

/* Adds the likeliest token among those left of a side, and removes it from them. */
static enum status add_choice(struct repl *repl, const struct repl_side *side, float *left, struct table *table,
                              struct error *err)
{
    uint32_t vocab = repl->session->model.config.vocab;
    const float *logits = last_logits(repl, side);
    char text[64], cell[128] = "-";
    if (logits != NULL) {
        double probability;
        uint32_t id = argmax(left, vocab);
        left[id] = -INFINITY;
        TRY(token_text(repl, (int32_t)id, text, sizeof(text), err));
        rank_of(logits, vocab, id, &probability);
        snprintf(cell, sizeof(cell), "%u %s %.6g p=%.3g", id, text, (double)logits[id], probability);
    }
    table_add_cell(table, "%s", cell);
    return STATUS_OK;
}

/* Prints the k likeliest tokens of each side, side by side. */
static enum status print_top(struct repl *repl, uint32_t k, struct error *err)
{
    uint32_t vocab = repl->session->model.config.vocab;
    float *left[REPL_MAX_SIDES] = {NULL};
    struct table table = {0};
    printf("after token %u: id, text, logit, probability\n", repl->first + repl->n_rows - 1);
    table_add_column(&table, "rank", 2, 4);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const float *logits = last_logits(repl, &repl->sides[i]);
        left[i] = xcalloc(vocab, sizeof(*left[i]));
        if (logits != NULL) {
            memcpy(left[i], logits, vocab * sizeof(*left[i]));
        }
        table_add_column(&table, source_name(repl->sides[i].source), 1, -36);
    }
    enum status status = STATUS_OK;
    for (uint32_t rank = 0; status == STATUS_OK && rank < k; rank++) {
        table_add_cell(&table, "%u", rank);
        for (uint32_t i = 0; status == STATUS_OK && i < repl->n_sides; i++) {
            status = add_choice(repl, &repl->sides[i], left[i], &table, err);
        }
        table_end_row(&table, NULL);
    }
    table_print(&table, true, stdout);
    table_free(&table);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        free(left[i]);
    }
    return status;
}

/* The tokens of a word after of: of a text, or id:253. */
static enum status word_tokens(struct repl *repl, const char *word, int32_t **ids, uint32_t *n_ids, struct error *err)
{
    if (strncmp(word, "id:", 3) != 0) {
        return python_tokenize_plain(&repl->session->model, word, ids, n_ids, err);
    }
    int64_t id;
    TRY(word_number(word + 3, "id", 0, (int64_t)repl->session->model.config.vocab - 1, &id, err));
    *ids = xmalloc(sizeof(**ids));
    (*ids)[0] = (int32_t)id;
    *n_ids = 1;
    return STATUS_OK;
}

static enum status add_word(struct repl *repl, const char *word, struct table *table, struct error *err)
{
    enum status status = STATUS_OK;
    int32_t *ids;
    uint32_t n_ids;
    TRY(word_tokens(repl, word, &ids, &n_ids, err));
    for (uint32_t i = 0; status == STATUS_OK && i < n_ids; i++) {
        status = add_token(repl, ids[i], table, err);
    }
    free(ids);
    return status;
}

/* In most vocabularies a word that follows another one is another token, with a blank: says so where a word was given
 * without one, and is one token with it. */
static void note_blank(struct repl *repl, const char *word)
{
    char *with_blank;
    int32_t *ids;
    uint32_t n_ids;
    if (word[0] == ' ' || word[0] == '\0' || strncmp(word, "id:", 3) == 0) {
        return;
    }
    int length = asprintf(&with_blank, " %s", word);
    ASSERT(length >= 0);
    if (python_tokenize_plain(&repl->session->model, with_blank, &ids, &n_ids, NULL) == STATUS_OK) {
        if (n_ids == 1) {
            char quoted[64];
            quote_text(with_blank, quoted, sizeof(quoted));
            printf("  %s, with a blank before it, is another token: %d\n", quoted, ids[0]);
        }
        free(ids);
    }
    free(with_blank);
}

static enum status print_words(struct repl *repl, const struct words *words, struct error *err)
{
    enum status status = STATUS_OK;
    struct table table = {0};
    add_columns(repl, &table);
    for (uint32_t w = 1; status == STATUS_OK && w < words->n; w++) {
        status = add_word(repl, words->word[w], &table, err);
    }
    if (table.n_rows > 0) {
        printf("after token %u: logit, #rank from 0, probability\n", repl->first + repl->n_rows - 1);
        table_print(&table, true, stdout);
    }
    table_free(&table);
    for (uint32_t w = 1; status == STATUS_OK && w < words->n; w++) {
        note_blank(repl, words->word[w]);
    }
    return status;
}

enum status do_logits(struct repl *repl, const struct words *words, struct error *err)
{
    if (repl->n_rows == 0 || last_logits(repl, repl_leader(repl)) == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "logits", ERROR_NO_OFFSET,
                         "did not run for this token yet, expected step token first");
    }
    if (words->n > 0 && strcmp(words->word[0], "of") == 0) {
        if (words->n == 1) {
            return error_set(err, STATUS_USAGE, NULL, "logits of", ERROR_NO_OFFSET,
                             "no text, expected \" Paris\" or id:253");
        }
        return print_words(repl, words, err);
    }
    int64_t k = DEFAULT_CHOICES;
    if (words->n > 1) {
        return words_refuse(words, 1, err);
    }
    if (words->n == 1) {
        TRY(word_number(words->word[0], "logits", 1, repl->session->model.config.vocab, &k, err));
    }
    return print_top(repl, (uint32_t)k, err);
}
