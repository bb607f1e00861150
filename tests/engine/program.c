/* Programs: reflection against the C structs, run-time compilation, and the pipeline cache on disk. */
#include <errno.h>
#include <glslang/Include/glslang_c_interface.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/program/compile.h"
#include "engine/program/embedded_shaders.h"
#include "engine/program/matrix_types.h"
#include "engine/program/reflect.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/scratch.h"

static const struct shader_binary *binary(const char *name)
{
    for (const struct shader_binary *b = shader_binaries; b->name; b++) {
        if (strcmp(b->name, name) == 0) {
            return b;
        }
    }
    fail_msg("no shader %s is built in", name);
    return NULL;
}

static struct program_key add_key(void)
{
    return (struct program_key){
        .shader = "add", .n_bindings = 5, .n_push = sizeof(struct dispatch_params) + sizeof(struct add_params)};
}

static void a_shader_that_fits_is_taken(void **state)
{
    (void)state;
    struct error err;
    struct program_key key = add_key();
    must(reflect_check(&key, binary("add")->words, binary("add")->n_bytes, &err), &err);
}

/* Postmortem 2025-12-17 softmax-uniform-buffer: C and the shader disagreed on the parameters, and nothing reported it.
 */
static void other_push_constants_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct program_key key = add_key();
    key.n_push += 4;
    assert_int_equal(reflect_check(&key, binary("add")->words, binary("add")->n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "push constant bytes: 16 in the shader, 20 expected"));
}

static void other_bindings_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct program_key key = add_key();
    for (uint32_t n = 4; n <= 6; n += 2) {
        key.n_bindings = n;
        assert_int_equal(reflect_check(&key, binary("add")->words, binary("add")->n_bytes, &err), STATUS_BAD_INPUT);
        assert_non_null(strstr(err.text, "storage buffers: 5 in the shader"));
    }
}

static void corrupt_spirv_is_refused(void **state)
{
    (void)state;
    struct error err;
    struct program_key key = add_key();
    const struct shader_binary *b = binary("add");
    uint32_t *words = xmalloc(b->n_bytes);
    memcpy(words, b->words, b->n_bytes);
    words[0] ^= 1; /* the magic number */
    assert_int_equal(reflect_check(&key, words, b->n_bytes, &err), STATUS_BAD_INPUT);
    assert_int_equal(reflect_check(&key, b->words, b->n_bytes - 2, &err), STATUS_BAD_INPUT);
    assert_int_equal(reflect_check(&key, b->words, 40, &err), STATUS_BAD_INPUT);
    assert_int_equal(reflect_check(&key, b->words, 0, &err), STATUS_BAD_INPUT);
    free(words);
}

/* Every shader that libglslang compiles at run time passes the same check as the built one. */
static void every_shader_compiles_at_run_time(void **state)
{
    (void)state;
    struct error err;
    unsigned n = 0;
    assert_true(glslang_initialize_process()); /* keeps the tables of built-in names between the calls */
    for (const struct shader_binary *b = shader_binaries; b->name; b++, n++) {
        for (uint32_t variant = 0; variant < VARIANT_COUNT; variant++) {
            uint32_t *words = NULL;
            size_t n_bytes = 0;
            must(shader_compile(b->name, variant, NULL, &words, &n_bytes, &err), &err);
            assert_true(n_bytes > 100);
            if (strcmp(b->name, "add") == 0) {
                struct program_key key = add_key();
                must(reflect_check(&key, words, n_bytes, &err), &err);
            }
            free(words);
        }
    }
    glslang_finalize_process();
    assert_true(n >= OP_COUNT);
}

static uint32_t *compiled(enum op op, uint32_t variant, size_t *n_bytes)
{
    struct error err;
    uint32_t *words = NULL;
    must(shader_compile(op_info(op)->name, variant, NULL, &words, n_bytes, &err), &err);
    return words;
}

/* A variant's row without an #ifdef in its op's shader would be the right formula. The twin: variants of other ops
 * change nothing. */
