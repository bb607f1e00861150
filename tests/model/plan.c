/* The plan: stages in order, the inputs of each step, and parameters that differ between layers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "model/plan.h"
#include "tests/support/expect.h"
#include "tests/support/folder_doc.h"
#include "tests/support/gguf_doc.h"

SCRATCH_FIXTURE

static void open_plan(struct model *model, struct plan *plan, void (*make)(struct folder_doc *))
{
    static struct folder_doc doc;
    struct error err;
    make(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    expect_opens(model, folder, "healthy");
    assert_int_equal(plan_build(plan, model, &err), STATUS_OK);
}

static void close_plan(struct model *model, struct plan *plan)
{
    plan_free(plan);
    model_close(model);
}

/* One row of a layer's expected table: stage, op, width, and the stages that it reads. */
struct expected {
    enum stage stage;
    enum op op;
    uint32_t width;
    const char *inputs; /* "residual": the input of the layer */
};

static void check_layer(const struct plan *plan, uint32_t layer, const struct expected *rows, uint32_t n)
{
    uint32_t begin = plan_layer_begin(plan, layer);
    assert_int_equal(plan_layer_end(plan, layer) - begin, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct step *step = &plan->steps[begin + i];
        char inputs[128] = "";
        assert_int_equal(step->layer, layer);
        assert_string_equal(stage_name(step->stage), stage_name(rows[i].stage));
        assert_int_equal(step->op, rows[i].op);
        assert_int_equal(step->width, rows[i].width);
        assert_int_equal(step->variant, VARIANT_NONE);
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            if (k >= op_info(step->op)->n_inputs) {
                assert_int_equal(step->input[k], -1);
                continue;
            }
            assert_in_range(step->input[k], 0, begin + i - 1);
            const struct step *input = &plan->steps[step->input[k]];
            bool enters = step->input[k] == (int32_t)begin - 1;
            size_t length = strlen(inputs);
            snprintf(inputs + length, sizeof(inputs) - length, "%s%s", k ? " " : "",
                     enters ? "residual" : stage_name(input->stage));
        }
        assert_string_equal(inputs, rows[i].inputs);
        assert_int_equal(plan_find(plan, (int32_t)layer, step->stage), begin + i);
    }
}

static void check_outside(const struct plan *plan)
{
    const struct step *last = &plan->steps[plan->n_steps - 1];
    assert_int_equal(plan->steps[0].op, OP_embed);
    assert_int_equal(plan->steps[0].stage, STAGE_embed);
    assert_int_equal(plan->steps[0].input[0], -1);
    assert_int_equal(last[-2].stage, STAGE_final_norm);
    assert_int_equal(last[-2].input[0], plan->n_steps - 4);
    assert_int_equal(plan->steps[plan->n_steps - 4].stage, STAGE_layer_out);
    assert_int_equal(last[-1].stage, STAGE_logits);
    assert_int_equal(last[-1].input[0], plan->n_steps - 3);
    assert_int_equal(last->stage, STAGE_logits_final);
    assert_int_equal(last->op, OP_softcap);
    assert_int_equal(last->width, 40);
    for (int i = -2; i <= 0; i++) {
        assert_int_equal(last[i].layer, LAYER_NONE);
    }
    assert_int_equal(plan_find(plan, LAYER_NONE, STAGE_logits), plan->n_steps - 2);
}

