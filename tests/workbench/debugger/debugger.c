/* The prompt on both sides, by scripts and on a pseudo-terminal: going back, breakpoints, faults, patches, probes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define GEMMA "golden/tiny-gemma3"

SCRATCH_FIXTURE

/* Runs a script on both sides. option and value: one more option, or NULL. */
static void run_script(struct outcome *outcome, const char *script, const char *option, const char *value)
{
    char path[512];
    scratch_write(scratch_path(path, folder, "script"), script, strlen(script));
    const char *const arguments[] = {"debug", GEMMA, "--golden", GEMMA ".h5", "-x", path, option, value, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

static int compare(const char *a, const char *b)
{
    struct outcome outcome;
    const char *const arguments[] = {"compare", a, b, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    int status = outcome.status;
    outcome_free(&outcome);
    return status;
}

/* After a hundred moves back and forth, by op, layer and token, every stage of both sides has the same bits as in a
 * straight run. The twin: with a patch it has not. */
static void back_and_forth_changes_no_bit(void **state)
{
    (void)state;
    static const char *const moves[] = {"back op 7",    "step op 3",       "back layer 1", "step layer 4",
                                        "back layer",   "goto 2.q_rope 3", "step token",   "step token",
                                        "back token 1", "step layer 2",    "back op 40",   "goto 5.ffn_act 11"};
    char a[512], b[512], c[512], tail[4096], script[16384] = "step token\nstep layer 2\n";
    for (int i = 0; i < 100; i++) {
        strcat(strcat(script, moves[(size_t)i % (sizeof(moves) / sizeof(moves[0]))]), "\n");
    }
    scratch_path(a, folder, "a.h5");
    scratch_path(b, folder, "b.h5");
    scratch_path(c, folder, "c.h5");
    snprintf(tail, sizeof(tail),
             "continue\ndump %s\ndump %s.ref from reference\nrun\ndump %s\ndump %s.ref from reference\n"
             "back token 4\npatch ffn_down@2 scale 1.5\ncontinue\ndump %s\n",
             a, a, b, b, c);
    strcat(script, tail);
    struct outcome outcome;
    run_script(&outcome, script, NULL, NULL);
    assert_string_equal(outcome.err, "");
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "118 stages of 16 positions, of the engine");
    outcome_free(&outcome);
    assert_int_equal(compare(a, b), 0);
    assert_int_equal(compare(b, c), 1);
    strcat(a, ".ref");
    strcat(b, ".ref");
    assert_int_equal(compare(a, b), 0);
}

/* A breakpoint stops right after its stage, if its condition holds. */
static void breakpoints_stop(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome,
               "break 3.q_norm if maxabs > 0.1\nbreak 1.ffn_down if maxabs>1e9\nbreak 2.v_proj if nan\n"
               "info breakpoints\nrun\nwhere\ndelete 1\ncontinue\n",
               NULL, NULL);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "2: layer 1 ffn_down if maxabs>1e+09");
    expect_text(outcome.out, "breakpoint 1 (layer 3 q_norm if maxabs>0.1) after layer 3 q_norm");
    expect_text(outcome.out, "63 of 118 stages ran; next is layer 3 k_norm");
    expect_no_text(outcome.out, "breakpoint 2 (");
    expect_text(outcome.out, "the run is over");
    outcome_free(&outcome);
}

/* A fault is planted and taken out during a run, before and after going back. */
static void faults_come_and_go(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome,
               "step layer 1\nuntil diverge\nback token\nfault on qk-norm-no-offset@3\nuntil diverge\nwhere\ndiagnose\n"
               "back layer 2\nfault off qk-norm-no-offset@3\nstep layer 5\nfirst\nshow\n",
               NULL, NULL);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "no step introduced an error\n");
    expect_text(outcome.out, "diverged: engine, layer 3 q_norm, token 15, outlier engine");
    expect_text(outcome.out, "qk-norm-no-offset (reproduced)");
    expect_text(strstr(outcome.out, "dbg> first"), "no step introduced an error so far");
    expect_text(outcome.out, "faults   none");
    outcome_free(&outcome);
}

