#include "workbench/bench/kernels/kernel_report.h"

#include <stdio.h>

#include "workbench/trace/json_file.h"

#define NAME_WIDTH 52

bool kernel_is_right(const struct kernel_result *result)
{
    return result->ratio <= 1 && result->same;
}

void kernel_reason(const struct kernel *kernel, const struct kernel_result *result, char *text, size_t size)
{
    if (result->ratio <= 1) {
        snprintf(text, size, "%s: the same weights at other addresses give other results", kernel->name);
    } else {
        snprintf(text, size, "%s: error %.3g times its bound", kernel->name, result->ratio);
    }
}

static double per_second(double n, double us)
{
    return us > 0 ? n / us * 1e6 : 0;
}

void kernel_print_header(const char *device, double bandwidth)
{
    printf("%s, reads at %.1f GB/s\n%-*s %11s %6s %11s %6s %9s %9s %6s\n", device, bandwidth / 1e9, NAME_WIDTH,
           "kernel", "level us", "share", "apart us", "share", "GB/s", "GFLOP/s", "error");
}

static void print_program(const struct engine_program *program)
{
    printf("    %s, %u groups of %u", program->shader, program->groups, program->lanes);
    for (uint32_t i = 0; i < program->n_statistics; i++) {
        printf("%s %s %.15g", i ? "," : ":", program->statistics[i].name, program->statistics[i].value);
    }
    printf("\n");
}

static void print_times(const struct kernel *kernel, const struct kernel_result *result, double bandwidth)
{
    printf("%-*s", NAME_WIDTH, kernel->name);
    for (int way = 0; way < N_WAYS; way++) {
        double us = result->ways[way].median_us;
        printf(" %11.2f %5.1f%%", us, per_second(kernel->bytes, us) / bandwidth * 100);
    }
    double us = result->ways[WAY_APART].median_us;
    printf(" %9.1f", per_second(kernel->bytes, us) / 1e9);
    if (kernel->flops > 0) {
        printf(" %9.1f", per_second(kernel->flops, us) / 1e9);
    } else {
        printf(" %9s", "");
    }
    printf(" %6.3f\n", result->ratio);
}

void kernel_print(const struct kernel *kernel, const struct kernel_result *result, double bandwidth, bool verbose)
{
    char reason[192];
    if (result->absent[0]) {
        printf("%-*s not run: %s\n", NAME_WIDTH, kernel->name, result->absent);
        return;
    }
    if (kernel_is_right(result)) {
        print_times(kernel, result, bandwidth);
    } else {
        kernel_reason(kernel, result, reason, sizeof(reason));
        printf("WRONG %s\n", reason);
    }
    for (uint32_t i = 0; verbose && i < result->n_programs && i < KERNEL_PROGRAMS; i++) {
        print_program(&result->programs[i]);
    }
    fflush(stdout); /* the next kernel may take long */
}

static json_t *way_json(const struct kernel *kernel, const struct kernel_result *result, enum kernel_way way,
                        double bandwidth)
{
    json_t *times = json_object();
    double us = result->ways[way].median_us, rate = per_second(kernel->bytes, us);
    json_put(times, "median_us", json_real(us));
    json_put(times, "min_us", json_real(result->ways[way].min_us));
    json_put(times, "runs", json_integer(result->ways[way].n_runs));
    json_put(times, "gb_s", json_real(rate / 1e9));
    json_put(times, "gflop_s", json_real(per_second(kernel->flops, us) / 1e9));
    json_put(times, "read_bandwidth_share", json_real(rate / bandwidth));
    return times;
}

static json_t *program_json(const struct engine_program *program)
{
    json_t *one = json_object(), *statistics = json_object();
    json_put(one, "shader", json_text(program->shader));
    json_put(one, "lanes", json_integer(program->lanes));
    json_put(one, "groups", json_integer(program->groups));
    for (uint32_t i = 0; i < program->n_statistics; i++) {
        json_put(statistics, program->statistics[i].name, json_number_or_text(program->statistics[i].value));
    }
    json_put(one, "statistics", statistics);
    return one;
}

json_t *kernel_json(const struct kernel *kernel, const struct kernel_result *result, double bandwidth)
{
    json_t *one = json_object(), *programs = json_array();
    json_put(one, "name", json_text(kernel->name));
    json_put(one, "op", json_text(op_info(kernel->plan.steps[kernel->first].op)->name));
    json_put(one, "dtype", json_text(dtype_info(kernel->dtype)->name));
    json_put(one, "rows", json_integer(kernel->n_rows));
    json_put(one, "bytes", json_real(kernel->bytes));
    json_put(one, "flop", json_real(kernel->flops));
    json_put(one, "copies", json_integer(kernel->n_copies));
    if (result->absent[0]) {
        json_put(one, "not_run", json_text(result->absent));
        json_decref(programs);
        return one;
    }
    json_put(one, "ok", json_boolean(kernel_is_right(result)));
    json_put(one, "ratio", json_number_or_text(result->ratio));
    if (kernel_is_right(result)) { /* a wrong kernel is not timed */
        json_put(one, "level", way_json(kernel, result, WAY_LEVEL, bandwidth));
        json_put(one, "apart", way_json(kernel, result, WAY_APART, bandwidth));
    }
    for (uint32_t i = 0; i < result->n_programs && i < KERNEL_PROGRAMS; i++) {
        json_push(programs, program_json(&result->programs[i]));
    }
    json_put(one, "dispatches", json_integer(result->n_programs));
    json_put(one, "programs", programs);
    return one;
}
