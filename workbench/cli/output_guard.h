/* Outputs never touch inputs: what a command writes is none of the files that it reads, nor one of its other outputs.
 */
#ifndef LOCKSTEP_WORKBENCH_CLI_OUTPUT_GUARD_H
#define LOCKSTEP_WORKBENCH_CLI_OUTPUT_GUARD_H

#include "workbench/cli/command.h"

/* Refuses, before work begins, a command line with an output (-o, --json, --html, --md, --junit, --record) that is a
 * file which it reads, by device and inode; a file of the model in MODEL's folder; or another of its outputs.
 * STATUS_USAGE. */
enum status check_outputs(const struct arguments *arguments, struct error *err);

/* The same of one file that the command reads, which the command line does not name. */
enum status check_input(const struct arguments *arguments, const char *path, struct error *err);

#endif
