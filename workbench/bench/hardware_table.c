/* A table of devices in a Markdown file: what each reached, and whether it was right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workbench/bench/model_bench.h"
#include "workbench/trace/safe_replace.h"
#include "workbench/trace/version.h"

static const char head[] = "| device | driver | date | model | parity | prefill tok/s | decode tok/s | lockstep |\n"
                           "|---|---|---|---|---|---|---|---|\n";

#define FILE_MOST (1 << 20) /* bytes of a document */

/* Reads a whole text file into text[FILE_MOST + 1]. A file that is not there is empty. */
static enum status read_text(const char *path, char *text, struct error *err)
{
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        return STATUS_OK;
    }
    size_t n = fread(text, 1, FILE_MOST, in);
    bool whole = !ferror(in) && n < FILE_MOST && strlen(text) == n;
    fclose(in);
    return whole ? STATUS_OK
                 : error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be read as a text of less than 1 MB");
}

/* The last part of a path. */
static const char *last_part(const char *path, size_t *length)
{
    *length = strlen(path);
    while (*length > 1 && path[*length - 1] == '/') {
        (*length)--;
    }
    size_t begin = *length;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    *length -= begin;
    return path + begin;
}

/* Writes the row, and the cells by which an earlier one is known: "| DEVICE |", "| MODEL |". */
struct row {
    char text[1024], device[136], model[136];
};

/* Writes a text as a cell, without what would end it. Returns cell. */
static const char *cell_text(const char *text, size_t length, char cell[128])
{
    snprintf(cell, 128, "%.*s", (int)(length < 127 ? length : 127), text);
    for (char *c = cell; *c != '\0'; c++) {
        *c = *c == '|' || (unsigned char)*c < ' ' ? '?' : *c;
    }
    return cell;
}

static void make_row(const struct model_bench *bench, struct row *row)
{
    char date[16], device[128], driver[128], model[128];
    size_t length;
    time_t now = time(NULL);
    struct tm utc;
    const struct device_info *info = engine_device(&bench->session.backend[SOURCE_ENGINE]);
    const char *name = last_part(bench->session.model.path, &length);
    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%Y-%m-%d", &utc);
    cell_text(info->name, strlen(info->name), device);
    cell_text(info->driver, strlen(info->driver), driver);
    cell_text(name, length, model);
    snprintf(row->device, sizeof(row->device), "| %s |", device);
    snprintf(row->model, sizeof(row->model), "| %s |", model);
    snprintf(row->text, sizeof(row->text), "| %s | %s | %s | %s | %s | %.1f | %.1f | %s, %.20s |\n", device, driver,
             date, model, bench->reason[0] ? "no" : "yes", bench->n_prompt / bench->prefill_ms * 1e3,
             1e3 / bench->median_ms, version_number(), version_commit());
}

/* The end of the table's last row, from the table's beginning on. */
static const char *table_end(const char *table)
{
    const char *at = table;
    while (*at == '|') {
        const char *end = strchr(at, '\n');
        at = end != NULL ? end + 1 : at + strlen(at);
    }
    return at;
}

/* The row of the same device and model; NULL: there is none. */
static const char *earlier_row(const char *table, const char *end, const struct row *row)
{
    const char *at = table;
    while (at < end) {
        const char *next = strchr(at, '\n');
        next = next != NULL && next < end ? next + 1 : end;
        const char *model = strstr(at, row->model);
        if (strncmp(at, row->device, strlen(row->device)) == 0 && model != NULL && model < next) {
            return at;
        }
        at = next;
    }
    return NULL;
}

static enum status write_parts(const char *path, const char *before, size_t n_before, const struct row *row,
                               const char *after, struct error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ASSERT(out != NULL);
    fwrite(before, 1, n_before, out);
    fputs(row->text, out);
    fputs(after, out);
    fclose(out);
    enum status status = text_file_write(text, path, err);
    free(text);
    return status;
}

/* Puts a row into the table of a text, or behind the text a table with this row; text has room for a table's head. */
static enum status put_row(char *text, const struct row *row, const char *path, struct error *err)
{
    const char *table = strstr(text, head);
    size_t length = strlen(text);
    if (table == NULL && length > 0 && (length < 2 || strcmp(text + length - 2, "\n\n") != 0)) {
        strcat(text, text[length - 1] == '\n' ? "\n" : "\n\n"); /* a table begins behind an empty line */
    }
    if (table == NULL) {
        table = strcat(text, head) + strlen(text) - strlen(head);
    }
    const char *end = table_end(table), *before = earlier_row(table, end, row);
    const char *after = end;
    if (before != NULL) {
        after = strchr(before, '\n');
        after = after != NULL ? after + 1 : end;
    } else {
        before = end;
    }
    return write_parts(path, text, (size_t)(before - text), row, after, err);
}

enum status model_bench_record(const struct model_bench *bench, const char *path, struct error *err)
{
    struct row row;
    char *text = xcalloc(FILE_MOST + sizeof(head) + 2, 1);
    enum status status = read_text(path, text, err);
    if (status == STATUS_OK) {
        make_row(bench, &row);
        status = put_row(text, &row, path, err);
    }
    free(text);
    return status;
}
