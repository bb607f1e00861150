/* small_engine MODEL.safetensors FILE right|bug|killed: the first two stages of golden/tiny-llama. The bug: a norm by 1
 * + weight. */
#define LOCKSTEP_RECORD_IMPLEMENTATION
#include "lockstep_record.h"
#include <math.h>
#include <signal.h>

enum { N = 6, HIDDEN = 64 };

static void read_floats(FILE *file, const char *header, const char *name, long first, float *out)
{
    unsigned long begin, length;
    memcpy(&length, header, 8);
    const char *offsets = strstr(strstr(header + 8, name), "data_offsets");
    if (sscanf(offsets, "data_offsets\":[%lu", &begin) != 1 ||
        fseek(file, 8 + (long)(length + begin) + 4 * first, SEEK_SET) != 0 || fread(out, 4, HIDDEN, file) != HIDDEN) {
        exit(3);
    }
}

int main(int argc, char **argv)
{
    static char header[65536];
    const int32_t tokens[N] = {3, 17, 99, 204, 5, 6};
    float x[N][HIDDEN], y[N][HIDDEN], weight[HIDDEN];
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(header, 1, sizeof header - 1, file) < 9) {
        return 3;
    }
    struct lockstep_record *r = lockstep_record_begin(argv[2], "small engine", "llama", 4);
    lockstep_record_batch(r, tokens, N, LOCKSTEP_PREFILL);
    read_floats(file, header, "model.layers.0.input_layernorm.weight", 0, weight);
    for (int i = 0; i < N; i++) {
        double sum = 0;
        read_floats(file, header, "model.embed_tokens.weight", (long)tokens[i] * HIDDEN, x[i]);
        for (int d = 0; d < HIDDEN; d++) {
            sum += x[i][d] * x[i][d];
        }
        for (int d = 0; d < HIDDEN; d++) {
            y[i][d] = (float)(x[i][d] / sqrt(sum / HIDDEN + 1e-5)) * (weight[d] + (*argv[3] == 'b'));
        }
    }
    lockstep_record_put(r, LOCKSTEP_NO_LAYER, "embed", x[0], N, HIDDEN);
    lockstep_record_put(r, 0, "attn_norm", y[0], N, HIDDEN);
    if (*argv[3] == 'k') {
        raise(SIGKILL);
    }
    fclose(file);
    return lockstep_record_end(r) ? 5 : 0;
}
