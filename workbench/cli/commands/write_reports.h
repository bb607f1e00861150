/* The reports of a command: text, JSON and pages, each where it is asked for. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_WRITE_REPORTS_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_WRITE_REPORTS_H

#include <jansson.h>

#include "workbench/cli/command.h"
#include "workbench/pages/pages.h"
#include "workbench/session/comparison.h"

/* The files of --html, --md and --junit. */
struct page_files page_files_of(const struct arguments *arguments);

/* Whether text is printed: unless the JSON goes to standard output, and nothing else. */
bool prints_text(const struct arguments *arguments);

/* Prints the report of a judged comparison, and writes it as --json, --html, --md and --junit say. Returns the
 * verdict's status, or why a report could not be written. */
enum status write_reports(const struct comparison *comparison, const struct arguments *arguments, struct error *err);

/* Whether a document is asked for, as JSON or as a page. */
bool wants_document(const struct arguments *arguments);

/* Writes a document as --json, --html, --md and --junit say, and releases it. */
enum status write_document(json_t *document, const struct arguments *arguments, struct error *err);

#endif
