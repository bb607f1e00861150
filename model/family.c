#include "model/family.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/families.h"

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
            if (strcmp(*type, model_type) == 0)
                return families[i];
        }
    }
    return NULL;
}

const struct family *family_by_gguf(const char *architecture)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(families[i]->gguf_architecture, architecture) == 0)
            return families[i];
    }
    return NULL;
}

void family_list_types(char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < N_FAMILIES; i++) {
        for (const char *const *type = families[i]->model_types; *type; type++) {
            if (length + strlen(*type) + 3 > size)
                return;
            length += (size_t)sprintf(text + length, "%s%s", length ? ", " : "", *type);
        }
    }
}
