#include "workbench/report/report_arithmetic.h"

#include <stdio.h>
#include <string.h>

#include "workbench/report/wrapped_text.h"
#include "workbench/text/terminal.h"
#include "workbench/trace/json_file.h"

#define WIDTH terminal_text_width() /* columns */

/* What an attribute rounds: in words, and in few; the second pair of an attention, where it differs. */
static const struct thing {
    const char *attribute, *words, *few, *attention_words, *attention_few;
} things[] = {
    {"operand_dtype", "inputs", "x", "queries", "q"},
    {"kv_dtype", "keys and values", "k, v", NULL, NULL},
    {"values_dtype", "values", "v", NULL, NULL},
    {"scores_dtype", "scores", "s", NULL, NULL},
    {"shifted_scores_dtype", "shifted scores", "s - max", NULL, NULL},
    {"probs_dtype", "probabilities", "p", NULL, NULL},
    {"sum_dtype", "accumulator", "sums", NULL, NULL},
    {"weights_dtype", "weights", "W", NULL, NULL},
    {"storage_dtype", "stored values", "stages", NULL, NULL},
    {"rounded_dtype", "recorded values", "file", NULL, NULL},
    {"table_dtype", "rope's tables", "tables", NULL, NULL},
    {"activation_dtype", "the activation's table", "act", NULL, NULL},
};

/* The length of an attribute's name without OF_DECODE. */
static size_t base_length(const char *attribute)
{
    size_t length = strlen(attribute), end = strlen(OF_DECODE);
    return length > end && strcmp(attribute + length - end, OF_DECODE) == 0 ? length - end : length;
}

static bool is_of_decode(const char *attribute)
{
    return base_length(attribute) < strlen(attribute);
}

/* Writes "stored values of decode rows"; few: "stages of decode". Returns text. */
static const char *thing_text(const char *attribute, bool attention, bool few, char text[64])
{
    const char *rows = !is_of_decode(attribute) ? "" : few ? " of decode" : " of decode rows", *name = attribute;
    for (size_t i = 0; i < sizeof(things) / sizeof(*things); i++) {
        const struct thing *thing = &things[i];
        if (strlen(thing->attribute) == base_length(attribute) &&
            strncmp(attribute, thing->attribute, base_length(attribute)) == 0) {
            const char *special = few ? thing->attention_few : thing->attention_words;
            name = attention && special ? special : few ? thing->few : thing->words;
        }
    }
    snprintf(text, 64, "%s%s", name, name == attribute ? "" : rows);
    return text;
}

/* Attributes of a class, or of a whole trace, that are being put in words. */
struct line {
    bool attention;
    bool prefill_alone, decode_alone; /* it holds for one phase of a trace that has both */
    char words[160];                  /* "queries in float16, keys and values in float16" */
    char few[64], type[16];           /* "q, k, v", and of the last of them, "f16": its end " in f16" comes later */
    char declaration[200];            /* "operand_dtype=float16, kv_dtype=float16" */
};

static void append(char *text, size_t size, const char *format, const char *first, const char *second)
{
    size_t length = strlen(text);
    if (length > 0) {
        snprintf(text + length, size - length, ", ");
        length = strlen(text);
    }
    snprintf(text + length, size - length, format, first, second);
}

static const char *short_type(const char *value)
{
    return strcmp(value, "float16") == 0 ? "f16" : strcmp(value, "bfloat16") == 0 ? "bf16" : value;
}

