/* A trace: what somebody recorded of a plan. The engine's run, the reference's run, a golden by transformers and a
 * stranger's dump are all traces; nothing here asks where one came from. CONTRACT: the HDF5 format, version 1. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_TRACE_H
#define LOCKSTEP_WORKBENCH_TRACE_TRACE_H

#include "model/error.h"
#include "model/plan.h"
#include "reference/reference.h"

/* One recorded stage: a row a position. */
struct trace_stage {
    int32_t layer; /* LAYER_NONE outside the layers */
    enum stage stage;
    uint32_t width;
    float *rows;         /* [n_positions, width]; rows that were not recorded are NaN */
    uint8_t *recorded;   /* [n_positions] 0 or 1 */
    uint32_t n_recorded; /* rows with recorded = 1 */
    double *error;       /* [n_positions, width] how far values can be off, for they were rounded for the file alone;
                            NULL: they are what was computed */
    struct arith arith;  /* as the file declares, for this dataset or for all */
    bool is_inferred[2]; /* [phase] the audit found another arithmetic than the declared one: */
    struct arith inferred[2]; /* [phase] workbench/audit/arithmetic.h */
    uint32_t weights_dtype; /* likewise: what MODEL's weights are rounded to before the audit; DTYPE_F32: as they are */
};

struct trace {
    char *path; /* where it was read from, or a name for messages ("engine") */
    char *producer;
    char *model_type;
    bool from_file; /* read, not run here: its optional stages may have been computed beside the run */
    uint32_t n_layers;
    uint32_t n_positions;
    int32_t *tokens;    /* [n_positions] */
    uint8_t *phase;     /* [n_positions] 0 prefill, 1 decode */
    struct arith arith; /* declared for the whole file: what stages have from the start */
    uint32_t
        weights_dtype; /* DTYPE_F16 or DTYPE_BF16: MODEL's weights are rounded to it before the audit; else DTYPE_F32 */
    struct sampling sampling; /* how sample_token was chosen; greedily if the file says nothing */
    char weights_sha256[65];  /* "" if not given */
    char config_sha256[65];
    uint32_t n_stages;
    struct trace_stage *stages; /* in plan order: embed, layer 0 …, final_norm, logits, logits_final */
};

#define PHASE_PREFILL 0
#define PHASE_DECODE 1

/* An empty trace for these tokens, to be filled stage by stage; copies tokens and phase. */
void trace_init(struct trace *trace, const char *name, const char *model_type, uint32_t n_layers, uint32_t n_positions,
                const int32_t *tokens, const uint8_t *phase);
void trace_free(struct trace *trace);

/* A deep copy, with the same declarations; *copy must be freed. */
void trace_copy(struct trace *copy, const struct trace *trace);

/* Moves a recorded stage to another place, where nothing is recorded. Invalidates pointers to stages. */
void trace_move_stage(struct trace *trace, struct trace_stage *stage, int32_t layer, enum stage to);

/* Takes a stage out. Invalidates pointers to stages. */
void trace_remove_stage(struct trace *trace, struct trace_stage *stage);

/* Sets stage->error of every stage: how far its values can be off that were rounded for the file alone, to floats of
 * this unit roundoff. 0 takes it away. */
void trace_set_rounded(struct trace *trace, double unit_roundoff);

/* The stage, or NULL if it was not recorded. */
struct trace_stage *trace_find(const struct trace *trace, int32_t layer, enum stage stage);

/* The stage that a step makes, or NULL. */
struct trace_stage *trace_find_step(const struct trace *trace, const struct step *step);

/* The stage, added (with no row recorded) if it is not there. Invalidates pointers to other stages. */
struct trace_stage *trace_add(struct trace *trace, int32_t layer, enum stage stage, uint32_t width);

/* The arithmetic that a stage's rows of one phase are judged in. Borrowed from the stage. */
const struct arith *trace_stage_arith(const struct trace_stage *stage, unsigned phase);

/* The row of a position, or NULL if it was not recorded. */
const float *trace_row(const struct trace_stage *stage, uint32_t position);

/* Hides a stage's rows outside positions [first, first + n), until trace_show_all puts back what *whole receives. */
void trace_hide_others(const struct trace *trace, struct trace_stage *stage, uint32_t first, uint32_t n,
                       struct trace_stage *whole);
void trace_show_all(struct trace_stage *stage, const struct trace_stage *whole);

/* Sets a row and marks it recorded. */
void trace_set_row(struct trace *trace, struct trace_stage *stage, uint32_t position, const float *row);

/* "layer 17 ffn_down", or "logits": for people. Returns text. */
const char *trace_label(const struct trace_stage *stage, char text[64]);

/* Reads a file, in a process of its own: a damaged one makes HDF5 1.10 crash or run for ever. Values of 16 and 64 bits
 * become float32; a dataset of 16-bit floats that declares no storage_dtype has that of its type. Anything wrong (not
 * HDF5, cut short, a shape that contradicts /tokens, an unknown stage, a link that leaves the file) is STATUS_BAD_INPUT
 * and names file and dataset. */
enum status trace_read(struct trace *trace, const char *path, struct error *err);

/* Writes a file beside its target and renames it: an earlier file stays whole if anything fails (STATUS_IO). Two traces
 * with equal content make byte-identical files. */
enum status trace_write(const struct trace *trace, const char *path, struct error *err);

/* STATUS_BAD_INPUT where the trace cannot be one of this plan: model_type is free, but layers, widths and token ids
 * must fit. */
enum status trace_check_plan(const struct trace *trace, const struct plan *plan, struct error *err);

/* STATUS_BAD_INPUT at the first position where two traces differ in token or phase. */
enum status trace_check_same_tokens(const struct trace *trace, const struct trace *golden, struct error *err);

#endif
