/* Known bugs, called faults: one row each in the table of fault_table.c. A fault is used twice. Planted (`--fault
 * NAME`) it edits steps of the engine's plan, so that tests can prove that the workbench finds the bug. As a mutant it
 * edits a failing step during a diagnosis: where the edited op computes what was recorded, the bug is named. A bug that
 * no op can reproduce, such as a clobbered buffer, is named by a relation between recorded values. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_FAULT_H
#define LOCKSTEP_WORKBENCH_FAULT_FAULT_H

#include "model/plan.h"
#include "workbench/text/suggest.h"

/* What sort of bug it is. */
#define FAULT_KINDS(X)                            \
    X(PARAMETER, "parameter")                     \
    X(FORMULA, "formula")                         \
    X(VISIBLE_KEYS, "visible-keys")               \
    X(SOFTMAX_DENOMINATOR, "softmax-denominator") \
    X(POSITIONS, "positions")                     \
    X(ADDITIVE, "additive")                       \
    X(MISSING_TERMS, "missing-terms")             \
    X(WIRING, "wiring")                           \
    X(LAYOUT, "layout")                           \
    X(WEIGHTS_DECODING, "weights-decoding")       \
    X(CONSTANT_MULTIPLE, "constant-multiple")     \
    X(ROW_MULTIPLES, "row-multiples")             \
    X(PRECISION, "precision")                     \
    X(SATURATION, "saturation")                   \
    X(NONFINITE, "nonfinite")                     \
    X(UNTOUCHED, "untouched")                     \
    X(RECORDING, "recording")                     \
    X(SYMPTOM, "symptom")

enum fault_kind {
    KIND_NONE, /* of no row */
#define FAULT_KIND_CODE(code, name) KIND_##code,
    FAULT_KINDS(FAULT_KIND_CODE)
#undef FAULT_KIND_CODE
};
const char *fault_kind_name(enum fault_kind kind);

/* One number of a step's parameters, changed. NUMBER in fault_table.c writes one. */
struct number_edit {
    enum { NUMBER_KEPT, NUMBER_SET, NUMBER_ADD, NUMBER_POWER } change;
    bool is_float; /* else uint32_t */
    size_t offset; /* in union step_params */
    double value;
};

/* A function that edits a step where data do not suffice; they stand in fault_edits.h. false: it does not apply. */
struct edit;
typedef bool edit_function(struct edit *edit);

/* A row. Everything that is left out is "no". */
struct fault {
    const char *name;       /* "qk-norm-no-offset" */
    const char *story;      /* for people: what the bug is and what it does, in one or two sentences */
    const char *postmortem; /* where it was met: "2025-12-25-gemma3-qknorm-offset" */
    enum fault_kind kind;

    /* Which steps it can strike. */
    enum op op;                                /* OP_COUNT: any */
    const enum stage *stages;                  /* STAGE_COUNT-terminated */
    bool (*only_if)(const struct step *right); /* NULL: all of them */
    bool every_layer;                          /* strikes all of them at once, as in the wild; else the first alone */
    bool whole_layer;                          /* strikes all of them in the first layer that has one */

    /* What it edits in them. Several edits are made one after the other; each must apply. */
    struct number_edit number;
    uint32_t variant;    /* a wrong formula, VARIANT_ of shaders/params.h; 0: none */
    enum tamper tamper;  /* a wrong handling in the engine; 0: none */
    edit_function *edit; /* NULL: none */
    double value;        /* for `edit` */
    bool pads_buffers;   /* edits no step: the engine's buffers are larger than their shapes, the rest is garbage */

    /* How it shows. */
    bool decode_only;   /* in decode rows alone */
    bool nonfinite;     /* as NaN or infinity alone: finite values are as good as the right op's */
    bool exact_input;   /* it reads its input's bits as another type, so a recomputed input reproduces nothing */
    bool silent;        /* a false alarm of the past: nothing may be reported */
    bool in_chunks;     /* shows only where a prompt runs in several batches (lockstep invariants); else silent */
    bool breaks_engine; /* the engine fails (exit 6), and nothing is judged */

    /* How it is named. NULL: by a mutant of the op; else by this relation (diagnose/relations/relations.h). */
    const char *relation;
    double larger_than;   /* the relation's only wrong dim is more than so many times too large */
    bool mutant_in_spans; /* a mutant names it too, where the op's own output is not recorded */
    const char *alone;    /* an exchange of two kinds of layers is one only where layers of both kinds have it; what it
                             is called where one kind alone has it. NULL: its name */

    /* Where it must be found: a model under golden/, and the step that fails first when it is planted there. The tests
     * plant it there, and again in a layer in the middle. */
    enum stage shows_at; /* the stage at which it shows, where another one is edited; 0: the edited one */
    struct {
        const char *model;
        int32_t layer;
        enum stage stage; /* STAGE_COUNT: nowhere (silent, breaks_engine) */
    } found;
};

const struct fault *fault_list(uint32_t *n_faults);
const struct fault *fault_by_name(const char *name); /* NULL: unknown */

/* Writes which fault may be meant by an unknown name, or nothing. Returns text. */
const char *fault_suggest(const char *word, char text[SUGGEST_SIZE]);

/* Whether the reference can compute what an engine with this bug computes, and so name it. */
bool fault_is_mutant(const struct fault *fault);

/* Whether the fault changes this step. An edit of a number that already has the value does not. */
bool fault_applies(const struct fault *fault, const struct plan *plan, uint32_t step);

/* The step with the bug in it; edited weights lie in the arena. Only if fault_applies. */
struct step fault_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, struct arena *arena);

/* What --fault asks for: "NAME", "NAME@LAYER" or "NAME@LAYER.STAGE". */
struct fault_request {
    const struct fault *fault;
    int32_t layer;    /* LAYER_NONE: where it first applies */
    enum stage stage; /* STAGE_COUNT: any */
};
/* STATUS_USAGE where text names no fault, layer or stage. */
enum status fault_parse(struct fault_request *request, const char *text, struct error *err);

/* Plants the fault in a copy of a plan. *first: index of the first step struck; -1 for a fault that edits no step.
 * STATUS_BAD_INPUT where it does not apply to this model. */
enum status fault_plant(const struct fault_request *request, struct plan *plan, int32_t *first, struct error *err);

#endif
