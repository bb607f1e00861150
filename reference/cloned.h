/* Marks hot loops, which are compiled for several vector widths; the machine's is chosen when the program starts.
 * Operations and their order are the same (-ffp-contract=off), so the bits are too. */
#ifndef LOCKSTEP_REFERENCE_CLONED_H
#define LOCKSTEP_REFERENCE_CLONED_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif

#endif
