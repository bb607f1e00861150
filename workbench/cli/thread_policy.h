/* How OpenMP's threads wait for one another, and how many there are at most. */
#ifndef LOCKSTEP_WORKBENCH_CLI_THREAD_POLICY_H
#define LOCKSTEP_WORKBENCH_CLI_THREAD_POLICY_H

/* Call first in main: starts the program anew, in the same process, if its environment has to change. Otherwise, and if
 * that fails, returns. argv: main's. */
void thread_policy_choose(char **argv);

#endif
