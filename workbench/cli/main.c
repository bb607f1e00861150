/* lockstep: the program. Finds the command, parses its arguments, prints an error as one line, and exits with the
 * status that CONTRACT promises. */
#include <stdio.h>

#include "commit.h" /* made by cmake/commit.cmake */
#include "workbench/cli/command.h"
#include "workbench/cli/thread_policy.h"
#include "workbench/python/python.h"
#include "workbench/report/provenance.h"
#include "workbench/session/interrupt.h"
#include "workbench/session/progress.h"
#include "workbench/text/output.h"
#include "workbench/trace/version.h"

int main(int argc, char **argv)
{
    thread_policy_choose(argv);
    struct error err = {STATUS_OK, ""};
    version_set_commit(LOCKSTEP_COMMIT);
    provenance_set_command(argc, argv);
    interrupt_install();
    output_open();
    enum status status = command_line_run(argc, argv, &err);
    python_close();
    output_release();
    progress_wipe();
    if (err.text[0] != '\0') {
        output_error(err.text);
    }
    /* A full disk behind standard output shows only here. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "lockstep: standard output: cannot be written\n");
        return status == STATUS_OK ? STATUS_IO : (int)status;
    }
    return (int)status;
}
