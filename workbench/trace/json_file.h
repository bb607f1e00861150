/* Writing JSON: values that JSON cannot hold, and files that are written completely or not at all. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_JSON_FILE_H
#define LOCKSTEP_WORKBENCH_TRACE_JSON_FILE_H

#include <jansson.h>

#include "model/error.h"

/* A number. JSON has no nonfinite ones: they become the text "NaN", "Infinity" or "-Infinity". */
json_t *json_number_or_text(double value);

/* A text. If it is not valid UTF-8, each of its non-ASCII bytes becomes '?'. */
json_t *json_text(const char *text);

/* Puts a value into an object, or at the end of an array. Both take over the reference to the value. */
void json_put(json_t *object, const char *key, json_t *value);
void json_push(json_t *array, json_t *value);

/* A layer's number, or null for LAYER_NONE. */
json_t *json_layer(int32_t layer);

/* Writes a document to a file ("-": standard output) and releases it, on failure too. STATUS_IO: it cannot be
 * written. */
enum status json_write_file(json_t *document, const char *path, struct error *err);

/* The same, with at most 9 digits a number: enough for every f32. */
enum status json_write_floats(json_t *document, const char *path, struct error *err);

/* An object as in json_write_file, but each entry of an array in it is on one line, so that diffs are readable. Numbers
 * have at most 6 digits. */
enum status json_write_lines(json_t *document, const char *path, struct error *err);

#endif
