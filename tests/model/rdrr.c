/* RDRR: opens golden/same/gemma3-rdrr and spoiled copies of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/expect.h"
#include "tests/support/folder_doc.h"
#include "tests/support/scratch.h"

#define HEALTHY LOCKSTEP_SOURCE_DIR "/golden/same/gemma3-rdrr"
#define MOST (256 * 1024)

SCRATCH_FOLDER

static char manifest[MOST];
static const char *const shards[] = {"shard_00000.bin", "shard_00001.bin", "shard_00002.bin", "shard_00003.bin",
                                     "shard_00004.bin"};

static int set_up(void **state)
{
    (void)state;
    static char bytes[MOST];
    char path[512];
    scratch_make(folder);
    for (unsigned i = 0; i < sizeof(shards) / sizeof(shards[0]); i++) {
        size_t n = scratch_read(scratch_path(path, HEALTHY, shards[i]), bytes, MOST);
        scratch_write(scratch_path(path, folder, shards[i]), bytes, n);
    }
    scratch_read(HEALTHY "/manifest.json", manifest, MOST);
    return 0;
}

static void write_manifest(void)
{
    char path[512];
    scratch_write(scratch_path(path, folder, "manifest.json"), manifest, strlen(manifest));
}

static void opens(void **state)
{
    (void)state;
    struct model model;
    char weights[65], config[65], path[512];
    write_manifest();
    text_replace(manifest, MOST, "\"numLayers\"", "\"numKvSharedLayers\": 0, \"globalHeadDim\": null, \"numLayers\"");
    text_replace(manifest, MOST, "\"rmsNormEps\"", "\"type\": \"rmsnorm\", \"rmsNormEps\"");
    text_replace(manifest, MOST, "\"queryKeyNorm\": true", "\"queryKeyNormAxis\": \"head\", \"queryKeyNorm\": true");
    write_manifest();
    expect_opens(&model, folder, "healthy");
    assert_string_equal(model.config.family->name, "gemma3");
    assert_int_equal(model.config.n_layers, 7);
    assert_int_equal(model.config.sliding_window, 4);
    assert_true(model.config.layer_is_local[4] && !model.config.layer_is_local[5] && model.config.layer_is_local[6]);
    assert_true(model.config.rope_global.factor == 8 && model.config.rope_local.theta == 10000);
    assert_int_equal(model.n_notes, 0);
    assert_null(model.tokenizer_json);
    assert_int_equal(model_digests(&model, weights, config, NULL), STATUS_OK);
    assert_int_equal(strlen(weights) + strlen(config), 128);
    model_close(&model);
    scratch_write(scratch_path(path, folder, "config.json"), "not read", 8); /* the manifest is found first */
    expect_opens(&model, folder, "beside a config.json");
    model_close(&model);
}

/* every_n and alternating mean the same as a list of layers; tensors may be in a file of their own. */
static void opens_variations(void **state)
{
    (void)state;
    struct model model;
    char path[512];
    char *list = strstr(manifest, "\"layerPattern\": {"), *end = strchr(list, '}');
    size_t tail = strlen(end) + 1;
    memmove(list + 100, end, tail);
    memset(list, ' ', 100);
    static const char every_sixth[] = "\"layerPattern\": {\"type\": \"every_n\", \"period\": 6, \"offset\": 5";
    memcpy(list, every_sixth, strlen(every_sixth));
    write_manifest();
    expect_opens(&model, folder, "every_n");
    assert_true(model.config.layer_is_local[4] && !model.config.layer_is_local[5] && model.config.layer_is_local[6]);
    model_close(&model);
    text_replace(manifest, MOST, "\"every_n\", \"period\": 6, \"offset\": 5",
                 "\"alternating\", \"globalPattern\": \"odd\"");
    write_manifest();
    expect_opens(&model, folder, "alternating");
    assert_true(model.config.layer_is_local[4] && !model.config.layer_is_local[5] && model.config.layer_is_local[6]);
    assert_false(model.config.layer_is_local[1]);
    model_close(&model);
    char *tensors = strstr(manifest, "\"tensors\": {") + 11;
    size_t length = strlen(tensors) - 2; /* without the manifest's closing brace */
    scratch_write(scratch_path(path, folder, "tensors.json"), tensors, length);
    strcpy(tensors, "null, \"tensorsFile\": \"tensors.json\"}");
    write_manifest();
    expect_opens(&model, folder, "tensors.json");
    model_close(&model);
    text_replace(manifest, MOST, "\"tensors.json\"", "\"../tensors.json\"");
    write_manifest();
    expect_refused(folder, "tensors.json elsewhere", "manifest.json", "tensorsFile", "a file in this folder");
}

