#include "workbench/text/output.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/error.h"
#include "workbench/text/characters.h"
#include "workbench/text/highlight.h"
#include "workbench/text/terminal.h"

#define BUFFER_BYTES (1u << 16) /* no line is longer, so that none is seen in parts */

static struct {
    FILE *before; /* what stdout was */
    bool partial; /* a line's first part was shown, as it had no end yet */
    bool held;
    char *kept; /* [n_kept] */
    size_t n_kept;
} state;

/* The column where a line's further lines begin: below its text, if it has one behind a name and a gap; else a little
 * to the right. */
static size_t hanging_indent(const char *line, size_t length, unsigned width)
{
    size_t indent = 0;
    while (indent < length && line[indent] == ' ') {
        indent++;
    }
    for (size_t i = indent; i + 2 < length && i < width / 2; i++) {
        if (line[i] == ' ' && line[i + 1] == ' ') {
            while (i < length && line[i] == ' ') {
                i++;
            }
            size_t column = characters_columns(line, i);
            return i < length && column <= width / 2 ? column : indent + 2;
        }
    }
    return indent >= 4 && indent <= width / 2 ? indent : 2 + (indent <= width / 2 ? indent : 0);
}

/* Writes one character, escaped if a terminal would obey it. Returns its columns. */
static size_t write_character(const char *text, size_t n, size_t *length, FILE *out)
{
    int columns = *text == '\t' ? 1 : character_columns(text, n, length);
    if (*text == '\t') {
        *length = 1;
    }
    if (columns >= 0) {
        fwrite(text, 1, *length, out);
        return (size_t)columns;
    }
    size_t written = 0;
    for (size_t i = 0; i < *length; i++) {
        written += (size_t)fprintf(out, "\\x%02x", (unsigned char)text[i]);
    }
    return written;
}

/* Columns of a word as it is written. */
static size_t word_columns(const char *word, size_t n)
{
    size_t columns = 0, length;
    for (size_t i = 0; i < n; i += length) {
        int own = character_columns(word + i, n - i, &length);
        columns += own >= 0 ? (size_t)own : 4 * length;
    }
    return columns;
}

/* Writes bytes [first, last) of a line, with its colour switched on and off where that part begins and ends. */
static size_t write_part(const char *line, size_t first, size_t last, const struct highlight *highlight, FILE *out)
{
    size_t columns = 0, length;
    for (size_t i = first; i < last; i += length) {
        if (highlight->style != NULL && i == highlight->first) {
            fputs(highlight->style, out);
        }
        columns += write_character(line + i, last - i, &length, out);
        if (highlight->style != NULL && i + length == highlight->last) {
            fputs(HIGHLIGHT_END, out);
        }
    }
    return columns;
}

/* The end of the part of a word that fits into some columns, behind a character that joins names; or the word's end,
 * for it stays whole where it has none. */
static size_t part_end(const char *line, size_t first, size_t end, size_t columns)
{
    size_t last = end;
    for (size_t i = first; i + 1 < end && word_columns(line + first, i + 1 - first) <= columns; i++) {
        last = strchr("|/,", line[i]) != NULL ? i + 1 : last;
    }
    return last;
}

/* Writes a line without its newline, broken between words, and within words that fit no line behind | / and commas. */
static void write_line(const char *line, size_t length, unsigned width, bool colour, FILE *out)
{
    const struct highlight none = {0}, highlight = colour ? highlight_find(line, length) : none;
    if (width == 0 || word_columns(line, length) <= width) {
        (void)write_part(line, 0, length, &highlight, out);
        return;
    }
    size_t indent = hanging_indent(line, length, width), column = 0, at = 0;
    bool begun = false; /* a word stands on the line */
    while (at < length) {
        size_t blanks = at, end;
        while (blanks < length && line[blanks] == ' ') {
            blanks++;
        }
        end = blanks;
        while (end < length && line[end] != ' ') {
            end++;
        }
        size_t needed = blanks - at + word_columns(line + blanks, end - blanks);
        if (end > blanks && begun && column + needed > width) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            at = blanks;
        }
        if (needed > width - indent && column + needed > width) {
            end = part_end(line, blanks, end, width - column - (blanks - at));
        }
        if (end > blanks) { /* blanks at a line's end are left out */
            column += write_part(line, at, end, &highlight, out);
            begun = true;
        }
        at = end;
    }
}