static void plans_llama(void **state)
{
    (void)state;
    static const struct expected rows[] = {
        {STAGE_attn_norm, OP_rms_norm, 32, "residual"},
        {STAGE_q_proj, OP_matmul, 32, "attn_norm"},
        {STAGE_k_proj, OP_matmul, 16, "attn_norm"},
        {STAGE_v_proj, OP_matmul, 16, "attn_norm"},
        {STAGE_q_rope, OP_rope, 32, "q_proj"},
        {STAGE_k_rope, OP_rope, 16, "k_proj"},
        {STAGE_attn_out, OP_attention, 32, "q_rope k_rope v_proj"},
        {STAGE_o_proj, OP_matmul, 32, "attn_out"},
        {STAGE_attn_resid, OP_add, 32, "residual o_proj"},
        {STAGE_ffn_norm, OP_rms_norm, 32, "attn_resid"},
        {STAGE_ffn_gate, OP_matmul, 48, "ffn_norm"},
        {STAGE_ffn_up, OP_matmul, 48, "ffn_norm"},
        {STAGE_ffn_act, OP_glu, 48, "ffn_gate ffn_up"},
        {STAGE_ffn_down, OP_matmul, 32, "ffn_act"},
        {STAGE_layer_out, OP_add, 32, "attn_resid ffn_down"},
    };
    struct model model;
    struct plan plan;
    open_plan(&model, &plan, folder_doc_llama);
    assert_int_equal(plan.n_steps, 2 * 15 + 4);
    check_outside(&plan);
    check_layer(&plan, 0, rows, 15);
    check_layer(&plan, 1, rows, 15);
    const struct step *down = &plan.steps[plan_find(&plan, 1, STAGE_ffn_down)];
    assert_int_equal(down->params.matmul.n_in, 48);
    assert_int_equal(down->params.matmul.n_out, 32);
    assert_int_equal(down->params.matmul.has_bias, 0);
    assert_ptr_equal(down->weight[0], model_tensor(&model, "model.layers.1.mlp.down_proj.weight"));
    assert_null(down->weight[1]);
    const struct step *norm = &plan.steps[plan_find(&plan, 0, STAGE_ffn_norm)];
    assert_string_equal(norm->weight[0]->name, "model.layers.0.post_attention_layernorm.weight");
    assert_true(norm->params.rms_norm.eps == 1e-5f && norm->params.rms_norm.offset == 0);
    assert_int_equal(norm->params.rms_norm.groups, 1);
    assert_int_equal(norm->params.rms_norm.dim, 32);
    const struct step *logits = &plan.steps[plan_find(&plan, LAYER_NONE, STAGE_logits)];
    assert_ptr_equal(logits->weight[0], plan.steps[0].weight[0]); /* tied */
    assert_int_equal(plan.steps[plan_find(&plan, 0, STAGE_attn_out)].params.attention.window, 0);
    close_plan(&model, &plan);
}