/* fault off NAME takes a fault out, unless two are planted by that name. */
static void a_fault_goes_by_its_name(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome, "fault on weight-spike@1\nfault off weight-spike\n", NULL, NULL);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "weight-spike@1 is taken out, from here on");
    outcome_free(&outcome);
    run_script(&outcome, "fault on weight-spike@1\nfault on weight-spike@2\nfault off weight-spike\n", NULL, NULL);
    expect_one_line(outcome.err, "weight-spike is planted more than once, expected one of those that are: "
                                 "weight-spike@1, weight-spike@2");
    outcome_free(&outcome);
    run_script(&outcome, "fault off weight-spike\n", NULL, NULL);
    expect_one_line(outcome.err, "weight-spike is not planted, expected one of those that are: none");
    outcome_free(&outcome);
}

/* diagnose prints the first error's symptoms and what to try next, as `diff` does. The twins: another error has another
 * next step; before the logits ran there is no symptom; a healthy run has neither. */
static void diagnose_tells_how_to_go_on(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *next;
        bool symptom;
    } rows[] = {{"embed-scale-missing", "try next: check the token ids, the scale of the embedding", true},
                {"qk-norm-no-offset@3", "try next: check the norm's offset", false}};
    static const char symptom[] = "triage-wrong-token-probabilities (consistent)";
    struct outcome outcome, diff;
    for (int i = 0; i < 2; i++) {
        const char *const arguments[] = {"diff",    GEMMA,         "--golden", GEMMA ".h5",
                                         "--fault", rows[i].fault, "--all",    NULL};
        run_script(&outcome, "continue\ndiagnose\n", "--fault", rows[i].fault);
        program_run(&diff, LOCKSTEP_PROGRAM, "", arguments);
        expect_text(outcome.out, rows[i].next);
        expect_no_text(outcome.out, rows[1 - i].next);
        expect_text(diff.out, rows[i].next + strlen("try next: "));
        assert_true((strstr(outcome.out, symptom) != NULL) == rows[i].symptom);
        assert_true((strstr(diff.out, symptom) != NULL) == rows[i].symptom);
        outcome_free(&diff);
        outcome_free(&outcome);
    }
    run_script(&outcome, "step op 2\ndiagnose\n", "--fault", rows[0].fault);
    expect_text(outcome.out, rows[0].next);
    expect_no_text(outcome.out, "triage-");
    outcome_free(&outcome);
    run_script(&outcome, "continue\ndiagnose\n", NULL, NULL);
    expect_text(outcome.out, "no step introduced an error so far");
    expect_no_text(outcome.out, "try next");
    outcome_free(&outcome);
}

/* Copies the PROBE lines of a text into lines[], each up to the engine's value. */
static void probe_lines(const char *text, char *lines)
{
    lines[0] = '\0';
    for (const char *at = strstr(text, "PROBE "); at != NULL; at = strstr(at + 1, "PROBE ")) {
        const char *value = strstr(at, "engine=");
        size_t length = (size_t)(value - at) + strcspn(value, " \n");
        strncat(strcat(lines, "\n"), at, length);
    }
}

