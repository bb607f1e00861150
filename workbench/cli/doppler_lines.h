/* Command lines of doppler, a WebGPU engine whose notes and scripts people bring along: what stands in their place here
 * is told in one line, as a command to paste. docs/doppler.md lists them. */
#ifndef LOCKSTEP_WORKBENCH_CLI_DOPPLER_LINES_H
#define LOCKSTEP_WORKBENCH_CLI_DOPPLER_LINES_H

#include <stdbool.h>

#include "model/error.h"

/* Whether a command line is one of doppler's and none of lockstep's; then *err (STATUS_USAGE) says what to type. */
bool doppler_line(int argc, char **argv, struct error *err);

#endif