void output_write_lines(const char *text, size_t length, unsigned width, int colour, FILE *out)
{
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t n = end != NULL ? (size_t)(end - text) : length;
        write_line(text, n, width, colour != 0, out);
        if (end != NULL) {
            fputc('\n', out);
            n++;
        }
        text += n;
        length -= n;
    }
}

static bool write_all(int file, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(file, bytes, n);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Text as it is shown. malloc'ed; *length in and out. */
static char *laid_out(const char *text, size_t *length)
{
    char *shown = NULL;
    size_t n_shown = 0;
    FILE *out = open_memstream(&shown, &n_shown);
    ASSERT(out != NULL);
    const char *newline = memchr(text, '\n', *length);
    size_t rest = !state.partial ? 0 : newline != NULL ? (size_t)(newline - text) : *length; /* of a line that began */
    output_write_lines(text, rest, 0, false, out);
    output_write_lines(text + rest, *length - rest, terminal_width(), terminal_has_colour(), out);
    fclose(out);
    state.partial = text[*length - 1] != '\n';
    *length = n_shown;
    return shown;
}

/* What fopencookie calls with all that is printed. */
static ssize_t write_text(void *cookie, const char *text, size_t n)
{
    (void)cookie;
    size_t length = n;
    if (n == 0) {
        return 0;
    }
    char *shown = laid_out(text, &length);
    bool ok = true;
    if (state.held) {
        state.kept = xrealloc(state.kept, state.n_kept + length);
        memcpy(state.kept + state.n_kept, shown, length);
        state.n_kept += length;
    } else {
        ok = write_all(STDOUT_FILENO, shown, length);
    }
    free(shown);
    return ok ? (ssize_t)n : 0;
}

void output_open(void)
{
    const cookie_io_functions_t functions = {.write = write_text};
    FILE *stream = fopencookie(NULL, "w", functions);
    ASSERT(stream != NULL && state.before == NULL);
    setvbuf(stream, NULL, terminal_is_output() ? _IOLBF : _IOFBF, BUFFER_BYTES);
    state.before = stdout;
    stdout = stream;
}

FILE *output_terminal(void)
{
    return state.before != NULL ? state.before : stdout;
}

void output_hold(void)
{
    fflush(stdout);
    state.held = state.before != NULL && terminal_pager() != NULL;
}

/* Runs the pager on what is kept. false: it does not start. */
static bool show_pages(const char *pager)
{
    setenv("LESS", "FRX", 0); /* as git does: less ends by itself if all fits, shows colours, and clears nothing */
    setenv("LV", "-c", 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, pipe_before, interrupt_before;
    sigaction(SIGPIPE, &ignore, &pipe_before); /* a pager that is left early */
    FILE *out = popen(pager, "w");
    sigaction(SIGINT, &ignore, &interrupt_before); /* Ctrl-C is the pager's */
    if (out != NULL) {
        (void)fwrite(state.kept, 1, state.n_kept, out);
    }
    int status = out != NULL ? pclose(out) : -1;
    sigaction(SIGINT, &interrupt_before, NULL);
    sigaction(SIGPIPE, &pipe_before, NULL);
    return status != -1 && !(WIFEXITED(status) && WEXITSTATUS(status) == 127); /* the shell found no such program */
}

static unsigned count_lines(const char *text, size_t length)
{
    unsigned n = 0;
    for (size_t i = 0; i < length; i++) {
        n += text[i] == '\n';
    }
    return n;
}

void output_release(void)
{
    fflush(stdout);
    const char *pager = terminal_pager();
    if (!state.held) {
        return;
    }
    state.held = false;
    bool many = count_lines(state.kept, state.n_kept) >= terminal_height();
    if (pager == NULL || !many || !show_pages(pager)) {
        (void)write_all(STDOUT_FILENO, state.kept, state.n_kept);
    }
    free(state.kept);
    state.kept = NULL;
    state.n_kept = 0;
}

void output_error(const char *text)
{
    char *line;
    int length = asprintf(&line, "lockstep: %s\n", text);
    ASSERT(length >= 0);
    output_write_lines(line, (size_t)length, terminal_is_error() ? terminal_width() : 0, false, stderr);
    free(line);
}