/* A probe prints the same whether the batch runs as a whole (`run`) or op by op (`step`). */
static void probes_see_the_batch(void **state)
{
    (void)state;
    static const char *const wrappers[] = {"%s", "{\"runtime\": %s}", "{\"runtime\": {\"shared\": %s}}"};
    static const char config[] =
        "{\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"ffn\", \"logits\"]}, "
        "\"probes\": [{\"id\": \"dim34\", \"stage\": \"layer_out\", \"layers\": [0, 2, 5], "
        "\"tokens\": [0, -1], \"dims\": [34]}, {\"id\": \"topk\", \"stage\": \"logits_final\", "
        "\"tokens\": [-1], \"dims\": [476, 386]}]}}";
    char text[1024], path[512], batched[8192] = "", single[8192];
    scratch_path(path, folder, "config.json");
    struct outcome outcome;
    for (int i = 0; i < 3; i++) {
        char lines[8192];
        snprintf(text, sizeof(text), wrappers[i], config);
        scratch_write(path, text, strlen(text));
        const char *const run[] = {"run",      GEMMA, "--ids", "3,17,99,204,5,61,300,7,42,11", "-n", "1",
                                   "--config", path,  NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_int_equal(outcome.status, 0);
        assert_string_equal(outcome.err, "");
        expect_text(outcome.out, "Config model=");
        expect_text(outcome.out, "LAYER_OUT layer=5 token=9 maxAbs=");
        expect_text(outcome.out, "FINAL_HIDDEN token=9");
        expect_text(outcome.out, "TRACE:ffn layer=0 stage=ffn_norm");
        expect_no_text(outcome.out, "TRACE:attn");
        expect_no_text(outcome.out, "ANOMALY");
        expect_text(outcome.out, "\nDone\n");
        probe_lines(outcome.out, lines);
        assert_true(i == 0 || strcmp(lines, batched) == 0);
        strcpy(batched, lines);
        outcome_free(&outcome);
    }
    expect_text(batched, "PROBE id=dim34 layer=2 token=0 dim=34 engine=");
    expect_text(batched, "PROBE id=topk token=9 dim=476 engine=");
    run_script(&outcome, "step 118\n", "--config", path);
    assert_int_equal(outcome.status, 0);
    probe_lines(outcome.out, single);
    expect_text(outcome.out, " golden=");
    assert_string_equal(batched, single);
    outcome_free(&outcome);
}

/* The number after "readback_bytes_per_token=". */
static long readback_bytes(const char *out)
{
    const char *at = strstr(out, "readback_bytes_per_token=");
    assert_non_null(at);
    return atol(at + strlen("readback_bytes_per_token="));
}

/* With checkpoint layers fewer stages are copied to the host; those that are copied are the same. */
static void checkpoints_alone_are_read_back(void **state)
{
    (void)state;
    static const char *const configs[] = {
        "{\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"ffn\", \"buffers\"]}}}",
        "{\"debug\": {\"layers\": [1], \"trace\": {\"enabled\": true, \"categories\": [\"ffn\", \"buffers\"]}}}",
    };
    char path[512], line[2][256];
    long bytes[2];
    scratch_path(path, folder, "config.json");
    for (int i = 0; i < 2; i++) {
        struct outcome outcome;
        scratch_write(path, configs[i], strlen(configs[i]));
        const char *const run[] = {"run", GEMMA, "--ids", "3,17,99", "-n", "3", "--config", path, NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_string_equal(outcome.err, "");
        assert_int_equal(outcome.status, 0);
        bytes[i] = readback_bytes(outcome.out);
        const char *at = strstr(outcome.out, "LAYER_OUT layer=1 token=3");
        assert_non_null(at);
        snprintf(line[i], sizeof(line[i]), "%.*s", (int)strcspn(at, "\n"), at);
        assert_int_equal(strstr(outcome.out, "LAYER_OUT layer=2 ") == NULL, i == 1);
        expect_text(outcome.out, i == 0 ? "stages=118 of=118" : "stages=23 of=118");
        outcome_free(&outcome);
    }
    assert_string_equal(line[0], line[1]);
    assert_true(bytes[1] < bytes[0] * 2 / 3);
}

/* A wrong key or value is refused by name; keys beside "debug" cause a note. */
static void wrong_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        int status;
    } rows[] = {
        {"{\"debug\": {\"probes\": [{\"stage\": \"layer_out\", \"dims\": [334]}]}}", "debug.probes.dims: 334", 3},
        {"{\"debug\": {\"probes\": [{\"stage\": \"layer_out\", \"layers\": [17]}]}}", "debug.probes.layers: 17", 3},
        {"{\"debug\": {\"probes\": [{\"stage\": \"weather\"}]}}", "\"weather\"", 3},
        {"{\"debug\": {\"probes\": [{\"stage\": \"embed\", \"colour\": 1}]}}",
         "unknown key \"colour\", expected one of: id, stage, layers, tokens, dims", 3},
        {"{\"debug\": {\"trace\": {\"categories\": [\"weather\"]}}}", "\"weather\"", 3},
        {"{\"debug\": {\"layers\": [6]}}", "debug.layers: 6", 3},
        {"{\"debug\": {\"logLevel\": {\"defaultLogLevel\": \"loud\"}}}", "\"loud\"", 3},
        {"{\"debug\": ", "JSON @", 3},
        {"{\"runtime\": {\"inference\": 1, \"debug\": {}}}", "note:", 0},
    };
    char path[512];
    scratch_path(path, folder, "config.json");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        scratch_write(path, rows[i].text, strlen(rows[i].text));
        const char *const run[] = {"run", GEMMA, "--ids", "3", "-n", "1", "--on", "reference", "--config", path, NULL};
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_int_equal(outcome.status, rows[i].status);
        expect_one_line(outcome.err, rows[i].message);
        outcome_free(&outcome);
    }
}