static void every_variant_is_in_its_shader(void **state)
{
    (void)state;
    assert_true(glslang_initialize_process());
    for (enum op op = 0; op < OP_COUNT; op++) {
        uint32_t foreign = variant_info(VARIANT_COPY)->op == op ? VARIANT_TRANSPOSE_B : VARIANT_COPY;
        size_t n_right, n_bytes;
        uint32_t *right = compiled(op, foreign, &n_right);
        for (uint32_t variant = VARIANT_NONE + 1; variant < VARIANT_COUNT; variant++) {
            const struct variant_info *info = variant_info(variant);
            uint32_t *words = compiled(op, variant, &n_bytes);
            bool same = n_bytes == n_right && memcmp(words, right, n_bytes) == 0;
            if (same == (info->op == op || info->op == OP_COUNT)) {
                fail_msg("VARIANT_%s %s the shader of %s", info->name, same ? "leaves" : "changes", op_info(op)->name);
            }
            free(words);
        }
        free(right);
    }
    glslang_finalize_process();
}

/* Instructions of one opcode; with `at`, where the first is. */
static unsigned count_ops(const uint32_t *words, size_t n_bytes, uint32_t opcode, size_t *at)
{
    unsigned n = 0;
    for (size_t i = 5; i < n_bytes / 4; i += words[i] >> 16) {
        assert_true(words[i] >> 16 > 0);
        if ((words[i] & 0xffff) != opcode) {
            continue;
        }
        if (at && n == 0) {
            *at = i;
        }
        n++;
    }
    return n;
}

/* Whether float type `id` of `width` bits is declared before word `before`. */
static bool declares_float(const uint32_t *words, size_t before, uint32_t id, uint32_t width)
{
    for (size_t i = 5; i < before; i += words[i] >> 16) {
        if ((words[i] & 0xffff) == 22 && words[i + 1] == id) {
            return words[i + 2] == width;
        }
    }
    return false;
}

/* The SPIR-V of matmul_coop with its types resolved, from the build or compiled now. */
static uint32_t *resolved(bool now, size_t *n_bytes)
{
    struct error err;
    uint32_t *words = NULL;
    if (now) {
        must(shader_compile("matmul_coop", 0, NULL, &words, n_bytes, &err), &err);
    } else {
        *n_bytes = binary("matmul_coop")->n_bytes;
        words = xmalloc(*n_bytes);
        memcpy(words, binary("matmul_coop")->words, *n_bytes);
    }
    must(matrix_types_resolve("matmul_coop", &words, n_bytes, &err), &err);
    return words;
}

/* The component of every matrix is a float type that is declared before it. Each width is declared once. */
static void types_of_matrices_are_finished(void **state)
{
    (void)state;
    for (int now = 0; now < 2; now++) {
        size_t n_bytes;
        uint32_t *words = resolved(now, &n_bytes), uses[3] = {0};
        for (size_t i = 5; i < n_bytes / 4; i += words[i] >> 16) {
            if ((words[i] & 0xffff) == 22) {
                assert_int_equal(declares_float(words, i, words[i + 1], words[i + 2]), 0);
            }
            if ((words[i] & 0xffff) != 4456) {
                continue;
            }
            uint32_t width = declares_float(words, i, words[i + 2], 16) ? 16 : 32;
            assert_true(declares_float(words, i, words[i + 2], width));
            uses[width == 32 ? 2 : uses[0] ? 1 : 0]++;
        }
        assert_true(uses[0] == 1 && uses[1] == 1 && uses[2] == 1);
        assert_int_equal(count_ops(words, n_bytes, 22, NULL), 2);
        free(words);
    }
    /* The twin: as the compiler wrote it, no component is a type yet. */
    size_t at = 0;
    const struct shader_binary *b = binary("matmul_coop");
    assert_int_equal(count_ops(b->words, b->n_bytes, 4456, &at), 3);
    assert_false(declares_float(b->words, at, b->words[at + 2], 16) ||
                 declares_float(b->words, at, b->words[at + 2], 32));
}

