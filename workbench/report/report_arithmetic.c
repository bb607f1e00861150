#include "workbench/report/report_arithmetic.h"

#include <string.h>

#include "workbench/report/wrapped_text.h"
#include "workbench/trace/json_file.h"

#define WIDTH 80 /* columns */

/* A line that is being made from the attributes of a class. */
struct line {
    bool attention;
    char what[160]; /* "queries in float16, keys and values in float16" */
};

/* What an attribute rounds, in words. */
static const char *rounded_thing(const char *attribute, bool attention)
{
    static const char *const names[][2] = {
        {"kv_dtype", "keys and values"},
        {"probs_dtype", "probabilities"},
        {"sum_dtype", "accumulator"},
        {"weights_dtype", "weights"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(attribute, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return attention ? "queries" : "inputs";
}

static void append(char *text, size_t size, const char *format, const char *first, const char *second)
{
    size_t length = strlen(text);
    if (length > 0) {
        snprintf(text + length, size - length, ", ");
        length = strlen(text);
    }
    snprintf(text + length, size - length, format, first, second);
}

static void add_words(void *context, const char *attribute, const char *value)
{
    struct line *line = context;
    append(line->what, sizeof(line->what), "%s in %s", rounded_thing(attribute, line->attention), value);
}

static const char *phase_text(const struct arithmetic_class *class)
{
    bool prefill = class->phase[PHASE_PREFILL], decode = class->phase[PHASE_DECODE];
    return prefill && decode ? "both" : prefill ? "prefill" : "decode";
}

static void add_declaration(void *context, const char *attribute, const char *value)
{
    struct line *line = context;
    append(line->what, sizeof(line->what), "%s=%s", attribute, value);
}

static void print_class(const struct arithmetic_class *class, const char *source, FILE *out)
{
    struct line line = {.attention = class->weights == DTYPE_COUNT}, declaration = {0};
    char text[640];
    const char *phase = phase_text(class);
    bool one_phase = strcmp(phase, "both") != 0;
    arithmetic_attributes(class, add_words, &line);
    arithmetic_attributes(class, add_declaration, &declaration);
    snprintf(text, sizeof(text), "Arithmetic of the %s, inferred: %s%s%s %s (%s%s%u of %u steps); declare %s", source,
             op_info(class->op)->name, line.attention ? "" : " of ",
             line.attention ? "" : dtype_info(class->weights)->name, line.what, one_phase ? phase : "",
             one_phase ? ", " : "", class->n_explained, class->n_steps, declaration.what);
    text_print_wrapped(text, (struct text_layout){0, 2, WIDTH}, out);
}

void report_arithmetic_print(const struct report *report, FILE *out)
{
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        const char *source = source_name(report->sources[t]);
        struct line declared = {0};
        trace_declarations(report->traces[t], add_declaration, &declared);
        if (*declared.what) {
            fprintf(out, "Arithmetic of the %s, declared: %s\n", source, declared.what);
        }
        if (report->storage[t] != NULL) {
            fprintf(out, "Arithmetic of the %s, inferred: stored values in %s; declare storage_dtype=%s\n", source,
                    report->storage[t], report->storage[t]);
        }
        for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
            print_class(&report->arithmetic[t].classes[i], source, out);
        }
    }
}

uint32_t report_arithmetic_count(const struct report *report)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        n += (report->storage[t] != NULL) + report->arithmetic[t].n;
    }
    return n;
}

/* "f16" for "float16"; blocks of integers keep their names. */
static const char *short_type(const char *value)
{
    return strcmp(value, "float16") == 0 ? "f16" : strcmp(value, "bfloat16") == 0 ? "bf16" : value;
}

/* A class that is being written in few words: "attention q, k, v, p in f16", "Q4_1 x in q8_1". */
struct few_words {
    char names[64];
    char type[16]; /* of the last name */
    bool attention;
};

static const char *short_thing(const char *attribute, bool attention)
{
    if (strcmp(attribute, "operand_dtype") == 0) {
        return attention ? "q" : "x";
    }
    return strcmp(attribute, "kv_dtype") == 0      ? "k, v"
           : strcmp(attribute, "probs_dtype") == 0 ? "p"
           : strcmp(attribute, "sum_dtype") == 0   ? "sums"
                                                   : "W";
}

static void add_few_words(void *context, const char *attribute, const char *value)
{
    struct few_words *words = context;
    size_t length = strlen(words->names);
    const char *thing = short_thing(attribute, words->attention), *type = short_type(value);
    bool same = length == 0 || strcmp(words->type, type) == 0;
    snprintf(words->names + length, sizeof(words->names) - length, "%s%s%s%s", same ? "" : " in ",
             same ? "" : words->type, length > 0 ? ", " : "", thing);
    snprintf(words->type, sizeof(words->type), "%s", type);
}

