/* Reads the attributes of trace files: short texts, numbers, and the arithmetic that a file declares. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "workbench/trace/trace_hdf5.h"

void hdf5_start(void)
{
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t take_first(unsigned n, const H5E_error2_t *entry, void *text)
{
    if (n == 0) {
        snprintf(text, 200, "%s", entry->desc);
    }
    return 0;
}

const char *hdf5_reason(char text[200])
{
    snprintf(text, 200, "no reason given");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, text);
    return text;
}

enum status trace_bad(struct trace_reader *reader, const char *field, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return error_set(reader->err, STATUS_BAD_INPUT, reader->path, field, ERROR_NO_OFFSET, "%s", text);
}

/* "/layers/0/q_proj attribute positions"; on the root (field ""), "attribute positions". Returns text. */
static const char *attribute_field(const char *field, const char *name, char text[160])
{
    if (*field != '\0') {
        snprintf(text, 160, "%s attribute %s", field, name);
    } else {
        snprintf(text, 160, "attribute %s", name);
    }
    return text;
}

bool hdf5_holds(hid_t attribute, H5T_class_t class, uint64_t n)
{
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    bool holds =
        space >= 0 && H5Sget_simple_extent_npoints(space) == (hssize_t)n && type >= 0 && H5Tget_class(type) == class;
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return holds;
}

/* Opens an attribute. *attribute is negative where it is missing. */
static enum status open_attribute(struct trace_reader *reader, hid_t object, const char *label, const char *name,
                                  hid_t *attribute)
{
    char reason[200];
    *attribute = -1;
    htri_t exists = H5Aexists(object, name);
    if (exists > 0) {
        *attribute = H5Aopen(object, name, H5P_DEFAULT);
    }
    if (exists < 0 || (exists > 0 && *attribute < 0)) {
        return trace_bad(reader, label, "cannot be read: %s", hdf5_reason(reason));
    }
    return STATUS_OK;
}

/* Opens an attribute that must hold one value of a class. *attribute is negative where it is missing. */
static enum status open_single(struct trace_reader *reader, hid_t object, const char *label, const char *name,
                               H5T_class_t class, hid_t *attribute)
{
    enum status status = open_attribute(reader, object, label, name, attribute);
    if (status != STATUS_OK || *attribute < 0 || hdf5_holds(*attribute, class, 1)) {
        return status;
    }
    H5Aclose(*attribute);
    return trace_bad(reader, label, "has the wrong type, expected one %s", class == H5T_STRING ? "string" : "integer");
}

static bool read_variable_text(hid_t attribute, hid_t type, char value[256])
{
    char *text = NULL;
    if (H5Aread(attribute, type, &text) < 0) {
        return false;
    }
    bool fits = text != NULL && strlen(text) < 256;
    if (fits) {
        strcpy(value, text);
    }
    H5free_memory(text);
    return fits;
}

static bool read_fixed_text(hid_t attribute, hid_t type, char value[256])
{
    char text[257] = {0};
    if (H5Tget_size(type) > 256 || H5Aread(attribute, type, text) < 0 || strlen(text) > 255) {
        return false;
    }
    size_t length = strlen(text);
    while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && length > 0 && text[length - 1] == ' ') {
        text[--length] = '\0';
    }
    strcpy(value, text);
    return true;
}

