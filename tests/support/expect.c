#include "tests/support/expect.h"

#include <stdio.h>
#include <string.h>

#include "model/plan.h"

void expect_opens(struct model *model, const char *path, const char *what)
{
    struct error err = {0};
    if (model_open(model, path, &err) == STATUS_OK) {
        return;
    }
    fprintf(stderr, "%s: was refused: %s\n", what, err.text);
    ASSERT(!"the model opens");
}

void expect_refused(const char *path, const char *what, const char *file, const char *field, const char *text)
{
    struct error err = {0};
    struct model model;
    const char *const parts[] = {file, field, text};
    enum status status = model_open(&model, path, &err);
    if (status != STATUS_BAD_INPUT) {
        fprintf(stderr, "%s: status %d %s\n", what, status, err.text);
        ASSERT(!"the model is refused");
    }
    ASSERT(!model.files && !model.tensors); /* it must be zeroed */
    for (int i = 0; i < 3; i++) {
        if (parts[i] && !strstr(err.text, parts[i])) {
            fprintf(stderr, "%s: no \"%s\" in: %s\n", what, parts[i], err.text);
            ASSERT(!"the line names file, field and value");
        }
    }
}

bool expect_no_crash(const char *path)
{
    struct error err = {0};
    struct model model;
    struct plan plan;
    enum status status = model_open(&model, path, &err);
    if (status != STATUS_OK) {
        ASSERT(status == STATUS_BAD_INPUT && err.status == status && err.text[0] && !strchr(err.text, '\n'));
        return false;
    }
    status = plan_build(&plan, &model, &err);
    ASSERT(status == STATUS_OK);
    plan_free(&plan);
    model_close(&model);
    return true;
}

bool has_note(const struct model *model, const char *text)
{
    for (uint32_t i = 0; i < model->n_notes; i++) {
        if (strstr(model->notes[i], text)) {
            return true;
        }
    }
    return false;
}
