/* Tables that fit the terminal. Columns have the widths that they were given where there is room. Else each is as
 * narrow as its cells allow; and if that is too wide, the columns are printed in blocks below one another, the first
 * column in each. Lines end without blanks. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_TABLE_H
#define LOCKSTEP_WORKBENCH_TEXT_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_MOST_COLUMNS 16

struct table {
    uint32_t n_columns, n_rows;
    struct table_column {
        char *heading;
        unsigned before; /* blanks */
        int width;       /* at least; negative: the text stands on the left, as in printf */
    } columns[TABLE_MOST_COLUMNS];
    struct table_row {
        char *cells[TABLE_MOST_COLUMNS]; /* NULL: empty */
        char *mark;                      /* behind the last cell; NULL: none */
        char *line;                      /* in place of cells; NULL: none */
    } * rows;
    uint32_t n_cells; /* of the row that is being filled */
};

/* Adds a column to a table that is zero-initialised. */
void table_add_column(struct table *table, const char *heading, unsigned before, int width);

/* Adds the next cell of the current row. */
void table_add_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the row. mark: stands behind its last cell; in each block, as far as there is room. NULL: none. */
void table_end_row(struct table *table, const char *mark);

/* Adds a line that is no row of cells. */
void table_add_line(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* headings: also print them. */
void table_print(const struct table *table, bool headings, FILE *out);
void table_free(struct table *table);

#endif
