/* Python inside the program: tokenising with HuggingFace tokenizers, the golden exporter, and user code at the prompt.
 *
 * The interpreter starts when first needed, isolated, in the project's virtual environment (.venv). An exception,
 * sys.exit or a missing package ends the call with a struct error, never the program. Only one thread may call. */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_PYTHON_H
#define LOCKSTEP_WORKBENCH_PYTHON_PYTHON_H

#include "model/model.h"
#include "workbench/trace/trace.h"

/* Tokens, and what they were made of. */
struct token_source {
    const int32_t *ids; /* [n_ids] */
    uint32_t n_ids;
    const char *text, *messages; /* a prompt, a file of messages; NULL: not given */
    bool ask_transformers;
};

/* The token ids of a text, with the special tokens that the model's own tokenizer adds. *ids is malloc'ed.
 * STATUS_ABSENT: the model has no tokenizer, or .venv lacks a package; STATUS_BAD_INPUT: the tokenizer is malformed. */
enum status python_tokenize(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                            struct error *err);

/* The same without special tokens: a piece from anywhere in a text. */
enum status python_tokenize_plain(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                                  struct error *err);

/* The text that the messages of a JSON file are to the model: its chat template applied, the prompt for an answer at
 * the end. *text is malloc'ed UTF-8. STATUS_BAD_INPUT: the messages cannot be read, or the model has no template. */
enum status python_chat(const struct model *model, const char *messages, char **text, struct error *err);

/* What a prompt's tokens are, and what transformers makes of the same text or messages, where it is installed: JSON, as
 * docs/commands.md has it for `tokens`. text, messages: what was given, or NULL. *json is malloc'ed. */
enum status python_describe_tokens(const struct model *model, const struct token_source *source, char **json,
                                   struct error *err);

/* The text of ids[n_ids], special tokens included; malloc'ed UTF-8. Bytes that are not a complete character are U+FFFD.
 * Fails as python_tokenize. */
enum status python_detokenize(const struct model *model, const int32_t *ids, uint32_t n_ids, char **text,
                              struct error *err);

/* The text of one token, malloc'ed; NULL: the model has no tokenizer, or Python or its packages are missing. */
char *python_token_text(const struct model *model, int32_t id);

/* What python_golden runs and records. */
struct golden_options {
    const int32_t *ids; /* [n_ids] the prompt */
    uint32_t n_ids;
    uint32_t n_decode;         /* tokens to decode after it */
    const int32_t *decode_ids; /* [n_decode]; NULL: chosen greedily */
    const char *dtype;         /* "float16", "bfloat16": weights and stages are rounded to it; NULL: "float32" */
    bool attn_probs;           /* record the attention's probabilities too */
};

/* Runs transformers on the model and records every stage; the trace declares the dtype. STATUS_ABSENT: .venv lacks a
 * package; STATUS_BAD_INPUT: transformers fails; STATUS_INTERRUPTED: Ctrl-C. On failure the trace is empty. */
enum status python_golden(const struct model *model, const struct golden_options *options, struct trace *trace,
                          struct error *err);

/* Has a stage recorded that user code asks for and that the trace lacks. */
struct python_fetch {
    enum status (*function)(void *context, int32_t layer, enum stage stage, struct error *err);
    void *context;
};

/* Gives user code a trace under a name: engine["layer_out", 17] is then a numpy array that shares the trace's memory.
 * NULL: the name becomes None. The trace must stay alive until the next call with this name. fetch: NULL: the trace
 * holds all that there is. */
enum status python_set_trace(const char *name, const struct trace *trace, const struct python_fetch *fetch,
                             struct error *err);

/* Gives user code `tokens` (a list of ids) and `model` (a dict of path, sizes and tensor names). */
enum status python_set_run(const struct model *model, const int32_t *tokens, uint32_t n_tokens, struct error *err);

/* A picture: one cell a value. */
struct plot {
    const float *values; /* [n_rows, n_columns]; NaN: an empty cell */
    uint32_t n_rows, n_columns;
    const char *title, *row_name, *column_name;
};

/* Saves a plot as PNG, by matplotlib. STATUS_IO: the file cannot be written. */
enum status python_plot(const char *path, const struct plot *plot, struct error *err);

/* A document (JSON text) as a page, by golden/lockstep_pages.py. format: "html", "md" or "junit". *text is malloc'ed
 * UTF-8. STATUS_ABSENT: .venv lacks a package. */
enum status python_page(const char *json, const char *format, char **text, struct error *err);

/* Runs one line of user code and prints an expression's value, as Python's own prompt does. Names last until
 * python_close. STATUS_BAD_INPUT: an exception; STATUS_INTERRUPTED: Ctrl-C. */
enum status python_exec(const char *code, struct error *err);

/* How many columns what user code prints may take: numpy's arrays, and what asks shutil. 0: leaves it. */
enum status python_set_width(unsigned columns, struct error *err);

/* A TOML file as JSON text, by Python's own tomllib. *json is malloc'ed. STATUS_BAD_INPUT: it is no TOML, or holds
 * dates; STATUS_IO: it cannot be read. */
enum status python_toml(const char *path, char **json, struct error *err);

/* What happens to the cases that a Dask scheduler runs: result is JSON text. Returns false to stop. */
typedef bool python_result(void *context, uint32_t index, const char *result);

/* Has each of cases[n], JSON texts, run by `program batch -` on a Dask scheduler, and calls `each` as they end. Cases
 * whose worker dies are run again by the scheduler. STATUS_ABSENT: .venv lacks Dask; STATUS_IO: no scheduler answers.
 */
struct dask_cases {
    const char *address, *program;
    const char *const *cases;
    uint32_t n;
};
enum status python_dask(const struct dask_cases *cases, python_result *each, void *context, struct error *err);

/* fork(), also where the interpreter runs. */
int python_fork(void);

/* Ends the interpreter, if it was started. false: threads that user code left still run; then it stays until the
 * program ends, and with it what they may look at. */
bool python_close(void);

#endif
