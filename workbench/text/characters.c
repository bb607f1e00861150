#include "workbench/text/characters.h"

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint32_t first, last;
};

/* Characters that combine with the one before them, and those that take two columns: the blocks of Unicode where they
 * stand. (wcwidth() knows none of them, for the program stays in the C locale.) */
static const struct range combining[] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}};
static const struct range wide[] = {{0x1100, 0x115f},   {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},  {0xf900, 0xfaff},
                                    {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
                                    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
/* Characters that change the order in which others are shown. */
static const struct range reordering[] = {{0x202a, 0x202e}, {0x2066, 0x2069}};

static bool in_ranges(const struct range *ranges, size_t n, uint32_t character)
{
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        found = found || (character >= ranges[i].first && character <= ranges[i].last);
    }
    return found;
}
#define IN(ranges, character) in_ranges(ranges, sizeof(ranges) / sizeof((ranges)[0]), character)

/* The bytes that a character's first byte announces; 0: none begins so. */
static size_t bytes_of(unsigned char first)
{
    return first < 0x80                    ? 1
           : first >= 0xc2 && first < 0xe0 ? 2
           : first >= 0xe0 && first < 0xf0 ? 3
           : first >= 0xf0 && first < 0xf5 ? 4
                                           : 0;
}

int character_columns(const char *text, size_t n, size_t *length)
{
    unsigned char first = (unsigned char)text[0];
    size_t bytes = bytes_of(first);
    *length = 1;
    if (bytes == 0 || bytes > n) {
        return -1;
    }
    uint32_t character = bytes == 1 ? first : first & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) {
            return -1;
        }
        character = character << 6 | ((unsigned char)text[i] & 0x3f);
    }
    *length = bytes;
    if (character < 0x20 || (character >= 0x7f && character < 0xa0) || IN(reordering, character)) {
        return -1;
    }
    return IN(combining, character) ? 0 : IN(wide, character) ? 2 : 1;
}

size_t characters_columns(const char *text, size_t n)
{
    size_t columns = 0, length;
    for (size_t i = 0; i < n; i += length) {
        int own = character_columns(text + i, n - i, &length);
        columns += own > 0 ? (size_t)own : 0;
    }
    return columns;
}
