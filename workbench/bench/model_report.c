/* The result of bench MODEL, for people and as JSON. */
#include <stdio.h>

#include "workbench/bench/model_bench.h"
#include "workbench/report/provenance.h"
#include "workbench/trace/json_file.h"

static double rate(double n, double ms)
{
    return ms > 0 ? n / ms * 1e3 : 0;
}

/* The positions that the middle one of the decoded tokens sees. */
static uint32_t middle_position(const struct model_bench *bench)
{
    return bench->n_prompt + bench->n_decoded / 2 + 1;
}

/* Bytes read to decode that token. */
static double bytes_per_token(const struct model_bench *bench)
{
    return (double)bench->costs.weight_bytes + (double)bench->costs.cache_bytes * middle_position(bench);
}

static double bandwidth_share(const struct model_bench *bench)
{
    double per_second = rate(bytes_per_token(bench), bench->median_ms);
    return bench->bandwidth > 0 ? per_second / bench->bandwidth : 0;
}

static const char *const way_names[N_DECODE_WAYS] = {"to host", "on device", "many a submit", "streamed"};

static void print_capture_cost(const struct capture_cost *cost)
{
    for (int way = 0; way < N_DECODE_WAYS; way++) {
        printf("capture  %-14s %8.3f ms a token with all stages captured, %.3f without: %.3f times\n", way_names[way],
               cost->all_ms[way], cost->off_ms[way], cost->all_ms[way] / cost->off_ms[way]);
    }
}

static json_t *capture_cost_json(const struct capture_cost *cost)
{
    static const char *const keys[N_DECODE_WAYS] = {"to_host", "chosen_on_device", "many_a_submit", "streamed"};
    json_t *root = json_object();
    for (int way = 0; way < N_DECODE_WAYS; way++) {
        json_t *one = json_object();
        json_put(one, "all_ms", json_real(cost->all_ms[way]));
        json_put(one, "off_ms", json_real(cost->off_ms[way]));
        json_put(one, "ratio", json_real(cost->all_ms[way] / cost->off_ms[way]));
        json_put(root, keys[way], one);
    }
    json_put(root, "tokens_a_submit", json_integer(ENGINE_TOKENS_A_SUBMIT));
    return root;
}

/* The choices of --kernel: "q_proj=matvec ffn_down=matvec"; or as JSON, NULL if there are none. */
static void print_kernels(const struct model_bench *bench)
{
    const struct kernel_choices *chosen = engine_chosen_kernels(&bench->session.backend[SOURCE_ENGINE]);
    bool any = false;
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        if (chosen->of_stage[stage] != KERNEL_AUTO) {
            printf("%s%s=%s", any ? " " : "kernels  ", stage_name((enum stage)stage),
                   stage_kernel_name(chosen->of_stage[stage]));
            any = true;
        }
    }
    printf(any ? "\n" : "");
}

static json_t *kernels_json(const struct model_bench *bench)
{
    const struct kernel_choices *chosen = engine_chosen_kernels(&bench->session.backend[SOURCE_ENGINE]);
    json_t *root = NULL;
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        if (chosen->of_stage[stage] != KERNEL_AUTO) {
            root = root == NULL ? json_object() : root;
            json_put(root, stage_name((enum stage)stage), json_text(stage_kernel_name(chosen->of_stage[stage])));
        }
    }
    return root;
}

void model_bench_print(const struct model_bench *bench, const char *capture)
{
    if (bench->prefill_ops.measured) {
        op_times_print(&bench->prefill_ops, "prefill");
    }
    if (bench->decode_ops.measured) {
        op_times_print(&bench->decode_ops, "decode");
        op_table_print(&bench->decode_ops, &bench->session.plan, bench->bandwidth, middle_position(bench));
    }
    printf("prefill  %u tokens in %.2f ms, %.1f tok/s; first token after %.2f ms\n", bench->n_prompt, bench->prefill_ms,
           rate(bench->n_prompt, bench->prefill_ms), bench->ttft_ms);
    printf("decode   %u tokens, %.3f ms a token (median; min %.3f; processor %.3f), %.1f tok/s, capture %s\n",
           bench->n_decoded, bench->median_ms, bench->min_ms, bench->cpu_ms, rate(1, bench->median_ms), capture);
    if (bench->source == SOURCE_ENGINE) {
        print_kernels(bench);
        printf("a token  %u dispatches, %u barriers, %u submits, %.1f MB read, %.2f MB copied to the host\n",
               bench->costs.dispatches, bench->costs.barriers, bench->submits, bytes_per_token(bench) / 1e6,
               (double)bench->costs.readback_bytes / 1e6);
        printf("memory   read bandwidth %.1f GB/s, decoding uses %.0f%% of it; peak %.1f MB\n", bench->bandwidth / 1e9,
               bandwidth_share(bench) * 100, (double)bench->costs.memory_bytes / 1e6);
    }
    if (bench->many_a_submit_ms > 0) {
        printf("device   tokens chosen on it: %.3f ms a token at 1 a submit, %.3f at %u\n", bench->chosen_on_device_ms,
               bench->many_a_submit_ms, ENGINE_TOKENS_A_SUBMIT);
    }
    if (bench->compares_capture) {
        print_capture_cost(&bench->capture_cost);
    }
    printf("quality  %s%s%s\n", bench->reason[0] ? "NOT OK: " : "ok: ", bench->reason[0] ? bench->reason : "",
           bench->reason[0] ? "" : bench->checked);
}