static void plans_gemma3(void **state)
{
    (void)state;
    static const struct expected rows[] = {
        {STAGE_attn_norm, OP_rms_norm, 32, "residual"},
        {STAGE_q_proj, OP_matmul, 32, "attn_norm"},
        {STAGE_k_proj, OP_matmul, 16, "attn_norm"},
        {STAGE_v_proj, OP_matmul, 16, "attn_norm"},
        {STAGE_q_norm, OP_rms_norm, 32, "q_proj"},
        {STAGE_k_norm, OP_rms_norm, 16, "k_proj"},
        {STAGE_q_rope, OP_rope, 32, "q_norm"},
        {STAGE_k_rope, OP_rope, 16, "k_norm"},
        {STAGE_attn_out, OP_attention, 32, "q_rope k_rope v_proj"},
        {STAGE_o_proj, OP_matmul, 32, "attn_out"},
        {STAGE_post_attn_norm, OP_rms_norm, 32, "o_proj"},
        {STAGE_attn_resid, OP_add, 32, "residual post_attn_norm"},
        {STAGE_ffn_norm, OP_rms_norm, 32, "attn_resid"},
        {STAGE_ffn_gate, OP_matmul, 48, "ffn_norm"},
        {STAGE_ffn_up, OP_matmul, 48, "ffn_norm"},
        {STAGE_ffn_act, OP_glu, 48, "ffn_gate ffn_up"},
        {STAGE_ffn_down, OP_matmul, 32, "ffn_act"},
        {STAGE_post_ffn_norm, OP_rms_norm, 32, "ffn_down"},
        {STAGE_layer_out, OP_add, 32, "attn_resid post_ffn_norm"},
    };
    struct model model;
    struct plan plan;
    open_plan(&model, &plan, folder_doc_gemma3);
    assert_int_equal(plan.n_steps, 3 * 19 + 4);
    check_outside(&plan);
    for (uint32_t layer = 0; layer < 3; layer++) {
        check_layer(&plan, layer, rows, 19);
        const struct step *rope = &plan.steps[plan_find(&plan, (int32_t)layer, STAGE_q_rope)];
        const struct step *attention = &plan.steps[plan_find(&plan, (int32_t)layer, STAGE_attn_out)];
        assert_true(rope->params.rope.theta == (layer == 2 ? 1000000 : 10000));
        assert_int_equal(attention->params.attention.window, layer == 2 ? 0 : 5);
    }
    const struct step *k_norm = &plan.steps[plan_find(&plan, 1, STAGE_k_norm)];
    assert_int_equal(k_norm->params.rms_norm.groups, 1);
    assert_int_equal(k_norm->params.rms_norm.dim, 16);
    assert_true(k_norm->params.rms_norm.offset == 1);
    const struct step *q_norm = &plan.steps[plan_find(&plan, 1, STAGE_q_norm)];
    assert_int_equal(q_norm->params.rms_norm.groups, 2);
    const struct step *k_rope = &plan.steps[plan_find(&plan, 1, STAGE_k_rope)];
    assert_int_equal(k_rope->params.rope.heads, 1);
    assert_int_equal(k_rope->params.rope.dim, 16);
    const struct attention_params *attention = &plan.steps[plan_find(&plan, 1, STAGE_attn_out)].params.attention;
    assert_int_equal(attention->heads, 2);
    assert_int_equal(attention->kv_heads, 1);
    assert_true(attention->scale == 0.125f && attention->softcap == 0);
    assert_int_equal(plan.steps[plan_find(&plan, 0, STAGE_ffn_act)].params.glu.activation, ACTIVATION_GELU_TANH);
    assert_true(plan.steps[0].params.embed.scale == model.config.embed_scale);
    assert_int_equal(plan.steps[0].params.embed.vocab, 40);
    close_plan(&model, &plan);
}

/* llama with attention_bias: q, k, v and o have biases, the FFN has none. */
static void plans_biases_and_a_head(void **state)
{
    (void)state;
    static const struct {
        const char *name, *shape;
        uint64_t n;
    } biases[] = {{"q", "[32]", 32}, {"k", "[16]", 16}, {"v", "[16]", 16}, {"o", "[32]", 32}};
    static struct folder_doc doc;
    struct model model;
    struct plan plan;
    struct error err;
    folder_doc_llama(&doc);
    text_replace(doc.config, sizeof(doc.config), "\"attention_bias\": false", "\"attention_bias\": true");
    text_replace(doc.config, sizeof(doc.config), "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    for (uint32_t i = 0; i < 8; i++) {
        char name[64] = "model.layers.0.self_attn.q_proj.bias";
        name[13] = (char)('0' + i / 4);
        name[25] = biases[i % 4].name[0];
        folder_doc_add(&doc, name, "F32", biases[i % 4].shape, biases[i % 4].n);
    }
    folder_doc_add(&doc, "lm_head.weight", "F32", "[40,32]", 1280);
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "biases");
    assert_int_equal(plan_build(&plan, &model, &err), STATUS_OK);
    const struct step *o = &plan.steps[plan_find(&plan, 1, STAGE_o_proj)];
    assert_int_equal(o->params.matmul.has_bias, 1);
    assert_ptr_equal(o->weight[1], model_tensor(&model, "model.layers.1.self_attn.o_proj.bias"));
    assert_int_equal(plan.steps[plan_find(&plan, 1, STAGE_ffn_up)].params.matmul.has_bias, 0);
    const struct step *logits = &plan.steps[plan_find(&plan, LAYER_NONE, STAGE_logits)];
    assert_string_equal(logits->weight[0]->name, "lm_head.weight");
    close_plan(&model, &plan);
    folder_doc_free(&doc);
}