const char *report_arithmetic_text(const struct report *report, char *text, size_t size)
{
    *text = '\0';
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        size_t length = strlen(text);
        if (report->storage[t] != NULL) {
            snprintf(text + length, size - length, "%sstored in %s", length > 0 ? "; " : "",
                     short_type(report->storage[t]));
        }
        for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
            const struct arithmetic_class *class = &report->arithmetic[t].classes[i];
            struct few_words words = {.attention = class->weights == DTYPE_COUNT};
            arithmetic_attributes(class, add_few_words, &words);
            length = strlen(text);
            snprintf(text + length, size - length, "%s%s %s in %s", length > 0 ? "; " : "",
                     words.attention ? op_info(class->op)->name : dtype_info(class->weights)->name, words.names,
                     words.type);
        }
    }
    return text;
}

const char *report_arithmetic_word(const struct report *report)
{
    if (report_arithmetic_count(report) > 0) {
        return "inferred arithmetic";
    }
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        const struct arith *arith = &report->traces[t]->arith;
        if (arith->u_storage != arith_float32.u_storage || arith->u_sum != arith_float32.u_sum ||
            arith->u_rounded != 0 || roundings_any(&arith->roundings) ||
            report->traces[t]->weights_dtype != DTYPE_F32) {
            return "declared arithmetic";
        }
    }
    return "float32";
}

/* Where add_entry puts the entries of a class. */
struct entries {
    const struct arithmetic_class *class;
    const struct trace *trace;
    json_t *array;
};

/* Whether a file declares an attribute with a value. */
struct question {
    const char *attribute, *value;
    bool declared;
};

static void answer(void *context, const char *attribute, const char *value)
{
    struct question *question = context;
    question->declared |= strcmp(attribute, question->attribute) == 0 && strcmp(value, question->value) == 0;
}

static void add_entry(void *context, const char *attribute, const char *value)
{
    const struct entries *entries = context;
    const struct arithmetic_class *class = entries->class;
    bool has_weights = class->weights != DTYPE_COUNT;
    struct question question = {.attribute = attribute, .value = value};
    trace_declarations(entries->trace, answer, &question);
    json_t *entry = json_object();
    json_put(entry, "op", json_string(op_info(class->op)->name));
    json_put(entry, "weights", has_weights ? json_string(dtype_info(class->weights)->name) : json_null());
    json_put(entry, "phase", json_string(phase_text(class)));
    json_put(entry, "attribute", json_string(attribute));
    json_put(entry, "value", json_string(value));
    json_put(entry, "how", json_string(question.declared ? "declared" : "inferred"));
    json_put(entry, "steps", json_integer(class->n_explained));
    json_put(entry, "of", json_integer(class->n_steps));
    json_push(entries->array, entry);
}

/* An entry that holds for every op, and for all n steps that were judged. */
struct whole {
    const char *how;
    json_t *array;
    uint32_t n;
};

static void add_whole(void *context, const char *attribute, const char *value)
{
    const struct whole *whole = context;
    json_t *entry = json_object();
    json_put(entry, "op", json_null());
    json_put(entry, "weights", json_null());
    json_put(entry, "phase", json_string("both"));
    json_put(entry, "attribute", json_string(attribute));
    json_put(entry, "value", json_string(value));
    json_put(entry, "how", json_string(whole->how));
    json_put(entry, "steps", json_integer(whole->n));
    json_put(entry, "of", json_integer(whole->n));
    json_push(whole->array, entry);
}

static json_t *source_entry(const struct report *report, uint32_t t)
{
    json_t *entry = json_object(), *array = json_array();
    json_int_t n_rows = 0, n_undecidable = 0;
    uint32_t n_steps = 0;
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        n_rows += audit_finding(report->audit, s, t)->rows_judged;
        n_undecidable += audit_finding(report->audit, s, t)->rows_undecidable;
        n_steps += audit_finding(report->audit, s, t)->rows_judged > 0;
    }
    trace_declarations(report->traces[t], add_whole, &(struct whole){"declared", array, n_steps});
    if (report->storage[t] != NULL) {
        add_whole(&(struct whole){"inferred", array, n_steps}, "storage_dtype", report->storage[t]);
    }
    for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
        struct entries entries = {&report->arithmetic[t].classes[i], report->traces[t], array};
        arithmetic_attributes(entries.class, add_entry, &entries);
    }
    json_put(entry, "source", json_string(source_name(report->sources[t])));
    json_put(entry, "verdict", json_string(conclusion_name(report->verdict->of[t])));
    json_put(entry, "arithmetic", array);
    json_put(entry, "rows_judged", json_integer(n_rows));
    json_put(entry, "rows_undecidable", json_integer(n_undecidable));
    return entry;
}

json_t *report_sources(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        json_push(array, source_entry(report, t));
    }
    return array;
}
