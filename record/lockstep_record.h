/*
 * lockstep_record.h: writes what an engine computes into a file that lockstep audits. One file, C99 or C++, no
 * dependencies.
 *
 * In one source file, before the include:      #define LOCKSTEP_RECORD_IMPLEMENTATION
 *
 *     struct lockstep_record *r = lockstep_record_begin("mine.rec", "my engine", "llama", n_layers);
 *     lockstep_record_batch(r, tokens, n, LOCKSTEP_PREFILL);          // once a forward pass
 *     lockstep_record_put(r, LOCKSTEP_NO_LAYER, "embed", x, n, hidden); // n rows of `hidden` floats
 *     lockstep_record_put(r, 0, "q_proj", q, n, heads * head_dim);
 *     ...
 *     if (lockstep_record_end(r)) perror("mine.rec");
 *
 *     $ lockstep audit MODEL mine.rec
 *
 * Stages, in the order of a forward pass; any subset will do: embed, then of each layer attn_norm, q_proj, k_proj,
 * v_proj, q_norm, k_norm, q_rope, k_rope, attn_out, o_proj, post_attn_norm, attn_resid, ffn_norm, ffn_gate, ffn_up,
 * ffn_act, ffn_down, post_ffn_norm, layer_out, then final_norm, logits, logits_final. A row of q or k is [heads *
 * head_dim], head after head, with rope's partners half a head apart, as in transformers. lockstep's docs/traces.md
 * describes each stage, and the stages of experts.
 *
 * Every call writes to the file before it returns: a program that is killed leaves all that it has put. Calls of one
 * record must not run at the same time.
 */
#ifndef LOCKSTEP_RECORD_H
#define LOCKSTEP_RECORD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LOCKSTEP_NO_LAYER = -1 }; /* the layer of embed, final_norm, logits, logits_final */
enum { LOCKSTEP_PREFILL = 0, LOCKSTEP_DECODE = 1 };
enum lockstep_type { LOCKSTEP_F32, LOCKSTEP_F16, LOCKSTEP_BF16, LOCKSTEP_F64, LOCKSTEP_I32 };

struct lockstep_record;

/* Creates or empties the file. model_type is that of config.json: "llama", "gemma2", "gemma3_text", "gpt_oss". NULL and
 * errno on failure; every function below takes NULL, and does nothing then but fail. */
struct lockstep_record *lockstep_record_begin(const char *path, const char *producer, const char *model_type,
                                              int n_layers);

/* The functions below return 0, or -1 and errno. After a failure each further call fails as well, so that it is enough
 * to check lockstep_record_end. */

/* Declares an arithmetic of the engine: of one stage of a layer, or of all with LOCKSTEP_NO_LAYER and NULL. For example
 * "operand_dtype", "q8_1"; "kv_dtype", "float16"; "storage_dtype", "bfloat16". What is not declared is inferred. */
int lockstep_record_declare(struct lockstep_record *r, int layer, const char *stage, const char *attribute,
                            const char *value);

/* A forward pass over the next n positions begins: phase is LOCKSTEP_PREFILL, or LOCKSTEP_DECODE for tokens fed back
 * one at a time. */
int lockstep_record_batch(struct lockstep_record *r, const int32_t *tokens, size_t n, int phase);

/* The rows of a stage in this forward pass: [rows][width], one row a position. Fewer rows than positions are those of
 * the last positions. A stage that is put again replaces what was put for this pass. */
int lockstep_record_put(struct lockstep_record *r, int layer, const char *stage, const float *values, size_t rows,
                        size_t width);

/* The same for other types. router_indices is LOCKSTEP_I32. */
int lockstep_record_put_as(struct lockstep_record *r, int layer, const char *stage, enum lockstep_type type,
                           const void *values, size_t rows, size_t width);

/* Closes the file and frees r. -1 and errno if anything was not written. */
int lockstep_record_end(struct lockstep_record *r);

#ifdef __cplusplus
}
#endif
#endif

#ifdef LOCKSTEP_RECORD_IMPLEMENTATION
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file is a list of chunks: a head of 128 bytes, then the data. Numbers are little-endian. */
struct lockstep_head {
    char magic[4]; /* "LSR1" */
    uint32_t kind; /* an enum lockstep_kind */
    int32_t layer; /* of LOCKSTEP_BATCH: the phase */
    uint32_t type; /* of the data: an enum lockstep_type, or LOCKSTEP_TEXT */
    uint64_t rows; /* of LOCKSTEP_BEGIN: the number of layers */
    uint64_t width;
    char name[96]; /* of LOCKSTEP_ROWS and LOCKSTEP_DECLARED: the stage; of LOCKSTEP_BEGIN: the model's type; ends with
                      0 */
};
enum lockstep_kind { LOCKSTEP_BEGIN = 1, LOCKSTEP_DECLARED, LOCKSTEP_BATCH, LOCKSTEP_ROWS, LOCKSTEP_END };
enum { LOCKSTEP_TEXT = 255 };

