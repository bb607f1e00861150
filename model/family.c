#include "model/family.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/families/families.h"

static const struct family *const families[] = {
#define X(name) &family_##name,
    FAMILIES(X)
#undef X
};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

const struct family *family_by_model_type(const char *model_type)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        for (const char *const *type = families[i]->model_types; *type; type++) {
            if (strcmp(*type, model_type) == 0) {
                return families[i];
            }
        }
    }
    return NULL;
}

const struct family *family_by_gguf(const char *architecture)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (families[i]->gguf_architecture && strcmp(families[i]->gguf_architecture, architecture) == 0) {
            return families[i];
        }
    }
    return NULL;
}

/* Appends a name if it fits. */
static void list_add(char *text, size_t size, const char *name)
{
    size_t length = strlen(text);
    if (length + strlen(name) + 3 <= size) {
        sprintf(text + length, "%s%s", length ? ", " : "", name);
    }
}

void family_list_types(char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < N_FAMILIES; i++) {
        for (const char *const *type = families[i]->model_types; *type; type++) {
            list_add(text, size, *type);
        }
    }
}

void family_list_architectures(char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (families[i]->gguf_architecture) {
            list_add(text, size, families[i]->gguf_architecture);
        }
    }
}