/* The kernels for the two extensions have the same loads, stores and products. */
static void both_kernels_of_matrices_do_the_same(void **state)
{
    (void)state;
    static const uint32_t khr[] = {4457, 4458, 4459, 224, 65}, nv[] = {5359, 5360, 5361, 224, 65};
    size_t n_bytes;
    uint32_t *words = resolved(false, &n_bytes);
    const struct shader_binary *other = binary("matmul_coop_nv");
    for (unsigned i = 0; i < 5; i++) {
        unsigned n = count_ops(words, n_bytes, khr[i], NULL);
        assert_true(n > 0);
        assert_int_equal(n, count_ops(other->words, other->n_bytes, nv[i], NULL));
    }
    assert_int_not_equal(count_ops(words, n_bytes, 65, NULL),
                         count_ops(binary("matmul_tile")->words, binary("matmul_tile")->n_bytes, 65, NULL));
    free(words);
}

/* Modules that end inside an instruction or have matrices of other floats are refused. One without matrices stays as it
 * is. */
static void unsound_matrices_are_refused(void **state)
{
    (void)state;
    struct error err;
    const struct shader_binary *b = binary("matmul_coop");
    size_t at = 0;
    count_ops(b->words, b->n_bytes, 4456, &at);
    const struct {
        size_t word, n_bytes;
        uint32_t value;
    } cases[] = {
        {at + 2, b->n_bytes, 24},               /* a width of 24 bits */
        {at, b->n_bytes, 3u << 16 | 4456},      /* too short for a matrix */
        {at, b->n_bytes, 4456},                 /* a length of 0 words */
        {at, b->n_bytes, 0xffffu << 16 | 4456}, /* ends behind the module's end */
        {0, 16, b->words[0]},
        {0, (at + 3) * 4, b->words[0]}, /* the module ends inside a type */
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n_bytes = cases[i].n_bytes;
        uint32_t *words = xmalloc(n_bytes);
        memcpy(words, b->words, n_bytes);
        words[cases[i].word] = cases[i].value;
        assert_int_equal(matrix_types_resolve("matmul_coop", &words, &n_bytes, &err), STATUS_BAD_INPUT);
        free(words);
    }
    const struct shader_binary *add = binary("add");
    size_t n_bytes = add->n_bytes;
    uint32_t *words = xmalloc(n_bytes);
    memcpy(words, add->words, n_bytes);
    must(matrix_types_resolve("add", &words, &n_bytes, &err), &err);
    assert_int_equal(n_bytes, add->n_bytes);
    assert_memory_equal(words, add->words, n_bytes);
    free(words);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[512];
    scratch_write(scratch_path(path, folder, name), text, strlen(text));
}

static void compile_errors_name_file_and_line(void **state)
{
    (void)state;
    struct error err;
    uint32_t *words = NULL;
    size_t n_bytes = 0;
    char folder[256];
    scratch_make(folder);
    write_text(
        folder, "broken.comp",
        "#version 450\n#extension GL_GOOGLE_include_directive : require\n#include \"part.glsl\"\nvoid main()\n{\n"
        "    undeclared = 1;\n}\n");
    write_text(folder, "part.glsl", "layout(local_size_x = 1) in;\n\n");
    assert_int_equal(shader_compile("broken", 0, folder, &words, &n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "broken.comp:6:"));
    assert_non_null(strstr(err.text, "undeclared"));

    write_text(folder, "part.glsl", "layout(local_size_x = 1) in;\n\nfloat f() { return nothing; }\n");
    assert_int_equal(shader_compile("broken", 0, folder, &words, &n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "part.glsl:3:"));

    write_text(folder, "part.glsl", "#include \"part.glsl\"\n");
    assert_int_equal(shader_compile("broken", 0, folder, &words, &n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "nest deeper"));

    write_text(folder, "broken.comp",
               "#version 450\n#extension GL_GOOGLE_include_directive : require\n#include \"gone.glsl\"\n");
    assert_int_equal(shader_compile("broken", 0, folder, &words, &n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "gone.glsl"));
    assert_int_equal(shader_compile("missing", 0, folder, &words, &n_bytes, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "missing.comp"));
    assert_null(words);
    scratch_remove(folder);
}

