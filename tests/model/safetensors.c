/* The safetensors reader and model folders: what a healthy folder says, and how each broken file is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/expect.h"
#include "tests/support/folder_doc.h"

SCRATCH_FIXTURE

static void opens_llama(void **state)
{
    (void)state;
    struct folder_doc doc;
    struct model model;
    char weights[65], config[65], again[65];
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "healthy llama");
    assert_int_equal(model.n_tensors, 20);
    assert_int_equal(model.n_notes, 0);
    assert_string_equal(model.weights_dtype, "F32");
    assert_null(model.tokenizer_json);
    const struct tensor *up = model_tensor(&model, "model.layers.1.mlp.up_proj.weight");
    assert_non_null(up);
    assert_int_equal(up->n_dims, 2);
    assert_int_equal(tensor_rows(up), 48);
    assert_int_equal(tensor_row_elems(up), 32);
    assert_int_equal(tensor_row_bytes(up), 128);
    assert_memory_equal(up->bytes, doc.data.bytes + up->offset - 8 - strlen(doc.header), up->n_bytes);
    assert_int_equal(model_digests(&model, weights, config, NULL), STATUS_OK);
    assert_int_equal(strlen(weights), 64);
    assert_int_equal(strlen(config), 64);
    assert_string_not_equal(weights, config);
    model_close(&model);

    doc.data.bytes[100] ^= 1; /* one changed bit of a weight changes only the digest of the weights */
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "another weight");
    assert_int_equal(model_digests(&model, again, config, NULL), STATUS_OK);
    assert_string_not_equal(weights, again);
    model_close(&model);
    folder_doc_free(&doc);
}

/* SHA-256 of files with known bytes: the digest is of the files' bytes, one file after another. */
static void digests_are_of_the_files(void **state)
{
    (void)state;
    struct folder_doc doc;
    struct model model;
    char one[65], two[65], config[65], path[512], first[512];
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "one file");
    assert_int_equal(model_digests(&model, one, config, NULL), STATUS_OK);
    assert_string_equal(
        one, "5ad09af1427d1688381aac9ee181e9c874418a60872e04d1b94e5189b537ad18"); /* as sha256sum prints it */
    assert_string_equal(config, "b7ef40d893340ca720bc37e33623a8c7f6fc7876c170d01a9307b69bdb4a550e");
    model_close(&model);
    scratch_path(path, folder, "model.safetensors");
    scratch_path(first, folder, "renamed.safetensors");
    assert_int_equal(rename(path, first), 0); /* the name does not matter */
    expect_opens(&model, folder, "renamed");
    assert_int_equal(model_digests(&model, two, config, NULL), STATUS_OK);
    assert_string_equal(one, two);
    model_close(&model);
    folder_doc_free(&doc);
}

