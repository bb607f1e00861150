/* Refusals of datasets whose shape is not that of a trace's. They say what to do. */
#include <stdio.h>

#include "workbench/trace/trace_hdf5.h"

#define MOST_DIMS 8 /* that are told */

/* Writes "[1, 16, 64]". */
static const char *shape_text(const hsize_t *dims, int n_dims, char text[160])
{
    size_t length = (size_t)snprintf(text, 160, "[");
    for (int i = 0; i < n_dims && i < MOST_DIMS; i++) {
        length += (size_t)snprintf(text + length, 160 - length, i > 0 ? ", %llu" : "%llu", (unsigned long long)dims[i]);
    }
    snprintf(text + length, 160 - length, n_dims > MOST_DIMS ? ", …]" : "]");
    return text;
}

/* What to do with rows of another number of dimensions, as far as the shape tells. */
static const char *shape_cure(const hsize_t *dims, int n_dims, uint32_t n_positions)
{
    bool batch = n_dims >= 3 && dims[0] == 1;
    const hsize_t *rest = dims + batch;
    int n_rest = n_dims - batch;
    if (n_rest == 2) {
        return rest[0] == n_positions ? "leave out the batch dimension: record x[0]"
                                      : "record one sequence, all positions of /tokens";
    }
    if (n_rest == 3 && rest[0] == n_positions) {
        return batch ? "record x[0], each position's heads joined: x[0].reshape(positions, width)"
                     : "join each position's heads: x.reshape(positions, width)";
    }
    if (n_rest == 3 && rest[1] == n_positions) {
        return batch ? "[batch, heads, positions, dim] is x[0].transpose(1, 0, 2).reshape(positions, width)"
                     : "[heads, positions, dim] is x.transpose(1, 0, 2).reshape(positions, width), and of a batch "
                       "[sequences, positions, width] record one sequence";
    }
    return n_dims == 1 ? "record a row for each position, with x[None, :] of a single one"
                       : "record one row for each position of /tokens";
}

enum status trace_bad_shape(struct trace_reader *reader, const char *field, const hsize_t *dims, int n_dims,
                            int n_expected)
{
    char found[160];
    uint32_t n_positions = reader->trace->n_positions;
    shape_text(dims, n_dims, found);
    if (n_expected == 1) {
        return trace_bad(reader, field, "has the wrong shape %s, expected one dimension%s", found,
                         n_dims == 2 && dims[0] == 1 ? ": leave out the batch dimension, record x[0]" : "");
    }
    return trace_bad(reader, field, "has the wrong shape %s, expected [%u positions, width]: %s", found, n_positions,
                     shape_cure(dims, n_dims, n_positions));
}

enum status trace_bad_rows(struct trace_reader *reader, const char *field, hsize_t n_rows, hsize_t width)
{
    uint32_t n_positions = reader->trace->n_positions;
    if (width == n_positions) {
        return trace_bad(reader, field,
                         "has shape [%llu, %llu], expected [%u positions, width]: record it transposed, x.T",
                         (unsigned long long)n_rows, (unsigned long long)width, n_positions);
    }
    const char *cure = "";
    if (n_rows == (hsize_t)n_positions + 1) {
        cure = ": if the engine ran with BOS or another token at the front, record it in /tokens, too";
    } else if (n_rows + 1 == n_positions) {
        cure = ": if the engine ran without the first of /tokens, as BOS, record the tokens that ran";
    }
    return trace_bad(reader, field, "has %llu rows, expected %u as in /tokens, or an attribute positions%s",
                     (unsigned long long)n_rows, n_positions, cure);
}
