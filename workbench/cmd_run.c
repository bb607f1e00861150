/* lockstep run: greedy generation; the text as it comes, then the ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/options.h"
#include "workbench/python.h"

#define DEFAULT_TOKENS 24

/* The text that was printed so far, of the ids that came so far. */
struct printer {
    const struct model *model; /* NULL: nothing but ids is printed */
    bool ids_suffice;          /* ids were given, not text: no Python, no text, and no error */
    int32_t *ids;
    uint32_t n_ids;
    size_t printed; /* bytes */
    enum status status;
    struct error *err;
};

/* How much of a text is whole: U+FFFD at its end is a character whose last bytes did not come yet. */
static size_t whole_characters(const char *text)
{
    size_t length = strlen(text);
    while (length >= 3 && memcmp(text + length - 3, "\xEF\xBF\xBD", 3) == 0) {
        length -= 3;
    }
    return length;
}

/* Prints what the ids so far add to the text; last: nothing more comes, so broken characters are printed too. All ids
 * are decoded anew each time, for a token's text depends on those before it. */
static void print_text(struct printer *printer, bool last)
{
    if (printer->model == NULL || printer->status != STATUS_OK || printer->n_ids == 0) {
        return;
    }
    char *text;
    printer->status = python_detokenize(printer->model, printer->ids, printer->n_ids, &text, printer->err);
    if (printer->status == STATUS_ABSENT && printer->ids_suffice) {
        fprintf(stderr, "lockstep: no text: %s\n", printer->err->text);
        printer->err->text[0] = '\0';
        printer->status = STATUS_OK;
        printer->model = NULL;
        return;
    }
    if (printer->status != STATUS_OK) {
        return;
    }
    size_t length = last ? strlen(text) : whole_characters(text);
    if (length > printer->printed) {
        fwrite(text + printer->printed, 1, length - printer->printed, stdout);
        fflush(stdout);
        printer->printed = length;
    }
    free(text);
}

static void each_token(void *context, int32_t id)
{
    struct printer *printer = context;
    printer->ids[printer->n_ids++] = id;
    print_text(printer, false);
}

/* Ids in, ids out: from_ids needs neither a tokenizer nor Python, so that a model without one runs too. */
static enum status generate(struct session *session, enum source source, const int32_t *ids, uint32_t n_ids, uint32_t n,
                            bool from_ids, struct error *err)
{
    bool has_tokenizer = session->model.tokenizer_json != NULL || session->model.tokenizer.model != NULL;
    int32_t *out = xcalloc((uint64_t)n + 1, sizeof(*out));
    struct printer printer = {.model = has_tokenizer ? &session->model : NULL, .ids_suffice = from_ids, .err = err};
    printer.ids = xcalloc((uint64_t)n + 1, sizeof(*printer.ids));
    uint32_t n_out = 0;
    enum status status = session_generate(session, source, ids, n_ids, n, out, &n_out, each_token, &printer, err);
    if (status == STATUS_OK) {
        print_text(&printer, true);
        status = printer.status;
    }
    if (status == STATUS_OK) {
        printf("%sids:", printer.printed > 0 ? "\n" : "");
        for (uint32_t i = 0; i < n_out; i++) {
            printf(" %d", out[i]);
        }
        printf("\n");
    }
    free(printer.ids);
    free(out);
    return status;
}

enum status command_run(const struct arguments *arguments, struct error *err)
{
    enum source source;
    enum status status = parse_on_one(arguments->on, &source, err);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t n = arguments->n < 0 ? DEFAULT_TOKENS : (uint32_t)arguments->n;
    struct session session;
    int32_t *ids;
    uint32_t n_ids;
    status = open_with_tokens(arguments, source == SOURCE_ENGINE, source == SOURCE_REFERENCE, n, &session, &ids, &n_ids,
                              err);
    if (status != STATUS_OK) {
        return status;
    }
    status = generate(&session, source, ids, n_ids, n, arguments->ids != NULL, err);
    session_close(&session);
    free(ids);
    return status;
}
