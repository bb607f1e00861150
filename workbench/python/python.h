/* Python inside the program: tokenising with HuggingFace tokenizers, the golden exporter, and user code at the prompt.
 *
 * The interpreter starts when first needed, isolated, with the project's virtual environment named explicitly. An
 * exception, sys.exit or a missing package ends the call with a struct error, never the program. */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_PYTHON_H
#define LOCKSTEP_WORKBENCH_PYTHON_PYTHON_H

#include "model/model.h"
#include "workbench/trace/trace.h"

/* Token ids of a text, special tokens as the model's own tokenizer adds them. *ids is malloc'ed. */
enum status python_tokenize(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                            struct error *err);

/* The same without special tokens: a piece of text, wherever it stands. */
enum status python_tokenize_plain(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                                  struct error *err);

/* The text of ids, special tokens too, malloc'ed. UTF-8; bytes that are not (yet) a character are U+FFFD. A model
 * without a tokenizer is STATUS_ABSENT. */
enum status python_detokenize(const struct model *model, const int32_t *ids, uint32_t n_ids, char **text,
                              struct error *err);

/* Runs transformers on the model and records every stage of the tokens and of n decoded ones (greedy, or
 * decode_ids if not NULL). dtype: "float32", "float16" or "bfloat16", which weights and stages are rounded to; the
 * trace declares it. attn_probs: attention's probabilities too. */
enum status python_golden(const struct model *model, const int32_t *ids, uint32_t n_ids, uint32_t n,
                          const int32_t *decode_ids, const char *dtype, bool attn_probs, struct trace *trace,
                          struct error *err);

/* Names that user code sees: engine["layer_out", 17] and the like give numpy arrays that share the trace's memory.
 * A NULL trace takes the name away. The trace must outlive the next call. */
enum status python_set_trace(const char *name, const struct trace *trace, struct error *err);

/* `tokens` (a list of the run's ids) and `model` (path, config and tensor names), as user code sees them. */
enum status python_set_run(const struct model *model, const int32_t *tokens, uint32_t n_tokens, struct error *err);

/* Saves a picture of values[n_rows, n_columns] as PNG, through matplotlib. A file that cannot be written is STATUS_IO.
 */
enum status python_plot(const char *path, const float *values, uint32_t n_rows, uint32_t n_columns, const char *title,
                        const char *row_name, const char *column_name, struct error *err);

/* Runs user code in one namespace that lasts as long as the program; prints an expression's value. */
enum status python_exec(const char *code, struct error *err);

void python_close(void);

#endif
