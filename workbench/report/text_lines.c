#include "workbench/report/text_lines.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/report/wrapped_text.h"
#include "workbench/text/terminal.h"

static void print_entry(const struct labelled *entry, FILE *out)
{
    if (entry->verbatim) {
        fprintf(out, "%s\n", entry->text);
    } else if (entry->label == NULL) {
        text_print_wrapped(entry->text, (struct text_layout){0, 2, terminal_text_width()}, out);
    } else {
        fprintf(out, "  %-*s", LINES_INDENT - 2, entry->label);
        text_print_wrapped(entry->text, (struct text_layout){LINES_INDENT, LINES_INDENT, terminal_text_width()}, out);
    }
}

static uint32_t count_lines(const struct labelled *entry)
{
    char *printed = NULL;
    size_t size = 0;
    uint32_t n = 0;
    FILE *out = open_memstream(&printed, &size);
    ASSERT(out != NULL);
    print_entry(entry, out);
    fclose(out);
    for (size_t i = 0; i < size; i++) {
        n += printed[i] == '\n';
    }
    free(printed);
    return n;
}

uint32_t lines_needed(const char *label, const char *text)
{
    return count_lines(&(struct labelled){.label = label, .text = (char *)text});
}

static void add(struct text_lines *lines, struct labelled entry)
{
    ASSERT(lines->n < LINES_MOST);
    lines->entries[lines->n++] = entry;
    lines->n_lines += count_lines(&entry);
}

void lines_add(struct text_lines *lines, const char *label, const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    add(lines, (struct labelled){label, text, false});
}

/* The end of a command's next word: at a blank that is not escaped. */
static const char *word_end(const char *at)
{
    while (*at != '\0' && *at != ' ') {
        at += *at == '\\' && at[1] != '\0' ? 2 : 1;
    }
    return at;
}

/* The end of what stays on one line: an option with its value, if a line has room for both, else a word. */
static const char *unit_end(const char *at)
{
    const char *end = word_end(at);
    if (*at == '-' && *end == ' ' && end[1] != '-') {
        const char *both = word_end(end + 1);
        return both - at + LINES_INDENT + 2 <= terminal_text_width() ? both : end;
    }
    return end;
}

/* Writes a word that fits no line: a shell joins lines again where only a backslash stands between them. */
static unsigned write_broken(const char *word, const char *end, unsigned column, FILE *out)
{
    while (word < end) {
        const char *next = word + 1 + (*word == '\\' && word + 1 < end);
        while (next < end && ((unsigned char)*next & 0xc0) == 0x80) {
            next++;
        }
        if (column + 3 > terminal_text_width()) {
            fprintf(out, "\\\n");
            column = 0;
        }
        fprintf(out, "%.*s", (int)(next - word), word);
        column += next - word > 1 && *word == '\\' ? 2 : 1;
        word = next;
    }
    return column;
}

void lines_add_command(struct text_lines *lines, const char *label, const char *command)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ASSERT(out != NULL);
    unsigned column = LINES_INDENT;
    fprintf(out, "  %-*s", LINES_INDENT - 2, label);
    for (const char *at = command; *at != '\0';) {
        const char *end = unit_end(at);
        unsigned columns = 0;
        for (const char *c = at; c < end; c++) {
            columns += ((unsigned char)*c & 0xc0) != 0x80;
        }
        if (at != command && column + columns + 3 > terminal_text_width()) { /* a blank before it, and " \" behind it */
            fprintf(out, " \\\n%*s", LINES_INDENT, "");
            column = LINES_INDENT;
        } else if (at != command) {
            fputc(' ', out);
            column++;
        }
        column = write_broken(at, end, column, out);
        at = end + strspn(end, " ");
    }
    fclose(out);
    add(lines, (struct labelled){label, text, true});
}

void lines_append(struct text_lines *lines, struct text_lines *more)
{
    for (uint32_t i = 0; i < more->n; i++) {
        add(lines, more->entries[i]);
    }
    *more = (struct text_lines){0};
}

void lines_print(const struct text_lines *lines, FILE *out)
{
    for (uint32_t i = 0; i < lines->n; i++) {
        print_entry(&lines->entries[i], out);
    }
}

void lines_free(struct text_lines *lines)
{
    for (uint32_t i = 0; i < lines->n; i++) {
        free(lines->entries[i].text);
    }
    *lines = (struct text_lines){0};
}
