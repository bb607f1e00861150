/* What `lockstep faults NAME` tells of a fault or of a kind of bug. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_FAULT_STORY_H
#define LOCKSTEP_WORKBENCH_FAULT_FAULT_STORY_H

#include "workbench/fault/fault.h"

/* A formula, or what is done where there is none: as it should be, and with the bug. */
struct fault_formula {
    const char *name; /* of a fault */
    const char *right, *wrong;
};
const struct fault_formula *fault_formula_of(const struct fault *fault); /* never NULL; a test holds that */

/* A kind of bug. */
struct kind_story {
    enum fault_kind kind;
    const char *story;         /* what the bugs of this kind have in common */
    const char *right, *wrong; /* formula, as for a fault */
    const char *shows;         /* how it shows, and how it is told from others */
};
const struct kind_story *kind_story_of(enum fault_kind kind);

enum fault_kind fault_kind_by_name(const char *name); /* KIND_NONE: unknown */

#endif