static void refuses_spoiled(void **state)
{
    (void)state;
    static const struct {
        const char *find, *replace, *field, *text;
    } rows[] = {
        {"\"version\": 1", "\"version\": 2", "version", "2, expected 1"},
        {"\"sha256\"", "\"blake3\"", "hashAlgorithm", "\"blake3\", expected \"sha256\""},
        {"\"sha256\"", "null", "hashAlgorithm", "missing"},
        {"\"shard_00002.bin\"", "\"../shard_00002.bin\"", "shards.2.filename", "a file in this folder"},
        {"\"shard_00002.bin\"", "\"/etc/passwd\"", "shards.2.filename", "a file in this folder"},
        {"\"shard_00002.bin\"", "\"shard_00009.bin\"", "shard_00009.bin", "cannot be opened"},
        {"\"shard_00002.bin\"", "\"shard_00001.bin\"", "shard_00001.bin", "SHA-256"},
        {"\"index\": 1", "\"index\": 2", "shards.1.index", "its place in the list"},
        {"\"size\": 40000", "\"size\": 40001", "shard_00000.bin", "40000 bytes, expected 40001"},
        {"\"hash\": \"", "\"hash\": \"0", "shard_00000.bin", "SHA-256"},
        {"\"dtype\": \"BF16\"", "\"dtype\": \"Q3_K\"", "tensors.model.embed_tokens.weight",
         "\"Q3_K\", expected the dtype"},
        {"\"dtype\": \"BF16\"", "\"dtype\": \"F32\"", "model.embed_tokens.weight", "size 5628, expected 11256"},
        {"\"dtype\": \"BF16\"", "\"layout\": \"diagonal\", \"dtype\": \"BF16\"", "model.embed_tokens.weight",
         "\"diagonal\""},
        {"\"dtype\": \"BF16\"", "\"sourceTransform\": {}, \"dtype\": \"BF16\"", "model.embed_tokens.weight",
         "sourceTransform"},
        {"\"offset\": 5628", "\"offset\": 5626", "model.layers.0.self_attn.q_proj.weight",
         "overlap those of model.embed_tokens"},
        {"\"offset\": 5628", "\"offset\": 39000", "model.layers.0.self_attn.q_proj.weight", "within the shard's 40000"},
        {"\"shard\": 0", "\"shard\": 7", "tensors.model.embed_tokens.weight", "a piece of a shard"},
        {"\"shardIndex\": 1", "\"shardIndex\": -1", "tensors.model.", "a piece of a shard"},
        {"\"queryKeyNorm\": true", "\"queryKeyNorm\": false", "inference.attention.queryKeyNorm",
         "q_norm.weight is there"},
        {"\"postFeedforwardNorm\": true", "\"postFeedforwardNorm\": false",
         "inference.normalization.postFeedforwardNorm",
         "false, but model.layers.0.post_feedforward_layernorm.weight is there"},
        {"\"preFeedforwardNorm\": true", "\"preFeedforwardNorm\": false", "preFeedforwardNorm", "is there"},
        {"\"attentionBias\": false", "\"attentionBias\": true", "inference.attention.attentionBias", "is missing"},
        {"\"rmsNormWeightOffset\": true", "\"rmsNormWeightOffset\": false", "rmsNormWeightOffset", "expected true"},
        {"\"scaleEmbeddings\": true", "\"scaleEmbeddings\": false", "scaleEmbeddings", "expected true"},
        {"\"causal\": true", "\"causal\": false", "inference.attention.causal", "expected true"},
        {"\"moeConfig\": null", "\"moeConfig\": {\"numExperts\": 4}", "moeConfig.expertFormat", "expected gpt-oss"},
        {"\"moeConfig\": null", "\"moeConfig\": {\"expertFormat\": \"mixtral\"}", "moeConfig.expertFormat", "mixtral"},
        {"\"moeConfig\": null",
         "\"moeConfig\": {\"expertFormat\": \"gpt-oss\", \"numExperts\": 4, \"numExpertsPerToken\": 2}",
         "inference.attention.queryKeyNorm", "the norms of a family that is known"},
        {"\"moeConfig\": null", "\"moeConfig\": {\"expertFormat\": \"gpt-oss\", \"expertIntermediateSize\": 9}",
         "moeConfig.expertIntermediateSize", "9, expected architecture.intermediateSize"},
        {"\"moeConfig\": null", "\"moeConfig\": {\"expertFormat\": \"gpt-oss\", \"sharedExperts\": [0]}",
         "moeConfig.sharedExperts", "expected none"},
        {"\"queryKeyNorm\": true", "\"queryKeyNorm\": true, \"queryKeyNormAxis\": \"projection\"",
         "inference.attention.queryKeyNormAxis", "\"projection\", expected head"},
        {"\"queryKeyNorm\": true", "\"queryKeyNorm\": true, \"queryKeyNormLayers\": [0]",
         "inference.attention.queryKeyNormLayers", "expected null"},
        {"\"rmsNormEps\"", "\"type\": \"layernorm\", \"rmsNormEps\"", "inference.normalization.type",
         "expected rmsnorm"},
        {"\"headDim\"", "\"globalHeadDim\": 28, \"headDim\"", "architecture.globalHeadDim", "28, expected null"},
        {"\"dtype\": \"BF16\"", "\"dtype\": \"Q8_0\"", "model.embed_tokens.weight", "size 5628, expected 4556"},
        {"\"swigluLimit\": null", "\"swigluLimit\": 7", "inference.ffn.swigluLimit", "expected null"},
        {"\"gatedActivation\": true", "\"gatedActivation\": true, \"branchMode\": \"dense_plus_moe\"",
         "inference.ffn.branchMode", "expected auto or dense"},
        {"\"dtype\": \"BF16\"", "\"dtype\": \"U8\"", "model.embed_tokens.weight", "size 5628, expected 2814"},
        {"\"activation\": \"gelu\"", "\"activation\": \"relu\"", "inference.ffn.activation", "\"relu\""},
        {"\"type\": \"custom\"", "\"type\": \"random\"", "inference.layerPattern", "every_n"},
        {"\"hiddenSize\": 42", "\"hiddenSize\": null", "architecture.hiddenSize", "missing"},
        {"\"hiddenSize\": 42", "\"hiddenSize\": 43", "model.embed_tokens.weight", "[67, 42], expected [67, 43]"},
        {"\"numLayers\": 7", "\"numLayers\": 8", "layer_types", "num_hidden_layers"},
    };
    static char healthy[MOST];
    strcpy(healthy, manifest);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        strcpy(manifest, healthy);
        text_replace(manifest, MOST, rows[i].find, rows[i].replace);
        write_manifest();
        expect_refused(folder, rows[i].replace, NULL, rows[i].field, rows[i].text);
    }
}

/* A changed bit of a shard is found by its hash. */
static void checks_hashes(void **state)
{
    (void)state;
    static char bytes[MOST];
    char path[512];
    write_manifest();
    size_t n = scratch_read(scratch_path(path, folder, shards[3]), bytes, MOST);
    bytes[n - 1] ^= 1;
    scratch_write(path, bytes, n);
    expect_refused(folder, "one bit", "shard_00003.bin", "SHA-256", "expected");
    assert_int_equal(unlink(path), 0);
    expect_refused(folder, "no shard", "shard_00003.bin", "cannot be opened", NULL);
}

/* With any byte of the manifest changed, the folder opens or is refused in one line. */
static void survives_changed_bytes(void **state)
{
    (void)state;
    size_t n_opened = 0, n = 0;
    for (size_t i = 0; i < strlen(manifest); i += 29, n++) {
        char right = manifest[i];
        manifest[i] = "\"9-}x"[n % 5];
        write_manifest();
        n_opened += expect_no_crash(folder);
        manifest[i] = right;
    }
    assert_in_range(n_opened, 1, n - 1); /* changed roles and spaces do not matter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_variations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checks_hashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_changed_bytes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
