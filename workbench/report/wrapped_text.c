#include "workbench/report/wrapped_text.h"

#include <stdbool.h>
#include <string.h>

/* Whether a byte begins a character of UTF-8. */
static bool begins_character(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

static size_t columns_of(const char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        n += begins_character(text[i]);
    }
    return n;
}

size_t text_columns(const char *text)
{
    return columns_of(text, strlen(text));
}

/* The bytes of the first n characters of a word. */
static size_t bytes_of(const char *word, size_t length, size_t n)
{
    size_t i = 0;
    while (i < length && (!begins_character(word[i]) || n-- > 0)) {
        i++;
    }
    return i;
}

static void break_line(struct text_layout *layout, FILE *out)
{
    fprintf(out, "\n%*s", (int)layout->indent, "");
    layout->column = layout->indent;
}

/* Prints a word that fits no line, broken where the line ends. */
static void print_broken(const char *word, size_t length, struct text_layout *layout, FILE *out)
{
    while (length > 0) {
        if (layout->column >= layout->width) {
            break_line(layout, out);
        }
        size_t part = bytes_of(word, length, layout->width - layout->column);
        fprintf(out, "%.*s", (int)part, word);
        layout->column += (unsigned)columns_of(word, part);
        word += part;
        length -= part;
    }
}

void text_print_wrapped(const char *text, struct text_layout layout, FILE *out)
{
    bool first = true;
    while (*(text += strspn(text, " ")) != '\0') {
        size_t length = strcspn(text, " "), columns = columns_of(text, length);
        if (!first && layout.column + 1 + columns <= layout.width) {
            fputc(' ', out);
            layout.column++;
        } else if (!first || (layout.column > layout.indent && layout.column + columns > layout.width)) {
            break_line(&layout, out);
        }
        print_broken(text, length, &layout, out);
        text += length;
        first = false;
    }
    fputc('\n', out);
}

void quote_text(const char *text, char *quoted, size_t size)
{
    size_t n = 0;
    quoted[n++] = '"';
    for (const char *c = text; *c != '\0' && n + 6 < size; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '\n' || byte == '\t' || byte == '\r') {
            n += (size_t)snprintf(quoted + n, size - n, "\\%c", byte == '\n' ? 'n' : byte == '\t' ? 't' : 'r');
        } else if (byte < 0x20 || byte == 0x7f) {
            n += (size_t)snprintf(quoted + n, size - n, "\\x%02x", byte);
        } else {
            if (byte == '"' || byte == '\\') {
                quoted[n++] = '\\';
            }
            quoted[n++] = *c;
        }
    }
    quoted[n++] = '"';
    quoted[n] = '\0';
}
