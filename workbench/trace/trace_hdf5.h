/* What the files that read and write traces share. Only those include it. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_TRACE_HDF5_H
#define LOCKSTEP_WORKBENCH_TRACE_TRACE_HDF5_H

#include <hdf5.h>

#include "workbench/trace/trace.h"

#define TRACE_FORMAT "lockstep-trace"
#define TRACE_VERSION 1

/* Prepares the HDF5 library for files that anybody may have written: it loads no filter plugins, prints nothing and
 * does nothing at exit (where it would try again to close a file that a full disk kept open). Cheap; called before
 * every use. */
void hdf5_start(void);

/* Writes the most specific message of the library's error stack. Returns text. */
const char *hdf5_reason(char text[200]);

/* Reads a file in this process; trace_read calls it in a child process. Otherwise as trace_read. */
enum status trace_read_file(struct trace *trace, const char *path, struct error *err);

/* A file that is being read. */
struct trace_reader {
    const char *path;
    uint64_t file_size; /* bytes */
    uint64_t memory;    /* bytes that the rows read so far take */
    struct trace *trace;
    struct error *err;
};

/* Fills reader->err with STATUS_BAD_INPUT, the file and the field (may be NULL), and returns it. */
enum status trace_bad(struct trace_reader *reader, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether an open attribute holds n values of a class. False too if the library cannot tell. */
bool hdf5_holds(hid_t attribute, H5T_class_t class, uint64_t n);

/* Reads an attribute of one value. field: the object's name for messages, "" for the root. A missing attribute is no
 * error: *value stays as it is, and *found is false. */
enum status trace_read_text(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                            char value[256], bool *found);
enum status trace_read_integer(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                               int64_t *value, bool *found);

/* The attributes that declare a rounding inside ops: name, field of struct roundings, its types in words, and as bits
 * 1 << ROUNDING_. */
#define N_ROUNDING_ATTRIBUTES 8
struct rounding_attribute {
    const char *name;
    size_t at;
    const char *expected;
    unsigned types;
};
extern const struct rounding_attribute rounding_attributes[N_ROUNDING_ATTRIBUTES];

/* Reads an object's attributes storage_dtype, rounded_dtype, sum_dtype, operand_dtype, kv_dtype, values_dtype,
 * scores_dtype, shifted_scores_dtype, probs_dtype, table_dtype, activation_dtype and weights_dtype; and those about
 * decode rows alone, whose names end in OF_DECODE (of storage, sums, and what ops round inside). Those that are missing
 * leave *declaration as it is. *storage_declared: one of storage_dtype, its form for decode rows and rounded_dtype is
 * there. */
enum status trace_read_declaration(struct trace_reader *reader, hid_t object, const char *field,
                                   struct declaration *declaration, bool *storage_declared);

/* Reads the root's attributes temperature, top_k, top_p and seed. Those that are missing are 0: greedy. */
enum status trace_read_sampling(struct trace_reader *reader, hid_t file, struct sampling *sampling);

/* Reads and checks /tokens (which sets n_positions), then /phase, then one stage's dataset at a time. */
enum status trace_read_tokens(struct trace_reader *reader, hid_t dataset);
enum status trace_read_phase(struct trace_reader *reader, hid_t dataset);
enum status trace_read_stage(struct trace_reader *reader, hid_t dataset, const char *field, int32_t layer,
                             enum stage stage);

/* In trace_shape.c. Refuse a dataset of other dimensions than n_expected (1: of integers, one a position; 2: rows), or
 * of another number of rows than /tokens has positions. Return STATUS_BAD_INPUT. */
enum status trace_bad_shape(struct trace_reader *reader, const char *field, const hsize_t *dims, int n_dims,
                            int n_expected);
enum status trace_bad_rows(struct trace_reader *reader, const char *field, hsize_t n_rows, hsize_t width);

#endif
