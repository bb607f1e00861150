/* A trace: recorded stages of a plan's run. The engine's run, the reference's run, a golden by transformers and another
 * engine's dump are all traces; nothing here asks where one came from. A trace file is HDF5, format version 1. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_TRACE_H
#define LOCKSTEP_WORKBENCH_TRACE_TRACE_H

#include "model/error.h"
#include "model/plan.h"
#include "reference/reference.h"

/* One recorded stage: one row a position. */
struct trace_stage {
    int32_t layer; /* LAYER_NONE outside the layers */
    enum stage stage;
    uint32_t width;         /* values a row */
    float *rows;            /* [n_positions, width]; rows that were not recorded are NaN */
    uint8_t *recorded;      /* [n_positions] 0 or 1 */
    uint32_t n_recorded;    /* rows with recorded = 1 */
    double *error;          /* [n_positions, width] how far values can be off because they were rounded for the file
                               alone; NULL: they are what was computed */
    struct arith arith;     /* as the file declares, for this stage or for all */
    uint32_t weights_dtype; /* likewise; see struct trace */
    bool decode_differs;    /* the file declares another arithmetic of decode rows */
    struct arith decode;    /* that one */
    /* [phase] The audit found another arithmetic than the declared one (workbench/audit/arithmetic.h). */
    bool is_inferred[2];
    struct arith inferred[2]; /* [phase] that arithmetic */
};

/* The arithmetic of steps whose stages a file lacks, as the audit found it: of a class of steps in one phase. */
struct unrecorded_class {
    enum op op;
    uint32_t weights; /* DTYPE_ code (step_weights_dtype) */
    unsigned phase;
    struct arith arith;
};
#define TRACE_MOST_UNRECORDED 32

struct trace {
    char *path;     /* the file that it was read from, or a name for messages ("engine") */
    char *producer; /* the program that recorded it */
    char *model_type;
    bool from_file; /* read, not run here: its optional stages may be rounded differently from what the run used */
    uint32_t n_layers;
    uint32_t n_positions;
    int32_t *tokens;     /* [n_positions]; -1: not known (no file that is read has one) */
    uint8_t *phase;      /* [n_positions] 0 prefill, 1 decode */
    struct arith arith;  /* declared for the whole file; each stage starts with it */
    bool decode_differs; /* another one is declared of decode rows */
    struct arith decode; /* that one */
    /* DTYPE_F16 or DTYPE_BF16: the audit rounds MODEL's weights to it first. DTYPE_F32: it takes them as they are. */
    uint32_t weights_dtype;
    struct sampling sampling; /* how sample_token was chosen; greedy if the file says nothing */
    char weights_sha256[65];  /* "" if not given */
    char config_sha256[65];
    char **notes; /* [n_notes] what its import put right or did not match (workbench/python/import.h); not copied */
    uint32_t n_notes;
    uint32_t n_without_place; /* arrays of an imported dump that are no stage, and were left out */
    uint32_t n_unrecorded;
    struct unrecorded_class unrecorded[TRACE_MOST_UNRECORDED];
    uint32_t n_stages;
    struct trace_stage *stages; /* in plan order: embed, layer 0 …, final_norm, logits, logits_final */
};

#define PHASE_PREFILL 0
#define PHASE_DECODE 1

/* Makes a trace without stages of tokens[n_positions] and phase[n_positions], which are copied. trace_free releases
 * it. */
void trace_init(struct trace *trace, const char *name, const char *model_type, uint32_t n_layers, uint32_t n_positions,
                const int32_t *tokens, const uint8_t *phase);
void trace_free(struct trace *trace);

/* A deep copy, with the same declarations; *copy must be freed. */
void trace_copy(struct trace *copy, const struct trace *trace);

/* Moves a recorded stage to another place, where nothing is recorded. Invalidates pointers to stages. */
void trace_move_stage(struct trace *trace, struct trace_stage *stage, int32_t layer, enum stage to);

/* Takes a stage out. Invalidates pointers to stages. */
void trace_remove_stage(struct trace *trace, struct trace_stage *stage);

/* Sets stage->error: how far its values can be off that were rounded for the file alone, to floats of this unit
 * roundoff. 0 takes it away. */
void stage_set_rounded(struct trace_stage *stage, uint32_t n_positions, double unit_roundoff);

/* The stage, or NULL if it was not recorded. */
struct trace_stage *trace_find(const struct trace *trace, int32_t layer, enum stage stage);

/* The stage that a step makes, or NULL if it was not recorded. */
struct trace_stage *trace_find_step(const struct trace *trace, const struct step *step);

