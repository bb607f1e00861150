#include "workbench/text/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "workbench/text/characters.h"
#include "workbench/text/terminal.h"

#define ARROW "<--" /* in place of a mark for which there is no room */

void table_add_column(struct table *table, const char *heading, unsigned before, int width)
{
    ASSERT(table->n_columns < TABLE_MOST_COLUMNS && table->n_rows == 0);
    table->columns[table->n_columns++] = (struct table_column){xstrdup(heading), before, width};
}

void table_add_cell(struct table *table, const char *format, ...)
{
    va_list arguments;
    ASSERT(table->n_cells < table->n_columns);
    if (table->n_cells == 0) {
        table->rows = xrealloc(table->rows, (table->n_rows + 1) * sizeof(*table->rows));
        table->rows[table->n_rows] = (struct table_row){0};
    }
    char *text;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    table->rows[table->n_rows].cells[table->n_cells++] = text;
}

void table_end_row(struct table *table, const char *mark)
{
    ASSERT(table->n_cells > 0);
    table->rows[table->n_rows++].mark = xstrdup(mark);
    table->n_cells = 0;
}

void table_add_line(struct table *table, const char *format, ...)
{
    va_list arguments;
    ASSERT(table->n_cells == 0);
    table->rows = xrealloc(table->rows, (table->n_rows + 1) * sizeof(*table->rows));
    struct table_row *row = &table->rows[table->n_rows++];
    *row = (struct table_row){0};
    va_start(arguments, format);
    int length = vasprintf(&row->line, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
}

static size_t columns_of(const char *text)
{
    return text != NULL ? characters_columns(text, strlen(text)) : 0;
}

/* How the columns are laid out. */
struct layout {
    bool headings, split; /* split: headings stand on two lines, broken behind their hyphens */
    unsigned limit;       /* columns of a line; 0: any number */
    size_t before[TABLE_MOST_COLUMNS], width[TABLE_MOST_COLUMNS];
};

/* Rows of headings: the only one, or both of them. */
enum { HEADING = -1, UPPER_HEADING = -3, LOWER_HEADING = -2 };

/* A cell's text, not terminated; *length: its bytes. */
static const char *text_at(const struct table *table, int64_t row, uint32_t column, size_t *length)
{
    const char *text = row < 0 ? table->columns[column].heading : table->rows[row].cells[column];
    const char *hyphen = text != NULL && row < HEADING ? strrchr(text, '-') : NULL;
    text = text == NULL || (row == UPPER_HEADING && hyphen == NULL) ? "" : text;
    *length = hyphen != NULL && row == UPPER_HEADING ? (size_t)(hyphen + 1 - text) : strlen(text);
    if (hyphen != NULL && row == LOWER_HEADING) {
        *length -= (size_t)(hyphen + 1 - text);
        text = hyphen + 1;
    }
    return text;
}

static size_t columns_at(const struct table *table, int64_t row, uint32_t column)
{
    size_t length;
    const char *text = text_at(table, row, column, &length);
    return characters_columns(text, length);
}

/* Appends a row's cells of the columns [first, last) and, if first > 0, its first cell before them. row < 0: headings.
 */
static void write_row(const struct table *table, const struct layout *layout, int64_t row, uint32_t first,
                      uint32_t last, FILE *out)
{
    char *line = NULL;
    size_t size = 0, length;
    FILE *memory = open_memstream(&line, &size);
    ASSERT(memory != NULL);
    for (uint32_t c = 0; c < last; c = c == 0 && first > 0 ? first : c + 1) {
        size_t n;
        const char *text = text_at(table, row, c, &n);
        size_t own = characters_columns(text, n), pad = layout->width[c] > own ? layout->width[c] - own : 0;
        bool left = table->columns[c].width <= 0;
        fprintf(memory, "%*s%*s%.*s%*s", (int)layout->before[c], "", left ? 0 : (int)pad, "", (int)n, text,
                left ? (int)pad : 0, "");
    }
    fclose(memory);
    const char *mark = row >= 0 ? table->rows[row].mark : NULL;
    length = strlen(line);
    while ((mark == NULL || layout->limit > 0) && length > 0 && line[length - 1] == ' ') {
        length--;
    }
    if (row == UPPER_HEADING && length == 0) { /* no heading has two parts */
        free(line);
        return;
    }
    fprintf(out, "%.*s", (int)length, line);
    if (mark != NULL) {
        bool fits = layout->limit == 0 || characters_columns(line, length) + 2 + columns_of(mark) <= layout->limit;
        fprintf(out, "  %s", fits ? mark : ARROW);
    }
    fputc('\n', out);
    free(line);
}

static void write_rows(const struct table *table, const struct layout *layout, uint32_t first, uint32_t last, FILE *out)
{
    for (int64_t row = layout->split ? UPPER_HEADING : HEADING; layout->headings && row <= HEADING; row++) {
        if (row == HEADING || layout->split) {
            write_row(table, layout, row, first, last, out);
        }
        row += row == LOWER_HEADING; /* it is the last one */
    }
    for (int64_t row = 0; row < table->n_rows; row++) {
        if (table->rows[row].line == NULL) {
            write_row(table, layout, row, first, last, out);
        } else if (last == table->n_columns) {
            fprintf(out, "%s\n", table->rows[row].line);
        }
    }
}

/* The widest line as the columns' own widths make it, with marks. */
static size_t full_width(const struct table *table, const struct layout *layout)
{
    char *text = NULL;
    size_t size = 0, most = 0;
    FILE *memory = open_memstream(&text, &size);
    ASSERT(memory != NULL);
    write_rows(table, layout, 0, table->n_columns, memory);
    fclose(memory);
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n"), columns = characters_columns(line, length);
        most = columns > most ? columns : most;
        line += length + (line[length] == '\n');
    }
    free(text);
    return most;
}

