#include "workbench/report/provenance.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "model/model.h"
#include "workbench/report/report.h"
#include "workbench/report/report_arithmetic.h"
#include "workbench/report/wrapped_text.h"
#include "workbench/text/terminal.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/version.h"

#define DIGEST_SHOWN 8 /* characters of a digest, in the short text */
#define NAME_SHOWN 24  /* characters of a file's name there */
#define NAME_BRIEF 20  /* and in the brief one */
#define DEVICE_SHOWN 16

static int n_words;
static char **words;

void provenance_set_command(int argc, char **argv)
{
    n_words = argc;
    words = argv;
}

const char *provenance_program(void)
{
    return n_words > 0 ? words[0] : "lockstep";
}

void report_run_free(struct report_run *run)
{
    free(run->token_text);
    free(run->kernel);
    free(run->debug_command);
    *run = (struct report_run){0};
}

/* The trace of a source, or NULL. */
static const struct trace *trace_of(const struct report *report, enum source source)
{
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        if (report->sources[t] == source) {
            return report->traces[t];
        }
    }
    return NULL;
}

/* The model's digest of its weights; "" if its files cannot be read. */
static const char *weights_digest(const struct report *report, char weights[65])
{
    char config[65];
    struct error err;
    const struct model *model = report->plan->model;
    weights[0] = '\0';
    if (model != NULL && model_digests(model, weights, config, &err) != STATUS_OK) {
        weights[0] = '\0';
    }
    return weights;
}

/* ISO 8601, in UTC. */
static const char *date_text(char text[32])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

static const char *host_text(char text[256])
{
    if (gethostname(text, 255) != 0) {
        strcpy(text, "unknown");
    }
    text[255] = '\0';
    return text;
}

static json_t *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_text(text) : json_null();
}

static json_t *file_json(const struct trace *trace)
{
    if (trace == NULL) {
        return json_null();
    }
    json_t *object = json_object();
    json_put(object, "path", json_text(trace->path));
    json_put(object, "producer", text_or_null(trace->producer));
    json_put(object, "weights_sha256", text_or_null(trace->weights_sha256));
    json_put(object, "config_sha256", text_or_null(trace->config_sha256));
    return object;
}

/* "Debian GNU/Linux 12 (bookworm), Linux 6.1.0 x86_64" */
static json_t *operating_system(void)
{
    char line[256], name[128] = "", text[512];
    struct utsname kernel;
    FILE *in = fopen("/etc/os-release", "r");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL && name[0] == '\0') {
        (void)sscanf(line, "PRETTY_NAME=\"%127[^\"]", name);
    }
    if (in != NULL) {
        fclose(in);
    }
    if (uname(&kernel) != 0) {
        return json_text(name);
    }
    snprintf(text, sizeof(text), "%s%s%s %.64s %.32s", name, name[0] != '\0' ? ", " : "", kernel.sysname,
             kernel.release, kernel.machine);
    return json_text(text);
}

json_t *provenance_run(void)
{
    char text[256];
    json_t *object = json_object(), *command = json_array();
    for (int i = 0; i < n_words; i++) {
        json_push(command, json_text(words[i]));
    }
    json_put(object, "lockstep", json_string(version_number()));
    json_put(object, "commit", json_string(version_commit()));
    json_put(object, "command", command);
    json_put(object, "date", json_string(date_text(text)));
    json_put(object, "host", json_text(host_text(text)));
    json_put(object, "os", operating_system());
    return object;
}

json_t *provenance_json(const struct report *report)
{
    char digest[65];
    json_t *object = provenance_run(), *model = json_object(), *tokens = json_array();
    json_put(model, "path", text_or_null(report->plan->model != NULL ? report->plan->model->path : NULL));
    json_put(model, "sha256", text_or_null(weights_digest(report, digest)));
    for (uint32_t p = 0; p < report->traces[0]->n_positions; p++) {
        json_push(tokens, json_integer(report->traces[0]->tokens[p]));
    }
    json_put(object, "model", model);
    json_put(object, "golden", file_json(trace_of(report, SOURCE_GOLDEN)));
    json_put(object, "trace", file_json(trace_of(report, SOURCE_TRACE)));
    json_put(object, "device", text_or_null(report->run->device));
    json_put(object, "driver", text_or_null(report->run->driver));
    json_put(object, "tokens", tokens);
    return object;
}

static void print_line(const char *label, const char *text, FILE *out)
{
    fprintf(out, "  %-10s", label);
    text_print_wrapped(text, (struct text_layout){12, 12, terminal_text_width()}, out);
}

