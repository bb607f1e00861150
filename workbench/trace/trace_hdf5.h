/* What reading and writing traces share around the HDF5 library. Not for anybody else. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_TRACE_HDF5_H
#define LOCKSTEP_WORKBENCH_TRACE_TRACE_HDF5_H

#include <hdf5.h>

#include "workbench/trace/trace.h"

#define TRACE_FORMAT "lockstep-trace"
#define TRACE_VERSION 1

/* Makes the library fit for foreign files: no filter plugins are loaded, nothing is printed, nothing is done at exit
 * (a file that could not be closed on a full disk would be tried again there). Cheap; called before every use. */
void hdf5_start(void);

/* The most specific message of the library's error stack. Returns text. */
const char *hdf5_reason(char text[200]);

/* Reads a file in this very process: what trace_read does in a process of its own. */
enum status trace_read_file(struct trace *trace, const char *path, struct error *err);

/* A file being read, and the dataset or attribute at hand for messages. */
struct trace_reader {
    const char *path;
    uint64_t file_size;
    uint64_t memory; /* bytes that the rows read so far take */
    struct trace *trace;
    struct error *err;
};

/* Fails the reading: STATUS_BAD_INPUT, naming file and field. */
enum status trace_bad(struct trace_reader *reader, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether an open attribute holds n values of a class; false as well where that cannot be told. */
bool hdf5_holds(hid_t attribute, H5T_class_t class, uint64_t n);

/* Attributes of an open object. A missing one leaves *value as it is ("" or the number it had) and *found false. */
enum status trace_read_text(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                            char value[256], bool *found);
enum status trace_read_integer(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                               int64_t *value, bool *found);

/* The attributes storage_dtype, sum_dtype, operand_dtype, weights_dtype of an object, over what was there before. */
enum status trace_read_arith(struct trace_reader *reader, hid_t object, const char *field, struct arith *arith,
                             uint32_t *weights_dtype, bool *storage_declared);

/* The root's attributes temperature, top_k, top_p and seed; greedy where there are none. */
enum status trace_read_sampling(struct trace_reader *reader, hid_t file, struct sampling *sampling);

/* Reads and checks /tokens and /phase (TRACE's tokens, phase, n_positions) and one stage's dataset. */
enum status trace_read_tokens(struct trace_reader *reader, hid_t dataset);
enum status trace_read_phase(struct trace_reader *reader, hid_t dataset);
enum status trace_read_stage(struct trace_reader *reader, hid_t dataset, const char *field, int32_t layer,
                             enum stage stage);

#endif
