#include "workbench/report/wrapped_text.h"

#include <string.h>

void text_print_wrapped(const char *text, struct text_layout layout, FILE *out)
{
    size_t column = layout.column;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column + word > layout.width && column > layout.indent) {
            fprintf(out, "\n%*s", (int)layout.indent, "");
            column = layout.indent;
        }
        fprintf(out, "%.*s", (int)word, text);
        text += word;
        column += word;
        if (*text == ' ') {
            text++;
            column++;
            if (column + strcspn(text, " ") <= layout.width) {
                fputc(' ', out);
            }
        }
    }
    fputc('\n', out);
}