static void print_file(const char *label, const struct trace *trace, FILE *out)
{
    if (trace != NULL) {
        print_line(label, trace->path, out);
        fprintf(out, "%12sproducer %s\n", "", trace->producer);
        print_line("", trace->weights_sha256[0] != '\0' ? trace->weights_sha256 : "no digest of its weights", out);
    }
}

/* Joins words, or numbers, with blanks. Returns a malloc'ed text. */
static char *joined_words(void)
{
    size_t size = 1;
    for (int i = 0; i < n_words; i++) {
        size += strlen(words[i]) + 1;
    }
    char *text = xcalloc(size, 1);
    for (int i = 0; i < n_words; i++) {
        strcat(strcat(text, i > 0 ? " " : ""), words[i]);
    }
    return text;
}

static char *joined_tokens(const struct trace *trace)
{
    size_t size = (size_t)trace->n_positions * 12 + 1, length = 0;
    char *text = xcalloc(size, 1);
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        length += (size_t)snprintf(text + length, size - length, p > 0 ? " %d" : "%d", trace->tokens[p]);
    }
    return text;
}

void provenance_print(const struct report *report, FILE *out)
{
    char text[256], digest[65], *command = joined_words(), *tokens = joined_tokens(report->traces[0]);
    fprintf(out, "\nProvenance\n  lockstep  %s, commit %s\n", version_number(), version_commit());
    print_line("command", command, out);
    print_line("date", date_text(text), out);
    print_line("host", host_text(text), out);
    if (report->plan->model != NULL) {
        print_line("model", report->plan->model->path, out);
        print_line("", weights_digest(report, digest), out);
    }
    print_file("golden", trace_of(report, SOURCE_GOLDEN), out);
    print_file("trace", trace_of(report, SOURCE_TRACE), out);
    print_line("device", report->run->device != NULL ? report->run->device : "none: no engine ran", out);
    if (report->run->driver != NULL) {
        print_line("driver", report->run->driver, out);
    }
    print_line("tokens", tokens, out);
    free(tokens);
    free(command);
}

/* Adds ", NAME" to a text: a path's last part, with its middle left out if it is long. */
static void add_path(const char *path, size_t most, char text[PROVENANCE_SIZE])
{
    size_t length = strlen(text), n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    if (n - begin <= most) {
        snprintf(text + length, PROVENANCE_SIZE - length, "%.*s", (int)(n - begin), path + begin);
    } else {
        snprintf(text + length, PROVENANCE_SIZE - length, "%.*s...%.*s", (int)most / 2 - 2, path + begin,
                 (int)most / 2 - 1, path + n - (most / 2 - 1));
    }
}

static void add_text(const char *before, const char *what, char text[PROVENANCE_SIZE])
{
    size_t length = strlen(text);
    snprintf(text + length, PROVENANCE_SIZE - length, "%s%s", before, what);
}

/* Adds a file, and whether it was made with other weights than the model's. */
static void add_file(const char *kind, const struct trace *trace, const char *digest, char text[PROVENANCE_SIZE])
{
    if (trace == NULL) {
        return;
    }
    add_text(", ", kind, text);
    add_text(" ", "", text);
    add_path(trace->path, NAME_SHOWN, text);
    if (trace->weights_sha256[0] == '\0') {
        add_text(" ", "(of undeclared weights)", text);
    } else if (strcasecmp(trace->weights_sha256, digest) != 0) {
        add_text(" ", "(of other weights)", text);
    }
}

const char *provenance_text(const struct report *report, bool brief, char text[PROVENANCE_SIZE])
{
    char digest[65], number[64];
    const struct model *model = report->plan->model;
    text[0] = '\0';
    weights_digest(report, digest);
    if (model != NULL) {
        add_path(model->path, brief ? NAME_BRIEF : NAME_SHOWN, text);
        snprintf(number, sizeof(number), " %.*s", DIGEST_SHOWN, digest);
        add_text(number, "", text);
    }
    if (!brief) {
        add_file("golden", trace_of(report, SOURCE_GOLDEN), digest, text);
        add_file("trace", trace_of(report, SOURCE_TRACE), digest, text);
    }
    if (report->run->device != NULL) {
        int length = (int)strcspn(report->run->device, "(");
        snprintf(number, sizeof(number), "%.*s", length < DEVICE_SHOWN ? length : DEVICE_SHOWN, report->run->device);
        while (number[0] != '\0' && number[strlen(number) - 1] == ' ') {
            number[strlen(number) - 1] = '\0';
        }
        add_text(", ", number, text);
    }
    if (!brief) {
        add_text(", ", report_arithmetic_word(report), text);
    }
    snprintf(number, sizeof(number), "%u tokens", report->traces[0]->n_positions);
    add_text(", ", number, text);
    add_text(", lockstep ", version_number(), text);
    return text;
}