/* The stage; if it is not there yet, it is added with no row recorded. Invalidates pointers to other stages. */
struct trace_stage *trace_add(struct trace *trace, int32_t layer, enum stage stage, uint32_t width);

/* The arithmetic that a file declares of a stage's rows of one phase, or of a whole trace's. Borrowed. */
const struct arith *trace_stage_declared(const struct trace_stage *stage, unsigned phase);
const struct arith *trace_declared(const struct trace *trace, unsigned phase);

/* The coarsest unit roundoff in which rows of a stage are stored. */
double trace_stage_coarsest(const struct trace_stage *stage);

/* The arithmetic that a stage's rows of one phase are judged in. Borrowed from the stage. */
const struct arith *trace_stage_arith(const struct trace_stage *stage, unsigned phase);

/* The arithmetic of one phase of a step whose stage is not recorded. Borrowed from the trace. */
const struct arith *trace_unrecorded_arith(const struct trace *trace, const struct step *step, unsigned phase);

/* Sets the arithmetic of a class of such steps. At most TRACE_MOST_UNRECORDED; what is beyond is as declared. */
void trace_set_unrecorded(struct trace *trace, const struct unrecorded_class *class);

/* Scores and probabilities are no stages: storage_dtype says nothing of them. What they are rounded to must be
 * declared, or is inferred. Where nothing is inferred (at the prompt), they may be stored as stages are. */
void trace_take_exact_inside(struct trace *trace);

/* Takes back what was inferred of the arithmetic inside ops. */
void trace_forget_inferred(struct trace *trace);

/* What is declared of a whole trace, or of one stage. */
struct declaration {
    struct arith arith;
    uint32_t weights_dtype;
    bool decode_differs;
    struct arith decode; /* of decode rows */
};
extern const struct declaration declaration_none; /* float32 throughout */
struct declaration trace_declaration(const struct trace *trace);
void trace_declare(struct trace *trace, const struct declaration *declaration);
struct declaration stage_declaration(const struct trace_stage *stage);
void stage_declare(struct trace_stage *stage, const struct declaration *declaration);

/* Ends the name of an attribute that is about decode rows alone: "storage_dtype_decode". */
#define OF_DECODE "_decode"

/* Calls each(context, attribute, value) for every attribute of a file in which a declaration differs from another. */
typedef void declaration_function(void *context, const char *attribute, const char *value);
void declaration_differences(const struct declaration *declaration, const struct declaration *other,
                             declaration_function *each, void *context);

/* The row [width] of a position, or NULL if it was not recorded. */
const float *trace_row(const struct trace_stage *stage, uint32_t position);

/* Hides a stage's rows outside positions [first, first + n): they count as not recorded. *whole receives the stage as
 * it was; trace_show_all restores it. */
void trace_hide_others(const struct trace *trace, struct trace_stage *stage, uint32_t first, uint32_t n,
                       struct trace_stage *whole);
void trace_show_all(struct trace_stage *stage, const struct trace_stage *whole);

/* Copies row[width] to a position and marks it recorded. */
void trace_set_row(struct trace *trace, struct trace_stage *stage, uint32_t position, const float *row);

/* Writes "layer 17 ffn_down" or "logits", for messages. Returns text. */
const char *trace_label(const struct trace_stage *stage, char text[64]);

/* Reads a file in a child process, because damaged files make HDF5 1.10 crash or loop for ever. Values of 16 and 64
 * bits become float32. A dataset of 16-bit floats that declares no storage_dtype has its type's. STATUS_BAD_INPUT names
 * file and dataset: not HDF5, cut short, a shape that contradicts /tokens, an unknown stage, a link out of the file.
 * STATUS_IO: no child process; STATUS_INTERRUPTED: Ctrl-C. On failure the trace is zeroed. */
enum status trace_read(struct trace *trace, const char *path, struct error *err);

/* Writes a file beside its target and renames it, so an earlier file stays whole if anything fails (STATUS_IO). Traces
 * of equal content make byte-identical files. */
enum status trace_write(const struct trace *trace, const char *path, struct error *err);

/* Where the model has no final softcap, logits and logits_final are the same. If the trace holds logits_final alone, as
 * llama.cpp's result_output, logits become a copy. Invalidates pointers to stages. */
void trace_fill_logits(struct trace *trace, const struct plan *plan);

/* STATUS_BAD_INPUT if the trace cannot be one of this plan: a layer, a stage, a width or a token id does not fit. The
 * model_type is not compared. */
enum status trace_check_plan(const struct trace *trace, const struct plan *plan, struct error *err);

/* STATUS_BAD_INPUT if two traces differ in tokens or phases; names the first position that differs. */
enum status trace_check_same_tokens(const struct trace *trace, const struct trace *golden, struct error *err);

#endif