/* What each preset prints, from the command line and at the prompt. A preset whose probes lie past a small vocabulary
 * is refused. */
static void presets(void **state)
{
    (void)state;
    static const struct {
        const char *preset, *there, *absent;
    } rows[] = {
        {"bench", "Config model=", "TRACE:"},
        {"debug", "TRACE:attn layer=0 stage=q_proj", "TRACE:weather"},
        {"debug", "LAYER_OUT layer=5 token=2 maxAbs=", "PROBE"},
        {"debug", "TRACE:sample token=2 id=", "ANOMALY"},
    };
    struct outcome outcome;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const run[] = {"run", GEMMA, "--ids", "3,17,99", "-n", "1", "--preset", rows[i].preset, NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_int_equal(outcome.status, 0);
        expect_text(outcome.out, rows[i].there);
        expect_no_text(outcome.out, rows[i].absent);
        expect_text(outcome.out, "\nDone\n");
        outcome_free(&outcome);
    }
    /* A preset is for several models: the dims that this one lacks are named, and the others are probed. */
    static const char *const named[] = {"gemma2-debug", "weather"};
    static const char *const messages[] = {"without 3868, 17022: the others are probed", "\"weather\", expected"};
    for (int i = 0; i < 2; i++) {
        const char *const run[] = {"run", GEMMA, "--ids", "3", "-n", "1", "--preset", named[i], NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_int_equal(outcome.status, i == 0 ? 0 : 2);
        expect_one_line(outcome.err, messages[i]);
        outcome_free(&outcome);
    }
    run_script(&outcome, "set preset debug\nstep 3\nset preset bench\nstep 3\nset preset weather\n", NULL, NULL);
    assert_int_equal(outcome.status, 2);
    expect_text(outcome.out, "TRACE:attn layer=0 stage=q_proj");
    expect_no_text(outcome.out, "TRACE:attn layer=0 stage=k_proj op");
    expect_no_text(outcome.out, "stage=k_norm");
    outcome_free(&outcome);
}

/* A residual that grows tenfold in two successive layers is an explosion; one such jump, or two of 1.5, is none. */
static void anomalies(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool found;
    } rows[] = {{"100", "100", true}, {"100", "1", false}, {"1.5", "1.5", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char script[512], path[512];
        snprintf(script, sizeof(script), "patch layer_out@1 scale %s\npatch layer_out@2 scale %s\nstep layer 5\n",
                 rows[i].first, rows[i].second);
        scratch_write(scratch_path(path, folder, "script"), script, strlen(script));
        const char *const arguments[] = {"debug", GEMMA, "--ids", "3,17,99", "--on", "reference", "-x", path, NULL};
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
        assert_int_equal(outcome.status, 0);
        const char *at = strstr(outcome.out, "ANOMALY layer=2 stage=layer_out token=0 what=explosion");
        assert_true((at != NULL) == rows[i].found);
        assert_true((strstr(outcome.out, "ANOMALY") != NULL) == rows[i].found);
        assert_true(at == NULL || strstr(at + 1, "ANOMALY") == NULL); /* later stages inherit it and print nothing */
        outcome_free(&outcome);
    }
    struct outcome outcome;
    run_script(&outcome, "fault on weight-spike@3.q_proj\nstep layer 5\n", NULL, NULL);
    expect_text(outcome.out, "ANOMALY layer=3 stage=q_proj token=0 what=spike dim=");
    outcome_free(&outcome);
}

/* Progress is shown on a terminal, and nowhere else. */
static void progress_is_for_terminals(void **state)
{
    (void)state;
    const char *const arguments[] = {"diff", "golden/tiny-llama", "--golden", "golden/tiny-llama.h5",
                                     "--on", "reference",         NULL};
    struct terminal terminal;
    struct outcome outcome;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "loading golden/tiny-llama");
    terminal_expect(&terminal, "audit: step 1/");
    terminal_expect(&terminal, "parity: ");
    assert_int_equal(terminal_end(&terminal), 0);
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_string_equal(outcome.err, "");
    expect_no_text(outcome.out, "audit: step");
    expect_no_text(outcome.out, "\r");
    outcome_free(&outcome);
    const char *const script[] = {"debug", "golden/tiny-llama", "--ids", "3,17", "-n", "2", "--on", "reference", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "continue\n", script);
    assert_string_equal(outcome.err, "");
    expect_no_text(outcome.out, "\r");
    outcome_free(&outcome);
}

