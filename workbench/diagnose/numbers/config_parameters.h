/* The table of the config's numbers: each is one float of an op's parameters. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_PARAMETERS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_PARAMETERS_H

#include <stddef.h>

#include "model/plan.h"

#define MOST_DIGITS 4 /* configs hold round numbers; one with more digits explains nothing */

struct parameter {
    enum op op;
    const char *name, *config; /* in reports; in config.json */
    size_t field;
    double low, high;    /* the range searched */
    bool inverse_square; /* the config holds n, the op gets n^-1/2 */
    bool in_spans;       /* searched for in spans alone: a solver finds it where the op is recorded */
};

#define FIELD(name) offsetof(union step_params, name)

const struct parameter *config_parameters(uint32_t *n);

/* Whether a step is attention or attention_probs, whose parameters begin alike. */
bool config_is_attention(const struct step *step);

/* Whether the number is one of the step's op. */
bool parameter_is_of(const struct parameter *parameter, const struct step *step);

/* Whether the step's kind of rope has the number. */
bool parameter_is_used(const struct parameter *parameter, const struct step *step);

float parameter_get(const struct step *step, size_t field);
void parameter_set(struct step *step, size_t field, double value);

/* A number with so many decimal digits. */
double round_digits(double value, int digits);

#endif