enum status trace_read_text(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                            char value[256], bool *found)
{
    char label[160];
    hid_t attribute;
    attribute_field(field, name, label);
    *found = false;
    enum status status = open_single(reader, object, label, name, H5T_STRING, &attribute);
    if (status != STATUS_OK || attribute < 0) {
        return status;
    }
    hid_t type = H5Aget_type(attribute);
    htri_t variable = type < 0 ? -1 : H5Tis_variable_str(type);
    if (variable >= 0) {
        *found = variable ? read_variable_text(attribute, type, value) : read_fixed_text(attribute, type, value);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    H5Aclose(attribute);
    return *found ? STATUS_OK : trace_bad(reader, label, "cannot be read, expected a text of less than 256 bytes");
}

enum status trace_read_integer(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                               int64_t *value, bool *found)
{
    char label[160], reason[200];
    hid_t attribute;
    attribute_field(field, name, label);
    *found = false;
    enum status status = open_single(reader, object, label, name, H5T_INTEGER, &attribute);
    if (status != STATUS_OK || attribute < 0) {
        return status;
    }
    *found = H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    H5Aclose(attribute);
    return *found ? STATUS_OK : trace_bad(reader, label, "cannot be read: %s", hdf5_reason(reason));
}

/* Reads a number from 0 to `most`, stored as an integer or as a float. A missing one leaves *value as it is. */
static enum status read_number(struct trace_reader *reader, hid_t file, const char *name, double most, double *value)
{
    hid_t attribute;
    enum status status = open_attribute(reader, file, name, name, &attribute);
    if (status != STATUS_OK || attribute < 0) {
        return status;
    }
    bool fits = hdf5_holds(attribute, H5T_INTEGER, 1) || hdf5_holds(attribute, H5T_FLOAT, 1);
    bool read = fits && H5Aread(attribute, H5T_NATIVE_DOUBLE, value) >= 0;
    H5Aclose(attribute);
    if (!read) {
        return trace_bad(reader, name, "cannot be read, expected one number");
    }
    if (!(*value >= 0 && *value <= most)) {
        return trace_bad(reader, name, "is %g, expected 0 to %g", *value, most);
    }
    return STATUS_OK;
}

enum status trace_read_sampling(struct trace_reader *reader, hid_t file, struct sampling *sampling)
{
    double temperature = 0, top_p = 0, top_k = 0;
    int64_t seed = 0;
    bool found;
    TRY(read_number(reader, file, "temperature", 1000, &temperature));
    TRY(read_number(reader, file, "top_p", 1, &top_p));
    TRY(read_number(reader, file, "top_k", UINT32_MAX, &top_k));
    TRY(trace_read_integer(reader, file, "", "seed", &seed, &found));
    *sampling = (struct sampling){(float)temperature, (uint32_t)top_k, (float)top_p, (uint64_t)seed};
    return STATUS_OK;
}

/* What a *_dtype attribute says. */
struct declared_type {
    bool found; /* false: the attribute is missing, and the rest is not set */
    char name[256];
    double unit_roundoff, smallest_normal;
};

static enum status read_float_type(struct trace_reader *reader, hid_t object, const char *field, const char *name,
                                   struct declared_type *type)
{
    char label[160];
    TRY(trace_read_text(reader, object, field, name, type->name, &type->found));
    if (!type->found || float_type(type->name, &type->unit_roundoff, &type->smallest_normal)) {
        return STATUS_OK;
    }
    return trace_bad(reader, attribute_field(field, name, label), "is \"%s\", expected float32, float16 or bfloat16",
                     type->name);
}

static uint32_t weights_dtype_by_name(const char *name)
{
    return strcmp(name, "float16") == 0 ? DTYPE_F16 : strcmp(name, "bfloat16") == 0 ? DTYPE_BF16 : DTYPE_F32;
}

const struct rounding_attribute rounding_attributes[N_ROUNDING_ATTRIBUTES] = {
    {"operand_dtype", offsetof(struct roundings, operands), "float32, float16, bfloat16, q8_0, q8_1 or q8_K",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16 | 1u << ROUNDING_Q8_0 | 1u << ROUNDING_Q8_1 | 1u << ROUNDING_Q8_K},
    {"kv_dtype", offsetof(struct roundings, keys_values), "float32, float16, bfloat16, q8_0 or q4_0",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16 | 1u << ROUNDING_Q8_0 | 1u << ROUNDING_Q4_0},
    {"values_dtype", offsetof(struct roundings, values), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
    {"scores_dtype", offsetof(struct roundings, scores), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
    {"shifted_scores_dtype", offsetof(struct roundings, shifted), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
    {"probs_dtype", offsetof(struct roundings, probs), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
    {"table_dtype", offsetof(struct roundings, tables), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
    {"activation_dtype", offsetof(struct roundings, activation), "float32, float16 or bfloat16",
     1u << ROUNDING_F16 | 1u << ROUNDING_BF16},
};

/* Attributes of one object: about all its rows, or about decode rows alone. */
struct attributes {
    hid_t object;
    const char *field;
    bool of_decode;
};

/* The name of an attribute of all rows, or of decode rows alone. Returns text. */
static const char *name_for(const struct attributes *of, const char *name, char text[64])
{
    snprintf(text, 64, "%s%s", name, of->of_decode ? OF_DECODE : "");
    return text;
}

/* What ops round inside. A type that declares float32 undoes what the whole file declares. */
static enum status read_roundings(struct trace_reader *reader, const struct attributes *of, struct roundings *roundings,
                                  bool *any)
{
    for (unsigned i = 0; i < N_ROUNDING_ATTRIBUTES; i++) {
        const struct rounding_attribute *attribute = &rounding_attributes[i];
        char value[256], label[160], name[64];
        bool found;
        TRY(trace_read_text(reader, of->object, of->field, name_for(of, attribute->name, name), value, &found));
        if (!found) {
            continue;
        }
        enum rounding_type type = rounding_by_name(value);
        if (type == ROUNDING_TYPE_COUNT || (type != ROUNDING_NONE && !(attribute->types & 1u << type))) {
            return trace_bad(reader, attribute_field(of->field, name, label), "is \"%s\", expected %s", value,
                             attribute->expected);
        }
        ((uint8_t *)roundings)[attribute->at] = (uint8_t)type;
        *any = true;
    }
    return STATUS_OK;
}

/* Reads a type of stored values. */
static enum status read_stored_type(struct trace_reader *reader, const struct attributes *of, const char *name,
                                    struct declared_type *type)
{
    char label[160];
    TRY(read_float_type(reader, of->object, of->field, name, type));
    if (type->found && strcmp(type->name, "float64") == 0) {
        return trace_bad(reader, attribute_field(of->field, name, label),
                         "is \"float64\", expected float32, float16 or bfloat16");
    }
    return STATUS_OK;
}

/* What is stored, how sums are kept, what ops round inside. *stored: the first is declared; *any: one is. */
static enum status read_arith(struct trace_reader *reader, const struct attributes *of, struct arith *arith,
                              bool *stored, bool *any)
{
    struct declared_type storage, sum;
    char name[64];
    TRY(read_stored_type(reader, of, name_for(of, "storage_dtype", name), &storage));
    TRY(read_float_type(reader, of->object, of->field, name_for(of, "sum_dtype", name), &sum));
    if (storage.found) {
        arith->u_storage = storage.unit_roundoff;
        arith->eta = storage.smallest_normal;
    }
    if (sum.found) {
        arith->u_sum = sum.unit_roundoff;
    }
    *stored |= storage.found;
    *any |= storage.found || sum.found;
    return read_roundings(reader, of, &arith->roundings, any);
}

enum status trace_read_declaration(struct trace_reader *reader, hid_t object, const char *field,
                                   struct declaration *declaration, bool *storage_declared)
{
    const struct attributes all = {object, field, false}, of_decode = {object, field, true};
    struct declared_type rounded, weights;
    bool any = false;
    *storage_declared = false;
    if (!declaration->decode_differs) {
        declaration->decode = declaration->arith;
    }
    TRY(read_arith(reader, &all, &declaration->arith, storage_declared, &any));
    TRY(read_arith(reader, &all, &declaration->decode, storage_declared, &any));
    TRY(read_arith(reader, &of_decode, &declaration->decode, storage_declared, &declaration->decode_differs));
    TRY(read_stored_type(reader, &all, "rounded_dtype", &rounded));
    if (rounded.found) {
        double unit = rounded.unit_roundoff > arith_float32.u_storage ? rounded.unit_roundoff : 0;
        declaration->arith.u_rounded = declaration->decode.u_rounded = unit;
        *storage_declared = true;
    }
    TRY(read_float_type(reader, object, field, "weights_dtype", &weights));
    if (weights.found) {
        declaration->weights_dtype = weights_dtype_by_name(weights.name);
    }
    return STATUS_OK;
}
