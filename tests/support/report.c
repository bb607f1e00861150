#include "tests/support/report.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model/error.h"

void run_expecting(struct outcome *outcome, const char *program, int status, const char *const words[])
{
    program_run(outcome, program, "", words);
    if (outcome->status != status) {
        fprintf(stderr, "exit %d: %s%s\n", outcome->status, outcome->out, outcome->err);
    }
    ASSERT(outcome->status == status);
}

json_t *parse_report(const struct outcome *outcome)
{
    json_error_t error;
    json_t *root = json_loads(outcome->out, 0, &error);
    if (!root) {
        fprintf(stderr, "%s in: %s\n", error.text, outcome->out);
    }
    ASSERT(root);
    return root;
}

const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

json_int_t integer_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ASSERT(json_is_integer(value));
    return json_integer_value(value);
}

const char *device_kind(const char *program)
{
    const char *const arguments[] = {"devices", NULL};
    struct outcome outcome;
    program_run(&outcome, program, "", arguments);
    ASSERT(outcome.status == 0);
    const char *taken = strstr(outcome.out, "\n  * ");
    ASSERT(taken);
    const char *cpu = strstr(taken, " CPU ");
    bool is_cpu = cpu != NULL && cpu < taken + 1 + strcspn(taken + 1, "\n");
    outcome_free(&outcome);
    return is_cpu ? "cpu" : "gpu";
}