/* Ctrl-C during a long prefill brings the prompt back; continue goes on from there. */
static void control_c_stops_a_prefill(void **state)
{
    (void)state;
    char ids[1024] = "1";
    for (int i = 1; i < 200; i++) {
        sprintf(ids + strlen(ids), ",%d", 3 + i * 2);
    }
    const char *const arguments[] = {"debug", GEMMA, "--ids", ids, "-n", "1", NULL};
    struct terminal terminal;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "continue\n");
    terminal_expect(&terminal, "stage "); /* the progress line: it runs */
    terminal_type(&terminal, "\x03");
    terminal_expect(&terminal, "interrupted: the position is before");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "continue\n");
    terminal_expect(&terminal, "the run is over");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "first\n");
    terminal_expect(&terminal, "no step introduced an error");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

/* Dumps to a tmpfs of 128 KiB in a mount namespace of its own. 77: such a namespace is not allowed here. */
static int dump_to_a_full_disk(const char *disk)
{
    if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
        (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 && errno != EINVAL) ||
        mount("tmpfs", disk, "tmpfs", 0, "size=128k") != 0) {
        return 77;
    }
    char script[2048], command[4096];
    snprintf(script, sizeof(script), "step layer 1\ndump %s/a.h5 embed\ncontinue\ndump %s/a.h5\n", disk, disk);
    struct outcome outcome;
    run_script(&outcome, script, NULL, NULL);
    if (outcome.status != 5 || strstr(outcome.err, "a.h5") == NULL ||
        strchr(outcome.err, '\n') != outcome.err + strlen(outcome.err) - 1) {
        fprintf(stderr, "status %d, %s\n", outcome.status, outcome.err);
        return 1;
    }
    snprintf(command, sizeof(command), "test \"$(ls %s)\" = a.h5 && %s compare %s/a.h5 %s/a.h5 > %s/../log", disk,
             LOCKSTEP_PROGRAM, disk, disk, disk);
    return system(command) == 0 ? 0 : 2;
}

static void a_full_disk_leaves_the_earlier_file(void **state)
{
    (void)state;
    char disk[512];
    assert_int_equal(mkdir(scratch_path(disk, folder, "disk"), 0777), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(dump_to_a_full_disk(disk));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no tmpfs can be mounted here: skipped\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(back_and_forth_changes_no_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(breakpoints_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(faults_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_goes_by_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(diagnose_tells_how_to_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(probes_see_the_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_alone_are_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_configurations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(presets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(anomalies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_is_for_terminals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_c_stops_a_prefill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_earlier_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
