#include "workbench/pages/pages.h"

#include <stdio.h>
#include <stdlib.h>

#include "workbench/python/python.h"
#include "workbench/trace/safe_replace.h"

/* The file that GitHub shows as a job's summary; NULL: this is no such job. */
static const char *job_summary(void)
{
    const char *path = getenv("GITHUB_STEP_SUMMARY");
    return path != NULL && path[0] != '\0' ? path : NULL;
}

bool pages_wanted(const struct page_files *files)
{
    return files->html != NULL || files->md != NULL || files->junit != NULL || job_summary() != NULL;
}

static enum status write_page(const char *json, const char *format, const char *path, struct error *err)
{
    char *text;
    if (path == NULL) {
        return STATUS_OK;
    }
    TRY(python_page(json, format, &text, err));
    enum status status = text_file_write(text, path, err);
    free(text);
    return status;
}

static void append_summary(const char *json)
{
    struct error err;
    char *text = NULL;
    if (job_summary() == NULL) {
        return;
    }
    if (python_page(json, "md", &text, &err) != STATUS_OK || text_file_append(text, job_summary(), &err) != STATUS_OK) {
        fprintf(stderr, "lockstep: no job summary: %s\n", err.text);
    }
    free(text);
}

enum status pages_write(const json_t *document, const struct page_files *files, struct error *err)
{
    const char *const formats[] = {"html", "md", "junit"};
    const char *const paths[] = {files->html, files->md, files->junit};
    char *json = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9));
    ASSERT(json != NULL);
    enum status status = STATUS_OK;
    for (int i = 0; i < 3; i++) { /* one that fails keeps no other from being written */
        struct error other;
        enum status written = write_page(json, formats[i], paths[i], status == STATUS_OK ? err : &other);
        status = status == STATUS_OK ? written : status;
    }
    append_summary(json);
    free(json);
    return status;
}