/* A plan of one addition. */
static void plan_of_one_addition(struct fixture *f)
{
    fixture_init(f, 4);
    int32_t a = (int32_t)fixture_input(f, 33), b = (int32_t)fixture_input(f, 33);
    uint32_t step = fixture_step(f, OP_add, 33, (union step_params){.add = {33}});
    f->plan.steps[step].input[0] = a;
    f->plan.steps[step].input[1] = b;
}

/* options.shader_dir: an edited shader runs. */
static void shaders_of_a_folder_are_used(void **state)
{
    (void)state;
    char folder[256];
    scratch_make(folder);
    for (const struct shader_text *text = shader_texts; text->name; text++) {
        write_text(folder, text->name, text->text);
    }
    for (int edited = 0; edited < 2; edited++) {
        struct fixture f;
        struct error err;
        plan_of_one_addition(&f);
        if (edited) {
            const struct shader_text *add = shader_texts;
            while (strcmp(add->name, "add.comp") != 0) {
                add++;
            }
            char *text = strdup(add->text), *plus = strstr(text, "residual[at] + branch[at]");
            assert_non_null(plus);
            plus[strlen("residual[at] ")] = '-';
            write_text(folder, "add.comp", text);
            free(text);
        }
        struct engine_options options = {.max_positions = 4, .validation = true, .shader_dir = folder};
        must(engine_open(&f.engine, &f.plan, &options, &err), &err);
        fixture_begin(&f, 0, 1, true);
        float *rows = fixture_run(&f, 2, 1);
        assert_true((fixture_ratio(&f, &f.plan.steps[2], rows, 0, 1, true) > 1) == (edited == 1));
        free(rows);
        fixture_close(&f);
    }
    scratch_remove(folder);
}

static long cache_file(const char *home, char path[1024])
{
    char command[512];
    snprintf(command, sizeof(command), "ls %s/lockstep/pipelines-*", home);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    path[0] = '\0';
    (void)!fgets(path, 1024, list);
    pclose(list);
    path[strcspn(path, "\n")] = '\0';
    struct stat info;
    return stat(path, &info) == 0 ? (long)info.st_size : -1;
}

/* A damaged or truncated cache counts as empty, and is replaced. */
static void a_corrupt_pipeline_cache_is_ignored(void **state)
{
    (void)state;
    char home[256], path[1024];
    scratch_make(home);
    setenv("XDG_CACHE_HOME", home, 1);
    long size = 0;
    for (int round = 0; round < 4; round++) {
        struct fixture f;
        plan_of_one_addition(&f);
        fixture_open(&f, &(struct engine_limits){0}, false);
        fixture_check(&f, 0, 1, true);
        fixture_close(&f);
        long now = cache_file(home, path);
        assert_true(now > 24);
        assert_true(size == 0 || now == size);
        size = now;
        if (round == 0) {
            write_text("/", path + 1, "not a cache");
        }
        if (round == 1) {
            assert_int_equal(truncate(path, size - 1), 0);
        }
        if (round == 2) {
            FILE *file = fopen(path, "r+");
            assert_non_null(file);
            assert_int_equal(fseek(file, size - 1, SEEK_SET), 0);
            assert_true(fputc(0x5a, file) == 0x5a);
            assert_int_equal(fclose(file), 0);
        }
    }
    /* Without a folder to write to, there is no cache and no error. */
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
    struct fixture f;
    plan_of_one_addition(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    fixture_check(&f, 0, 1, true);
    fixture_close(&f);
    unsetenv("XDG_CACHE_HOME");
    scratch_remove(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shader_that_fits_is_taken),       cmocka_unit_test(other_push_constants_are_refused),
        cmocka_unit_test(other_bindings_are_refused),        cmocka_unit_test(corrupt_spirv_is_refused),
        cmocka_unit_test(every_shader_compiles_at_run_time), cmocka_unit_test(every_variant_is_in_its_shader),
        cmocka_unit_test(types_of_matrices_are_finished),    cmocka_unit_test(both_kernels_of_matrices_do_the_same),
        cmocka_unit_test(unsound_matrices_are_refused),      cmocka_unit_test(compile_errors_name_file_and_line),
        cmocka_unit_test(shaders_of_a_folder_are_used),      cmocka_unit_test(a_corrupt_pipeline_cache_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
