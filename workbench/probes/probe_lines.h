/* The lines made for grep: PROBE, ANOMALY, TRACE:…, LAYER_OUT, FINAL_HIDDEN, Config. */
#ifndef LOCKSTEP_WORKBENCH_PROBES_PROBE_LINES_H
#define LOCKSTEP_WORKBENCH_PROBES_PROBE_LINES_H

#include "model/backend.h"
#include "model/model.h"
#include "workbench/probes/probe_config.h"

#define PROBE_MAX_SIDES 3

/* One step's rows of one batch, from up to three sides. Side 0 is the one that is debugged. */
struct probe_rows {
    const struct plan *plan;
    uint32_t step, first, n_rows, n_sides; /* first: position of row 0 */
    const char *names[PROBE_MAX_SIDES];
    const float *rows[PROBE_MAX_SIDES]; /* [n_rows, width], or NULL */
    const float *before[2];             /* for layer_out: side 0's one layer and two layers before; or NULL */
    uint8_t *anomalous;                 /* [n_steps]: an ANOMALY was printed for this step or for one that feeds it */
};

/* Prints all lines that the configuration asks for at this step. */
void probe_lines_print(const struct probe_config *config, const struct probe_rows *rows);

/* Prints the Config line and the TRACE:loader lines. */
void probe_lines_print_config(const struct probe_config *config, const struct plan *plan, const char *device);

/* probe_verbose.c: prints, at log level verbose or with TRACE:loader, the model's files and layers. load_ms: of the
 * whole model. */
void probe_lines_print_loader(const struct probe_config *config, const struct model *model, double load_ms);

/* Prints the time of each layer. ns: [n_steps] nanoseconds of each step. */
void probe_lines_print_layer_times(const struct plan *plan, const double *ns, const struct batch *batch);

/* Of the last row of a batch: what its layer_out holds; its likeliest tokens, and those that probes name. */
void print_last_token(const struct step *step, uint32_t token, const float *row);
void print_choices(const struct probe_config *config, const struct plan *plan, uint32_t token, const float *logits);

/* probe_anomaly.c: marks the step anomalous if one of its inputs is. To be called for every step, in plan order. */
void anomaly_inherit(const struct probe_rows *rows);

/* Prints an ANOMALY line if the step's rows are anomalous and none of its inputs was, so that one bug makes one line.
 */
void anomaly_print(const struct probe_rows *rows);

#endif