static void add_attribute(void *context, const char *attribute, const char *value)
{
    struct line *line = context;
    const char *type = short_type(value);
    char thing[64];
    append(line->words, sizeof(line->words), "%s in %s", thing_text(attribute, line->attention, false, thing), value);
    char name[64];
    snprintf(name, sizeof(name), "%s%s", attribute, line->decode_alone ? OF_DECODE : "");
    append(line->declaration, sizeof(line->declaration), "%s=%s", name, value);
    if (line->prefill_alone) {
        snprintf(name, sizeof(name), "%s%s", attribute, OF_DECODE);
        append(line->declaration, sizeof(line->declaration), "%s=%s", name, rounding_name(ROUNDING_NONE));
    }
    size_t length = strlen(line->few);
    if (length > 0 && strcmp(line->type, type) != 0) {
        snprintf(line->few + length, sizeof(line->few) - length, " in %s", line->type);
    }
    append(line->few, sizeof(line->few), "%s%s", thing_text(attribute, line->attention, true, thing), "");
    snprintf(line->type, sizeof(line->type), "%s", type);
}

static struct line class_line(const struct arithmetic_class *class)
{
    struct line line = {.attention = class->weights == DTYPE_COUNT};
    arithmetic_attributes(class, add_attribute, &line);
    return line;
}

/* What trace t declares; or what was inferred of all its stages. */
static struct line trace_line(const struct report *report, uint32_t t, bool inferred)
{
    struct line line = {0};
    const struct declaration now = trace_declaration(report->traces[t]);
    if (inferred) {
        declaration_differences(&now, &report->declared[t], add_attribute, &line);
    } else {
        declaration_differences(&report->declared[t], &declaration_none, add_attribute, &line);
    }
    return line;
}

static const char *phase_text(const struct arithmetic_class *class)
{
    bool prefill = class->phase[PHASE_PREFILL], decode = class->phase[PHASE_DECODE];
    return prefill && decode ? "both" : prefill ? "prefill" : "decode";
}

/* Whether a trace has decode rows, and the steps of a class round nothing in them. */
static bool is_exact_in_decode(const struct report *report, uint32_t t, const struct arithmetic_class *class)
{
    const struct trace *trace = report->traces[t];
    bool rounds = false;
    for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
        const struct arithmetic_class *other = &report->arithmetic[t].classes[i];
        rounds |= other->op == class->op && other->weights == class->weights && other->phase[PHASE_DECODE];
    }
    return trace->phase[trace->n_positions - 1] == PHASE_DECODE && !rounds;
}

static void print_class(const struct report *report, uint32_t t, const struct arithmetic_class *class, FILE *out)
{
    struct line line = {.attention = class->weights == DTYPE_COUNT,
                        .prefill_alone = class->phase[PHASE_PREFILL] && is_exact_in_decode(report, t, class),
                        .decode_alone = !class->phase[PHASE_PREFILL]};
    arithmetic_attributes(class, add_attribute, &line);
    const char *source = source_name(report->sources[t]), *phase = phase_text(class);
    char text[640];
    bool one_phase = strcmp(phase, "both") != 0;
    snprintf(text, sizeof(text), "Arithmetic of the %s, inferred: %s%s%s %s (%s%s%u of %u %s); declare %s", source,
             op_info(class->op)->name, line.attention ? "" : " of ",
             line.attention ? "" : dtype_info(class->weights)->name, line.words, one_phase ? phase : "",
             one_phase ? ", " : "", class->n_explained, class->n_steps, class->spans ? "spans" : "steps",
             line.declaration);
    text_print_wrapped(text, (struct text_layout){0, 2, WIDTH}, out);
}

void report_arithmetic_print(const struct report *report, FILE *out)
{
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        const char *source = source_name(report->sources[t]);
        const struct line declared = trace_line(report, t, false), inferred = trace_line(report, t, true);
        char text[640];
        if (*declared.declaration) {
            snprintf(text, sizeof(text), "Arithmetic of the %s, declared: %s", source, declared.declaration);
            text_print_wrapped(text, (struct text_layout){0, 2, WIDTH}, out);
        }
        if (*inferred.declaration) {
            snprintf(text, sizeof(text), "Arithmetic of the %s, inferred: %s; declare %s", source, inferred.words,
                     inferred.declaration);
            text_print_wrapped(text, (struct text_layout){0, 2, WIDTH}, out);
        }
        for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
            print_class(report, t, &report->arithmetic[t].classes[i], out);
        }
    }
}