/* 16-bit weights, a header that leaves the data unaligned, and a tokenizer. */
static void opens_variations(void **state)
{
    (void)state;
    struct folder_doc doc;
    struct model model;
    char path[512];
    folder_doc_llama(&doc);
    folder_doc_add(&doc, "lm_head.weight", "BF16", "[40,32]", 1280);
    text_replace(doc.config, sizeof(doc.config), "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    size_t length = strlen(doc.header);
    memset(doc.header + length, ' ',
           (size_t)(11 - length % 8)); /* trailing spaces are allowed; the data begins at 8n + 3 */
    folder_doc_write(&doc, folder);
    scratch_write(scratch_path(path, folder, "tokenizer.json"), "{}", 2);
    expect_opens(&model, folder, "odd header length");
    const struct tensor *head = model_tensor(&model, "lm_head.weight");
    assert_int_equal(head->dtype, DTYPE_BF16);
    assert_int_equal(head->offset % 8, 3);
    for (uint32_t i = 0; i < model.n_tensors; i++) {
        assert_int_equal((uintptr_t)model.tensors[i].bytes % 4, 0);
    }
    assert_memory_equal(head->bytes, doc.data.bytes + doc.data.size - head->n_bytes, head->n_bytes);
    assert_non_null(strstr(model.tokenizer_json, "tokenizer.json"));
    model_close(&model);
    folder_doc_free(&doc);
}

/* Edits of the header's text that must be refused. */
static void refuses_spoiled_headers(void **state)
{
    (void)state;
    static const struct {
        const char *find, *replace, *field, *text;
    } rows[] = {
        {"{", "[", "header @", "expected a JSON object"},
        {"\"model.norm.weight\"", "\"model.layers.0.mlp.up_proj.weight\"", "header @", "duplicate"},
        {"\"shape\":[40,32]", "\"shape\":[40,32", "header @", "expected a JSON object"},
        {"\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "model.embed_tokens.weight.dtype", "\"F64\", expected F32"},
        {"\"dtype\":\"F32\"", "\"dtype\":7", "model.embed_tokens.weight.dtype", "7, expected F32"},
        {"\"dtype\":\"F32\",", "", "model.embed_tokens.weight.dtype", "missing"},
        {"\"shape\":[40,32],", "", "model.embed_tokens.weight.shape", "missing"},
        {"\"shape\":[40,32]", "\"shape\":[]", "model.embed_tokens.weight.shape", "[], expected"},
        {"\"shape\":[40,32]", "\"shape\":[1,1,1,40,32]", "model.embed_tokens.weight.shape", "1 to 4 dims"},
        {"\"shape\":[40,32]", "\"shape\":[40,-32]", "model.embed_tokens.weight.shape", "at least 1"},
        {"\"shape\":[40,32]", "\"shape\":[40,0]", "model.embed_tokens.weight.shape", "at least 1"},
        {"\"shape\":[40,32]", "\"shape\":[40,32.0]", "model.embed_tokens.weight.shape", "at least 1"},
        {"\"shape\":[40,32]", "\"shape\":[4611686018427387904,4611686018427387904]", "model.embed_tokens.weight @",
         "overflows"},
        {"\"shape\":[40,32]", "\"shape\":[4611686018427387904]", "model.embed_tokens.weight @", "overflows"},
        {"\"shape\":[40,32]", "\"shape\":[99999999999999999999]", "header @", "integer"},
        {"\"shape\":[40,32]", "\"shape\":[41,32]", "model.embed_tokens.weight @", "span 5120 bytes, expected 5248"},
        {"\"shape\":[40,32]", "\"shape\":[32,40]", "model.embed_tokens.weight @", "[32, 40], expected [40, 32]"},
        {"\"data_offsets\":[0,5120]", "\"data_offsets\":[0]", "model.embed_tokens.weight.data_offsets", "[begin, end]"},
        {"\"data_offsets\":[0,5120]", "\"data_offsets\":[5120,0]", "model.embed_tokens.weight.data_offsets", "<= end"},
        {"\"data_offsets\":[0,5120]", "\"data_offsets\":[-1,5119]", "model.embed_tokens.weight.data_offsets", "0 <="},
        {"\"data_offsets\":[0,5120]", "\"data_offsets\":[9223372036854770687,9223372036854775807]",
         "model.embed_tokens.weight @", "expected at most the file's size"},
        {"\"data_offsets\":[0,5120]", "\"data_offsets\":[4,5124]", "model.embed_tokens.weight @", "leave a gap"},
        {"\"data_offsets\":[5120,9216]", "\"data_offsets\":[5116,9212]", "self_attn.q_proj.weight @", "overlap"},
        {"\"data_offsets\":[5120,9216]", "\"data_offsets\":[0,4096]", "@", "overlap"},
        {"{\"dtype\":\"F32\",\"shape\":[40,32],\"data_offsets\":[0,5120]}", "[]", "model.embed_tokens.weight",
         "object"},
        {"model.norm.weight", "model.norm.weigth", "model.norm.weight", "no such tensor, expected one of shape [32]"},
        {"model.layers.1.input_layernorm.weight", "model.layers.1.other_layernorm.weight",
         "model.layers.1.input_layernorm.weight", "no such tensor"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct folder_doc doc;
        folder_doc_llama(&doc);
        text_replace(doc.header, sizeof(doc.header), rows[i].find, rows[i].replace);
        folder_doc_write(&doc, folder);
        expect_refused(folder, rows[i].replace, i >= 25 ? NULL : "model.safetensors", rows[i].field, rows[i].text);
        folder_doc_free(&doc);
    }
}

static void refuses_spoiled_lengths(void **state)
{
    (void)state;
    static const struct {
        int64_t said;
        const char *text;
    } rows[] = {
        {0, "header @8"},
        {1, "header @"},
        {1000000, "header length @0: 1000000, expected at most"},
        {INT64_MAX, "header length @0: 9223372036854775807, expected at most"},
    };
    struct folder_doc doc;
    char path[512];
    folder_doc_llama(&doc);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        doc.header_said = rows[i].said;
        folder_doc_write(&doc, folder);
        expect_refused(folder, rows[i].text, "model.safetensors", rows[i].text, NULL);
    }
    doc.header_said = -1;
    buffer_zeros(&doc.data, 4);
    folder_doc_write(&doc, folder);
    expect_refused(folder, "bytes at the end", "model.safetensors", "data_offsets @", "4 bytes after the last tensor");
    scratch_write(scratch_path(path, folder, "model.safetensors"), "1234567", 7);
    expect_refused(folder, "seven bytes", "model.safetensors", "header length", "7 bytes");
    scratch_write(path, "", 0);
    expect_refused(folder, "no bytes", "model.safetensors", "empty", NULL);
    assert_int_equal(unlink(path), 0);
    expect_refused(folder, "no file", folder, "*.safetensors", "missing");
    folder_doc_free(&doc);
}

/* Splits the healthy llama into two files; the second holds only the final norm. */
static void write_shards(struct folder_doc *doc, const char *index)
{
    static struct folder_doc second;
    char path[512];
    memset(&second, 0, sizeof(second));
    snprintf(second.header, sizeof(second.header), "{}");
    second.header_said = -1;
    folder_doc_add(&second, "model.norm.weight", "F32", "[32]", 32);
    folder_doc_llama(doc);
    char *norm = strstr(doc->header, ",\"model.norm.weight\"");
    norm[0] = '}';
    norm[1] = '\0';
    doc->data.size -= 32 * 4;
    scratch_write(scratch_path(path, folder, "config.json"), doc->config, strlen(doc->config));
    folder_doc_write_weights(doc, scratch_path(path, folder, "a.safetensors"));
    folder_doc_write_weights(&second, scratch_path(path, folder, "b.safetensors"));
    scratch_path(path, folder, "model.safetensors.index.json");
    unlink(path);
    if (index) {
        scratch_write(path, index, strlen(index));
    }
    folder_doc_free(&second);
}

/* Writes an index of the two files; `norm`: the file that it names for the final norm. */
static void write_index(char text[8192], const struct folder_doc *doc, const char *norm, const char *extra)
{
    int length = sprintf(text, "{\"metadata\":{},\"weight_map\":{%s\"model.norm.weight\":\"%s\"", extra, norm);
    for (const char *at = doc->header; (at = strstr(at, "\"model.")); at++) {
        const char *end = strchr(at + 1, '"');
        length += sprintf(text + length, ",%.*s\":\"a.safetensors\"", (int)(end - at), at);
    }
    sprintf(text + length, "}}");
}

static void reads_shards(void **state)
{
    (void)state;
    static struct folder_doc doc;
    static char index[8192], spoiled[8192];
    struct model model;
    char path[512];
    write_shards(&doc, NULL);
    expect_opens(&model, folder, "two files, no index");
    assert_int_equal(model.n_tensors, 20);
    assert_non_null(strstr(model_tensor(&model, "model.norm.weight")->file, "b.safetensors"));
    model_close(&model);
    write_index(index, &doc, "b.safetensors", "");
    scratch_path(path, folder, "model.safetensors.index.json");
    scratch_write(path, index, strlen(index));
    expect_opens(&model, folder, "two files and their index");
    assert_int_equal(model.n_notes, 0);
    model_close(&model);
    char extra_path[512];
    folder_doc_write_weights(&doc, scratch_path(extra_path, folder, "consolidated.safetensors"));
    expect_opens(&model, folder, "a third file that the index does not name");
    assert_true(has_note(&model, "consolidated.safetensors"));
    model_close(&model);
    assert_int_equal(unlink(path), 0);
    expect_refused(folder, "and without the index", "consolidated.safetensors", "second tensor", "a.safetensors");
    assert_int_equal(unlink(extra_path), 0);

    static const struct {
        const char *what, *norm, *extra, *field, *text;
    } rows[] = {
        {"missing file", "c.safetensors", "", "model.norm.weight", "c.safetensors is missing"},
        {"outside the folder", "../b.safetensors", "", "model.norm.weight", "expected the name of a"},
        {"absolute", "/b.safetensors", "", "model.norm.weight", "expected the name of a"},
        {"hidden", ".b.safetensors", "", "model.norm.weight", "expected the name of a"},
        {"not safetensors", "config.json", "", "model.norm.weight", "expected the name of a"},
        {"wrong file", "a.safetensors", "", "weight_map", "in a.safetensors, but that file holds 19"},
        {"tensor that no file has", "b.safetensors", "\"x\":\"b.safetensors\",", "weight_map", "2 tensors in b"},
        {"no file name", "b.safetensors", "\"x\":3,", "x", "no file name"},
        {"twice", "b.safetensors", "\"model.norm.weight\":\"b.safetensors\",", "JSON", "duplicate"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_index(spoiled, &doc, rows[i].norm, rows[i].extra);
        scratch_write(path, spoiled, strlen(spoiled));
        expect_refused(folder, rows[i].what, "model.safetensors.index.json", rows[i].field, rows[i].text);
    }
    scratch_write(path, "{}", 2);
    expect_refused(folder, "no map", "model.safetensors.index.json", "weight_map", "missing");
    folder_doc_free(&doc);
}

/* A file cut at any byte is refused. Spaces in the header move the cut to the end of a page, so that reading past it
 * would crash. */
static void refuses_every_truncation(void **state)
{
    (void)state;
    struct folder_doc doc;
    char path[512];
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    scratch_path(path, folder, "model.safetensors");
    size_t length = strlen(doc.header), whole = 8 + length + doc.data.size;
    for (size_t cut = 9; cut < whole; cut += cut < 8 + length ? 5 : 1013) {
        struct buffer file = {0};
        size_t filler = (4096 - cut % 4096) % 4096;
        buffer_u64(&file, length + filler);
        buffer_add(&file, "{", 1);
        buffer_zeros(&file, filler);
        memset(file.bytes + 9, ' ', filler);
        buffer_add(&file, doc.header + 1, length - 1);
        buffer_add(&file, doc.data.bytes, doc.data.size);
        scratch_write(path, file.bytes, cut + filler);
        expect_refused(folder, "cut", "model.safetensors", "expected", NULL);
        buffer_free(&file);
    }
    folder_doc_free(&doc);
}

/* With any byte of the header changed, the folder opens or is refused in one line. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    struct folder_doc doc;
    char path[512];
    size_t n_opened = 0;
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    scratch_path(path, folder, "model.safetensors");
    for (size_t i = 0; i < 8 + strlen(doc.header); i++) {
        const uint8_t right = i < 8 ? (uint8_t)(strlen(doc.header) >> (8 * i)) : (uint8_t)doc.header[i - 8];
        const uint8_t wrong[] = {right ^ 0x01, right ^ 0x80, '"', '9'};
        for (int k = 0; k < 4; k++) {
            scratch_patch(path, i, wrong[k]);
            n_opened += expect_no_crash(folder);
        }
        scratch_patch(path, i, right);
    }
    assert_in_range(n_opened, 1, 2 * strlen(doc.header)); /* most bytes matter, some do not */
    assert_true(expect_no_crash(folder));
    folder_doc_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(digests_are_of_the_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_variations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_lengths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_every_truncation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_every_changed_byte, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
