/* Loops that time goes into, compiled for several vector widths; the one that the machine has is chosen when the
 * program starts. Same operations in the same order (-ffp-contract=off): same bits. */
#ifndef LOCKSTEP_REFERENCE_CLONED_H
#define LOCKSTEP_REFERENCE_CLONED_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif

#endif
