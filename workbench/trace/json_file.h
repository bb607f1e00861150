/* Writing JSON: numbers that JSON cannot hold, and files that appear whole or not at all. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_JSON_FILE_H
#define LOCKSTEP_WORKBENCH_TRACE_JSON_FILE_H

#include <jansson.h>

#include "model/error.h"

/* A number, or "NaN", "Infinity", "-Infinity". */
json_t *json_number_or_text(double value);

/* A text; bytes that are no UTF-8 become '?'. */
json_t *json_text(const char *text);

/* Puts a value into an object, or at the end of an array. Both take the reference. */
void json_put(json_t *object, const char *key, json_t *value);
void json_push(json_t *array, json_t *value);

/* A layer, or null outside the layers. */
json_t *json_layer(int32_t layer);

/* Writes a document, and releases it. path "-" is standard output. STATUS_IO where it cannot be written. */
enum status json_write_file(json_t *document, const char *path, struct error *err);

/* The same with at most 9 digits of a number, which are all that an f32 has. */
enum status json_write_floats(json_t *document, const char *path, struct error *err);

/* An object as in json_write_file, but each entry of the array object[key] is on one line, so that diffs are readable.
 */
enum status json_write_lines(json_t *document, const char *key, const char *path, struct error *err);

#endif
