/* Declares the table of every family. */
#ifndef LOCKSTEP_MODEL_FAMILIES_FAMILIES_H
#define LOCKSTEP_MODEL_FAMILIES_FAMILIES_H

#include "model/family.h"

#define X(name) extern const struct family family_##name;
FAMILIES(X)
#undef X

#endif
