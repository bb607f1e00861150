#include "workbench/cli/commands/write_reports.h"

#include <string.h>

#include "model/stop.h"
#include "workbench/trace/json_file.h"

struct page_files page_files_of(const struct arguments *arguments)
{
    return (struct page_files){arguments->html, arguments->md, arguments->junit};
}

bool prints_text(const struct arguments *arguments)
{
    return arguments->json == NULL || strcmp(arguments->json, "-") != 0;
}

bool wants_document(const struct arguments *arguments)
{
    const struct page_files files = page_files_of(arguments);
    return arguments->json != NULL || pages_wanted(&files);
}

enum status write_document(json_t *document, const struct arguments *arguments, struct error *err)
{
    const struct page_files files = page_files_of(arguments);
    enum status status = STATUS_OK;
    struct error pages_err;
    bool wanted = pages_wanted(&files);
    enum status paged = wanted ? pages_write(document, &files, &pages_err) : STATUS_OK;
    if (arguments->json != NULL) {
        status = json_write_file(document, arguments->json, err);
    } else {
        json_decref(document);
    }
    if (status == STATUS_OK && paged != STATUS_OK && err != NULL) {
        *err = pages_err;
    }
    return status != STATUS_OK ? status : paged;
}

enum status write_reports(const struct comparison *comparison, const struct arguments *arguments, struct error *err)
{
    const struct report report = comparison_view(comparison);
    const struct page_files files = page_files_of(arguments);
    TRY(stop_check(err));
    if (prints_text(arguments)) {
        report_print(&report, stdout);
    }
    if (wants_document(arguments)) {
        json_t *document = report_json(&report);
        if (files.html != NULL) {
            json_put(document, "details", page_details(&report));
        }
        TRY(write_document(document, arguments, err));
    }
    return conclusion_status(comparison->verdict.conclusion);
}