struct lockstep_record {
    FILE *file;
    int error; /* errno of the first failure */
};

static int lockstep_failed(struct lockstep_record *r, int error)
{
    if (r && !r->error) {
        r->error = error;
    }
    errno = r ? r->error : EINVAL;
    return -1;
}

static int lockstep_chunk(struct lockstep_record *r, struct lockstep_head head, const char *name, const void *data,
                          size_t size)
{
    if (!r || r->error || strlen(name) >= sizeof head.name) {
        return lockstep_failed(r, ENAMETOOLONG);
    }
    memcpy(head.magic, "LSR1", 4);
    memcpy(head.name, name, strlen(name));
    if (fwrite(&head, sizeof head, 1, r->file) != 1 || (size && fwrite(data, size, 1, r->file) != 1) ||
        fflush(r->file) != 0) {
        return lockstep_failed(r, errno);
    }
    return 0;
}

static struct lockstep_head lockstep_head_of(int kind, int layer, int type, size_t rows, size_t width)
{
    struct lockstep_head head;
    memset(&head, 0, sizeof head);
    head.kind = (uint32_t)kind;
    head.layer = layer;
    head.type = (uint32_t)type;
    head.rows = rows;
    head.width = width;
    return head;
}

struct lockstep_record *lockstep_record_begin(const char *path, const char *producer, const char *model_type,
                                              int n_layers)
{
    struct lockstep_record *r = (struct lockstep_record *)calloc(1, sizeof *r);
    if (!r) {
        return NULL;
    }
    r->file = fopen(path, "wb");
    struct lockstep_head head = lockstep_head_of(LOCKSTEP_BEGIN, 0, LOCKSTEP_TEXT, (size_t)n_layers, strlen(producer));
    if (!r->file || lockstep_chunk(r, head, model_type, producer, strlen(producer))) {
        int error = errno;
        if (r->file) {
            fclose(r->file);
        }
        free(r);
        errno = error;
        return NULL;
    }
    return r;
}

int lockstep_record_declare(struct lockstep_record *r, int layer, const char *stage, const char *attribute,
                            const char *value)
{
    char text[256];
    int length = snprintf(text, sizeof text, "%s=%s", attribute, value);
    if (length < 0 || (size_t)length >= sizeof text) {
        return lockstep_failed(r, ENAMETOOLONG);
    }
    struct lockstep_head head = lockstep_head_of(LOCKSTEP_DECLARED, layer, LOCKSTEP_TEXT, 1, (size_t)length);
    return lockstep_chunk(r, head, stage ? stage : "", text, (size_t)length);
}

int lockstep_record_batch(struct lockstep_record *r, const int32_t *tokens, size_t n, int phase)
{
    return lockstep_chunk(r, lockstep_head_of(LOCKSTEP_BATCH, phase, LOCKSTEP_I32, n, 1), "", tokens,
                          n * sizeof *tokens);
}

int lockstep_record_put_as(struct lockstep_record *r, int layer, const char *stage, enum lockstep_type type,
                           const void *values, size_t rows, size_t width)
{
    static const size_t sizes[] = {4, 2, 2, 8, 4};
    size_t size = (size_t)type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
    if (!size || (width && rows > SIZE_MAX / width / size)) {
        return lockstep_failed(r, EINVAL);
    }
    return lockstep_chunk(r, lockstep_head_of(LOCKSTEP_ROWS, layer, (int)type, rows, width), stage, values,
                          rows * width * size);
}

int lockstep_record_put(struct lockstep_record *r, int layer, const char *stage, const float *values, size_t rows,
                        size_t width)
{
    return lockstep_record_put_as(r, layer, stage, LOCKSTEP_F32, values, rows, width);
}

int lockstep_record_end(struct lockstep_record *r)
{
    if (!r) {
        return lockstep_failed(r, EINVAL);
    }
    lockstep_chunk(r, lockstep_head_of(LOCKSTEP_END, 0, LOCKSTEP_TEXT, 0, 0), "", "", 0);
    if (fclose(r->file) != 0 && !r->error) {
        r->error = errno;
    }
    int error = r->error;
    free(r);
    errno = error;
    return error ? -1 : 0;
}
#endif
