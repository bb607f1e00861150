/* Bytes through a pipe between two processes of our own. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_PIPE_BYTES_H
#define LOCKSTEP_WORKBENCH_TRACE_PIPE_BYTES_H

#include <stdbool.h>
#include <stdint.h>

/* Sends, or waits for, so many bytes. false: the other process is gone, or the pipe fails. */
bool pipe_send(int fd, const void *bytes, uint64_t size);
bool pipe_receive(int fd, void *bytes, uint64_t size);

#endif
