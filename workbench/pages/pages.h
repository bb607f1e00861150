/* Pages: a report for people elsewhere, as HTML for a browser, Markdown for an issue or a chat, and JUnit XML for a CI.
 * Each is made from the report's JSON alone, by the templates in golden/templates/ (golden/lockstep_pages.py). */
#ifndef LOCKSTEP_WORKBENCH_PAGES_PAGES_H
#define LOCKSTEP_WORKBENCH_PAGES_PAGES_H

#include <jansson.h>

#include "model/error.h"
#include "workbench/report/report.h"

/* Where each goes; "-": standard output. NULL: not wanted. */
struct page_files {
    const char *html, *md, *junit;
};

/* Whether any page is wanted: a file, or the summary of a GitHub job (GITHUB_STEP_SUMMARY). */
bool pages_wanted(const struct page_files *files);

/* What a page shows that the report's JSON lacks, its member "details": every token with its text; the rows of the
 * first divergence's step, the values around its dim, and how many values miss their bound by how much; and the
 * likeliest next tokens of each source. The caller releases it. (details.c) */
json_t *page_details(const struct report *report);

/* Writes the pages of a document: a "lockstep-report", "lockstep-compare", "lockstep-batch", "lockstep-invariants" or
 * "lockstep-bench". STATUS_ABSENT: .venv lacks a package; STATUS_IO: a file cannot be written. Appends the Markdown to
 * the summary of a GitHub job, if there is one; where that fails it says so, and nothing else. */
enum status pages_write(const json_t *document, const struct page_files *files, struct error *err);

#endif
