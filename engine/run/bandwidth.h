/* How fast a device reads memory. The time of a decoded token is compared with it. */
#ifndef LOCKSTEP_ENGINE_RUN_BANDWIDTH_H
#define LOCKSTEP_ENGINE_RUN_BANDWIDTH_H

#include "engine/program/program.h"

/* Reads a large buffer several times. *bytes_per_second: the best run. A CPU driver is measured by a loop on the host,
 * because its lanes would load words one by one. */
enum status bandwidth_measure(struct device *device, struct programs *programs, double *bytes_per_second,
                              struct error *err);

#endif