static json_t *decode_json(const struct model_bench *bench)
{
    json_t *decode = json_object(), *ms = json_object();
    json_put(ms, "median", json_real(bench->median_ms));
    json_put(ms, "min", json_real(bench->min_ms));
    json_put(decode, "tokens", json_integer(bench->n_decoded));
    json_put(decode, "tok_s", json_real(rate(1, bench->median_ms)));
    json_put(decode, "ms_per_token", ms);
    json_put(decode, "cpu_ms_per_token", json_real(bench->cpu_ms));
    if (bench->many_a_submit_ms > 0) {
        json_put(decode, "chosen_on_device_ms", json_real(bench->chosen_on_device_ms));
        json_put(decode, "many_a_submit_ms", json_real(bench->many_a_submit_ms));
    }
    return decode;
}

/* What the files hold: digest, types of tensors, numbers of tensors and files. */
static json_t *model_info(const struct model *model)
{
    char weights[65], config[65];
    uint32_t n_of[DTYPE_COUNT] = {0};
    json_t *object = json_object(), *types = json_object();
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        n_of[model->tensors[i].dtype]++;
    }
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        if (n_of[dtype] > 0) {
            json_put(types, dtype_info(dtype)->name, json_integer(n_of[dtype]));
        }
    }
    bool known = model_digests(model, weights, config, NULL) == STATUS_OK;
    json_put(object, "model_type", json_string(model->config.model_type));
    json_put(object, "sha256", known ? json_string(weights) : json_null());
    json_put(object, "quantisation", json_string(model->weights_dtype));
    json_put(object, "tensors", json_integer(model->n_tensors));
    json_put(object, "tensors_of", types);
    json_put(object, "shards", json_integer(model_n_files(model)));
    return object;
}

json_t *bench_device_json(const struct device_info *device)
{
    json_t *object = json_object();
    json_put(object, "type", json_string(device->type));
    json_put(object, "vulkan", json_string(device->api));
    json_put(object, "memory_bytes", json_integer((json_int_t)device->memory));
    json_put(object, "subgroup", json_integer(device->subgroup));
    return object;
}

json_t *model_bench_json(const struct model_bench *bench, const char *model, const char *capture)
{
    bool engine = bench->source == SOURCE_ENGINE;
    const struct device_info *device = engine ? engine_device(&bench->session.backend[SOURCE_ENGINE]) : NULL;
    json_t *root = json_object(), *prefill = json_object(), *quality = json_object(), *reasons = json_array();
    json_put(root, "format", json_text("lockstep-bench"));
    json_put(root, "version", json_integer(1));
    json_put(root, "on", json_text(source_name(bench->source)));
    json_put(root, "device", json_text(engine ? device->name : "host"));
    json_put(root, "driver", json_text(engine ? device->driver : "none"));
    json_put(root, "device_features", engine ? bench_device_json(device) : json_null());
    json_put(root, "model", json_text(model));
    json_put(root, "model_info", model_info(&bench->session.model));
    json_put(root, "prompt", json_string("made-up tokens"));
    json_put(prefill, "tokens", json_integer(bench->n_prompt));
    json_put(prefill, "ms", json_real(bench->prefill_ms));
    json_put(prefill, "tok_s", json_real(rate(bench->n_prompt, bench->prefill_ms)));
    json_put(root, "prefill", prefill);
    json_put(root, "ttft_ms", json_real(bench->ttft_ms));
    json_put(root, "decode", decode_json(bench));
    json_put(root, "dispatches_per_token", json_integer(bench->costs.dispatches));
    json_put(root, "barriers_per_token", json_integer(bench->costs.barriers));
    json_put(root, "submits_per_token", json_integer(bench->submits));
    json_put(root, "bytes_per_token", json_integer((json_int_t)bytes_per_token(bench)));
    json_put(root, "read_bandwidth", json_real(bench->bandwidth));
    json_put(root, "read_bandwidth_share", json_real(bandwidth_share(bench)));
    json_put(root, "readback_bytes_per_token", json_integer((json_int_t)bench->costs.readback_bytes));
    json_put(root, "file_bytes", json_integer((json_int_t)model_n_bytes(&bench->session.model)));
    json_put(root, "kv_bytes",
             json_integer((json_int_t)bench->costs.cache_bytes * (bench->n_prompt + bench->n_decoded)));
    json_put(root, "load_ms", json_real(bench->load_ms));
    json_put(root, "peak_memory_bytes", json_integer((json_int_t)bench->costs.memory_bytes));
    json_put(root, "capture", json_text(capture));
    json_t *kernels = engine ? kernels_json(bench) : NULL;
    if (kernels != NULL) {
        json_put(root, "chosen_kernels", kernels);
    }
    if (bench->compares_capture) {
        json_put(root, "captured", capture_cost_json(&bench->capture_cost));
    }
    if (bench->prefill_ops.measured) {
        json_put(root, "prefill_ops_us", op_times_json(&bench->prefill_ops));
    }
    if (bench->decode_ops.measured) {
        json_put(root, "decode_ops_us", op_times_json(&bench->decode_ops));
        json_put(root, "decode_operations",
                 op_table_json(&bench->decode_ops, &bench->session.plan, bench->bandwidth, middle_position(bench)));
    }
    if (bench->reason[0]) {
        json_push(reasons, json_text(bench->reason));
    }
    json_put(quality, "ok", json_boolean(!bench->reason[0]));
    json_put(quality, "reasons", reasons);
    json_put(quality, "checked", json_text(bench->checked));
    json_put(root, "quality", quality);
    json_put(root, "provenance", provenance_run());
    return root;
}