uint32_t report_arithmetic_count(const struct report *report)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        n += (*trace_line(report, t, true).declaration != '\0') + report->arithmetic[t].n;
    }
    return n;
}

static void add_few(char *text, size_t size, const char *of, const struct line *line)
{
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s%s%s in %s", length > 0 ? "; " : "", of, line->few, line->type);
}

const char *report_arithmetic_text(const struct report *report, char *text, size_t size)
{
    *text = '\0';
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        const struct line whole = trace_line(report, t, true);
        if (*whole.declaration) {
            add_few(text, size, "", &whole);
        }
        for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
            const struct arithmetic_class *class = &report->arithmetic[t].classes[i];
            const struct line line = class_line(class);
            char of[32];
            snprintf(of, sizeof(of), "%s ",
                     line.attention ? op_info(class->op)->name : dtype_info(class->weights)->name);
            add_few(text, size, of, &line);
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
        if (*trace_line(report, t, false).declaration) {
            return "declared arithmetic";
        }
    }
    return "float32";
}

/* Where add_entry puts the entries of a class. */
struct entries {
    const struct arithmetic_class *class;
    const struct declaration *declared;
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
    declaration_differences(entries->declared, &declaration_none, answer, &question);
    json_t *entry = json_object();
    json_put(entry, "op", json_string(op_info(class->op)->name));
    json_put(entry, "weights", has_weights ? json_string(dtype_info(class->weights)->name) : json_null());
    json_put(entry, "phase", json_string(phase_text(class)));
    json_put(entry, "attribute", json_string(attribute));
    json_put(entry, "value", json_string(value));
    json_put(entry, "how", json_string(question.declared ? "declared" : "inferred"));
    json_put(entry, "steps", json_integer(class->n_explained));
    json_put(entry, "of", json_integer(class->n_steps));
    json_put(entry, "spans", json_boolean(class->spans));
    json_push(entries->array, entry);
}

/* Entries that hold for every op, and for all n steps that were judged: where a declaration differs from another. */
struct whole {
    const struct declaration *declaration, *other;
    const char *how;
    json_t *array;
    uint32_t n;
};

/* Whether decode rows have an attribute of their own. */
struct decode_question {
    const char *attribute;
    bool has_own;
};

static void answer_decode(void *context, const char *attribute, const char *value)
{
    struct decode_question *question = context;
    (void)value;
    question->has_own |= is_of_decode(attribute) && base_length(attribute) == strlen(question->attribute) &&
                         strncmp(attribute, question->attribute, base_length(attribute)) == 0;
}

static void add_whole(void *context, const char *attribute, const char *value)
{
    const struct whole *whole = context;
    struct decode_question question = {attribute, false};
    declaration_differences(whole->declaration, whole->other, answer_decode, &question);
    json_t *entry = json_object();
    json_put(entry, "op", json_null());
    json_put(entry, "weights", json_null());
    json_put(entry, "phase", json_string(is_of_decode(attribute) ? "decode" : question.has_own ? "prefill" : "both"));
    json_put(entry, "attribute", json_string(attribute));
    json_put(entry, "value", json_string(value));
    json_put(entry, "how", json_string(whole->how));
    json_put(entry, "steps", json_integer(whole->n));
    json_put(entry, "of", json_integer(whole->n));
    json_push(whole->array, entry);
}

static void add_wholes(struct whole *whole)
{
    declaration_differences(whole->declaration, whole->other, add_whole, whole);
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
    const struct declaration now = trace_declaration(report->traces[t]);
    add_wholes(&(struct whole){&report->declared[t], &declaration_none, "declared", array, n_steps});
    add_wholes(&(struct whole){&now, &report->declared[t], "inferred", array, n_steps});
    for (uint32_t i = 0; i < report->arithmetic[t].n; i++) {
        struct entries entries = {&report->arithmetic[t].classes[i], &report->declared[t], array};
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
