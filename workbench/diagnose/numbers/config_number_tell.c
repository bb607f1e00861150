/* Telling in which number of the config a wrong step differs from the right one. */
#include <stdio.h>
#include <string.h>

#include "workbench/diagnose/numbers/config_numbers.h"
#include "workbench/diagnose/numbers/config_parameters.h"

static const char *number_or_none(double number, char text[32])
{
    snprintf(text, 32, number != 0 ? "%.6g" : "none", number);
    return text;
}

static void tell_parameter(const struct parameter *parameter, double had, double is, struct config_number *found)
{
    char text[32];
    if (parameter->inverse_square) {
        had = had != 0 ? 1 / (had * had) : 0;
        is = 1 / (is * is);
    }
    double value = round_digits(is, MOST_DIGITS + 2);
    found->solved = solved_number(parameter->config, had, value);
    snprintf(found->name, sizeof(found->name), "%s", parameter->name);
    snprintf(found->text, sizeof(found->text), "%s is %.6g where MODEL has %s", parameter->config, value,
             number_or_none(had, text));
}

static void tell_rope(const struct rope_params *right, const struct rope_params *wrong, struct config_number *found)
{
    if (wrong->dim != right->dim) {
        found->solved = solved_number("head_dim", right->dim, wrong->dim);
        snprintf(found->name, sizeof(found->name), "wrong-head-dim");
        snprintf(found->text, sizeof(found->text), "there are %u heads of head_dim %u where MODEL has %u of %u",
                 wrong->heads, wrong->dim, right->heads, right->dim);
    } else if (wrong->type != right->type) {
        found->solved = solved_number("rope scaling", right->type, wrong->type);
        snprintf(found->name, sizeof(found->name), "wrong-rope-type");
        snprintf(found->text, sizeof(found->text), "rope is not scaled where MODEL has a rope scaling");
    } else {
        found->solved = solved_number("truncate", right->truncate, wrong->truncate);
        snprintf(found->name, sizeof(found->name), "wrong-yarn-truncate");
        snprintf(found->text, sizeof(found->text), "YaRN's correction range is %s to whole dims where MODEL's is %s",
                 wrong->truncate ? "rounded" : "not rounded", wrong->truncate ? "not" : "rounded");
    }
}

static void tell_window(uint32_t had, uint32_t window, struct config_number *found)
{
    char is[32], instead[32];
    found->solved = solved_number("sliding_window", had, window);
    snprintf(found->name, sizeof(found->name), "wrong-sliding-window");
    snprintf(found->text, sizeof(found->text), "sliding_window is %s where MODEL has %s in this layer%s",
             number_or_none(window, is), number_or_none(had, instead), window == 0 ? ": its window is missing" : "");
}

void config_number_tell(const struct step *right, const struct step *wrong, struct config_number *found)
{
    *found = (struct config_number){0};
    if (right->op == OP_rope &&
        (wrong->params.rope.dim != right->params.rope.dim ||
         wrong->params.rope.truncate != right->params.rope.truncate ||
         (wrong->params.rope.type != right->params.rope.type && wrong->params.rope.type == ROPE_TYPE_DEFAULT))) {
        tell_rope(&right->params.rope, &wrong->params.rope, found);
        return;
    }
    if (config_is_attention(right) && wrong->params.attention.window != right->params.attention.window) {
        tell_window(right->params.attention.window, wrong->params.attention.window, found);
        return;
    }
    uint32_t n;
    const struct parameter *parameters = config_parameters(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (parameter_is_of(&parameters[i], right) &&
            parameter_get(wrong, parameters[i].field) != parameter_get(right, parameters[i].field)) {
            tell_parameter(&parameters[i], parameter_get(right, parameters[i].field),
                           parameter_get(wrong, parameters[i].field), found);
            return;
        }
    }
}

void config_number_name(const struct config_number *number, uint32_t step, struct diagnosis *found)
{
    *found = (struct diagnosis){.how = HOW_REPRODUCED, .step = step, .solved = number->solved, .postmortem = ""};
    found->kind = strcmp(number->solved.name, "sliding_window") == 0 ? KIND_VISIBLE_KEYS : KIND_PARAMETER;
    snprintf(found->fault, sizeof(found->fault), "%s", number->name);
}