/* A family's GGUF gives the same plan as its folder, except for what the file folds into weights. */
static void plans_gguf_gemma3(void **state)
{
    (void)state;
    static struct gguf_doc doc;
    struct model model;
    struct plan plan;
    struct error err;
    char path[512];
    size_t n_header;
    gguf_doc_gemma3(&doc);
    struct buffer file = gguf_doc_bytes(&doc, &n_header);
    scratch_write(scratch_path(path, folder, "model.gguf"), file.bytes, file.size);
    expect_opens(&model, path, "gguf");
    assert_int_equal(plan_build(&plan, &model, &err), STATUS_OK);
    assert_int_equal(plan.n_steps, 7 * 19 + 4);
    check_outside(&plan);
    const struct step *norm = &plan.steps[plan_find(&plan, 5, STAGE_post_ffn_norm)];
    assert_string_equal(norm->weight[0]->stored_name, "blk.5.post_ffw_norm.weight");
    assert_true(norm->params.rms_norm.offset ==
                0); /* the +1 is folded into the weights; adding it again is the bug norm-double-offset */
    assert_int_equal(plan.steps[plan_find(&plan, 5, STAGE_attn_out)].params.attention.window, 0);
    assert_int_equal(plan.steps[plan_find(&plan, 6, STAGE_attn_out)].params.attention.window, 5);
    close_plan(&model, &plan);
    buffer_free(&file);
    gguf_doc_free(&doc);
}

static void copies_and_finds(void **state)
{
    (void)state;
    struct model model;
    struct plan plan, copy;
    char label[64];
    open_plan(&model, &plan, folder_doc_llama);
    plan_copy(&copy, &plan);
    int32_t step = plan_find(&copy, 1, STAGE_attn_out);
    copy.steps[step].variant = VARIANT_KV_STALE;
    assert_int_equal(plan.steps[step].variant, VARIANT_NONE); /* editing the copy leaves the plan as it is */
    assert_ptr_equal(copy.model, &model);
    assert_string_equal(step_label(&copy.steps[step], label), "layer 1 attn_out");
    assert_string_equal(step_label(&copy.steps[0], label), "embed");
    plan_free(&copy);
    assert_int_equal(plan_find(&plan, 0, STAGE_q_norm), -1);
    assert_int_equal(plan_find(&plan, 2, STAGE_q_proj), -1);
    assert_int_equal(plan_find(&plan, LAYER_NONE, STAGE_q_proj), -1);
    assert_int_equal(plan_find(&plan, 0, STAGE_logits), -1);
    assert_int_equal(plan_layer_begin(&plan, 0), 1);
    assert_int_equal(plan_layer_end(&plan, 1), plan.n_steps - 3);
    close_plan(&model, &plan);
}

/* plan_build itself refuses what contradicts the config. */
static void refuses_contradictions(void **state)
{
    (void)state;
    struct model model;
    struct plan plan;
    struct error err;
    open_plan(&model, &plan, folder_doc_llama);
    plan_free(&plan);
    model.config.ffn = 47;
    assert_int_equal(plan_build(&plan, &model, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "model.layers.0.mlp.gate_proj.weight @"));
    assert_non_null(strstr(err.text, "shape [48, 32], expected [47, 32] (intermediate_size, hidden_size)"));
    assert_null(plan.steps);
    model.config.ffn = 48;
    assert_int_equal(plan_build(&plan, &model, &err), STATUS_OK);
    close_plan(&model, &plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plans_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plans_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plans_biases_and_a_head, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plans_gguf_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copies_and_finds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_contradictions, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