/* Makes each column as narrow as its cells allow, with some blanks between. */
static void make_narrow(const struct table *table, struct layout *layout, size_t between)
{
    layout->split = true;
    for (uint32_t c = 0; c < table->n_columns; c++) {
        size_t most = 0;
        for (int64_t row = layout->headings ? UPPER_HEADING : 0; row < table->n_rows; row++) {
            size_t columns = row == HEADING ? 0 : columns_at(table, row, c);
            most = columns > most ? columns : most;
        }
        layout->width[c] = most;
        layout->before[c] = c == 0 ? table->columns[0].before : between;
    }
}

/* One past the last column of a block that begins with column `first`. */
static uint32_t block_end(const struct table *table, const struct layout *layout, uint32_t first, size_t for_marks)
{
    size_t used = for_marks + (first > 0 ? layout->before[0] + layout->width[0] : 0);
    uint32_t c = first;
    while (c < table->n_columns && (c == first || used + layout->before[c] + layout->width[c] <= layout->limit)) {
        used += layout->before[c] + layout->width[c];
        c++;
    }
    return c == 1 && table->n_columns > 1 ? 2 : c;
}

static void write_blocks(const struct table *table, struct layout *layout, FILE *out)
{
    size_t for_marks = 0;
    for (uint32_t row = 0; row < table->n_rows; row++) {
        for_marks = table->rows[row].mark != NULL ? 2 + strlen(ARROW) : for_marks;
    }
    for (size_t between = 2; between > 0; between--) {
        make_narrow(table, layout, between);
        if (block_end(table, layout, 0, for_marks) == table->n_columns) {
            write_rows(table, layout, 0, table->n_columns, out);
            return;
        }
    }
    make_narrow(table, layout, 2);
    for (uint32_t first = 0; first < table->n_columns;) {
        uint32_t last = block_end(table, layout, first, for_marks);
        if (first > 0) {
            fputc('\n', out);
        }
        write_rows(table, layout, first, last, out);
        first = last;
    }
}

void table_print(const struct table *table, bool headings, FILE *out)
{
    struct layout layout = {.headings = headings};
    for (uint32_t c = 0; c < table->n_columns; c++) {
        layout.before[c] = table->columns[c].before;
        layout.width[c] = (size_t)abs(table->columns[c].width);
    }
    unsigned limit = terminal_width();
    if (limit == 0 || full_width(table, &layout) <= limit) {
        write_rows(table, &layout, 0, table->n_columns, out);
    } else {
        layout.limit = limit;
        write_blocks(table, &layout, out);
    }
}

void table_free(struct table *table)
{
    for (uint32_t row = 0; row < table->n_rows + (table->n_cells > 0); row++) {
        for (uint32_t c = 0; c < table->n_columns; c++) {
            free(table->rows[row].cells[c]);
        }
        free(table->rows[row].mark);
        free(table->rows[row].line);
    }
    for (uint32_t c = 0; c < table->n_columns; c++) {
        free(table->columns[c].heading);
    }
    free(table->rows);
    *table = (struct table){0};
}
