#include "workbench/text/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEFAULT_WIDTH 80
#define DEFAULT_HEIGHT 24
#define TEXT_WIDTH 80
#define LEAST_WIDTH 40 /* names, and texts beside them, need it */

static unsigned set_width; /* 0: not set */
static bool pager_off;

bool terminal_is_output(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

bool terminal_is_error(void)
{
    return isatty(STDERR_FILENO) == 1;
}

/* A number of an environment variable; 0: there is none. */
static unsigned environment_number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;
    return text != NULL && *text != '\0' && *end == '\0' && value < 10000 ? (unsigned)value : 0;
}

unsigned terminal_width(void)
{
    struct winsize size;
    unsigned width = set_width;
    if (width == 0 && !terminal_is_output()) {
        return 0;
    }
    width = width > 0 ? width : environment_number("COLUMNS");
    if (width == 0) {
        bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
        width = known ? size.ws_col : DEFAULT_WIDTH;
    }
    return width < LEAST_WIDTH ? LEAST_WIDTH : width;
}

void terminal_set_width(unsigned columns)
{
    set_width = columns;
}

bool terminal_width_is_set(void)
{
    return set_width > 0;
}

unsigned terminal_text_width(void)
{
    unsigned width = terminal_width();
    return width == 0 || (set_width == 0 && width > TEXT_WIDTH) ? TEXT_WIDTH : width;
}

unsigned terminal_height(void)
{
    struct winsize size;
    unsigned height = environment_number("LINES");
    if (height == 0) {
        bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0;
        height = known ? size.ws_row : DEFAULT_HEIGHT;
    }
    return height;
}

/* A terminal that takes no escape sequences. */
static bool is_dumb(void)
{
    const char *term = getenv("TERM");
    return term == NULL || *term == '\0' || strcmp(term, "dumb") == 0;
}

bool terminal_has_colour(void)
{
    const char *no_color = getenv("NO_COLOR");
    return terminal_is_output() && !is_dumb() && (no_color == NULL || *no_color == '\0');
}

const char *terminal_pager(void)
{
    const char *pager = getenv("PAGER");
    if (pager_off || !terminal_is_output() || is_dumb()) {
        return NULL;
    }
    if (pager == NULL) {
        return "less";
    }
    return *pager == '\0' || strcmp(pager, "cat") == 0 ? NULL : pager;
}

void terminal_set_pager(bool on)
{
    pager_off = !on;
}

bool terminal_pager_is_on(void)
{
    return !pager_off;
}
