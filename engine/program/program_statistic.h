/* One number that a driver reports about a program. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PROGRAM_STATISTIC_H
#define LOCKSTEP_ENGINE_PROGRAM_PROGRAM_STATISTIC_H

#define ENGINE_STATISTICS 24 /* the most that are kept for a program */

struct engine_statistic {
    char name[64]; /* the driver's own: registers, spills, bytes of code … */
    double value;
};

#endif
