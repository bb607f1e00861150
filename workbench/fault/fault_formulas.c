/* The formula of each fault, right and wrong. x is the op's input, y its output, w its weights, p a position. */
#include <string.h>

#include "workbench/fault/fault_story.h"

static const struct fault_formula formulas[] = {
    {"softmax-sizes-swapped", "p[h][j] = exp(s[h][j]) / sum over j of exp(s[h][j])",
     "the sum goes over runs of `heads` values of the flat array [heads][keys]"},
    {"qk-norm-no-offset", "y = x / rms(x) (1 + w)", "y = x / rms(x) w"},
    {"norm-no-offset", "y = x / rms(x) (1 + w)", "y = x / rms(x) w"},
    {"post-ffn-norm-skipped", "y = x / rms(x) (1 + w)", "y = x"},
    {"embed-scale-missing", "y = sqrt(hidden_size) E[token]", "y = E[token]"},
    {"kv-stale", "decode sees the keys 0 … p", "decode sees the keys 0 … p - 1, and key p - 1 in place of p"},
    {"transpose-b", "y[o] = sum over i of W[o][i] x[i]", "y[o] = sum over i of W[i][o] x[i]"},
    {"norm-double-offset", "y = x / rms(x) (offset + w)", "y = x / rms(x) (offset + 1 + w)"},
    {"f16-overflow", "values are kept as they are", "values above 65504 become infinite"},
    {"f16-half-plumbed", "q is read in the type in which it was stored", "two f16 numbers of q are read as one f32"},
    {"f16-kernel-on-f32", "x is read in the type in which it was stored", "one f32 number of x is read as two f16"},
    {"attention-phase", "decode sees the keys 0 … p", "decode sees key p alone"},
    {"params-evicted", "y[p] = E[token of p]", "y[p] = E[token of a later position]"},
    {"pingpong-release", "layer_out = attn_resid + branch", "layer_out is overwritten by q_proj of the next layer"},
    {"scale-unsynced", "y = sqrt(hidden_size) E[token]", "y = sqrt(hidden_size) E[token] in the first part alone"},
    {"dispatch-2d-x-only", "group = x + y groups_x", "group = x"},
    {"residual-dropped", "y = residual + branch", "y = branch"},
    {"q4k-format", "w = scale quant - minimum", "w = scale quant + minimum (and the reverse where a format adds it)"},
    {"subgroup-columns-mixed", "y[o] = sum over i of W[o][i] x[i]", "y[o] holds part of the sum of a neighbour"},
    {"layernorm-for-rmsnorm", "y = x / rms(x) w", "y = (x - mean(x)) / rms(x - mean(x)) w"},
    {"wg-sums-short", "rms(x)^2 = sum of x^2 / n", "rms(x)^2 = half of the partial sums / n"},
    {"mask-off-by-one", "row p of the prompt sees the keys 0 … p", "row p sees the keys 0 … p + 1"},
    {"attn-array-256", "row p sees the keys 0 … p", "row p sees the keys 0 … 255"},
    {"gather-dtype", "a row is read in the type in which it is stored", "a row is read in another type of that size"},
    {"readback-early", "submit, wait, copy", "copy, submit"},
    {"weight-spike", "y[o] = sum over i of W[o][i] x[i]", "y[o] = 1000 times that, in one row of W"},
    {"attn-overflow", "p = exp(s - max(s)) / sum of exp(s - max(s))", "p = exp(s) / sum of exp(s)"},
    {"query-scale", "s = q k / sqrt(query_pre_attn_scalar)", "s = q k / sqrt(head_dim)"},
    {"window-off-by-one", "row p sees the keys p - window + 1 … p", "row p sees the keys p - window … p"},
    {"window-layers-swapped", "local layers have the window, global ones see everything",
     "global layers have the window, local ones see everything"},
    {"rope-theta-swapped", "angle = p theta^(-2i/dim), theta of the own kind of layer", "theta of the other kind"},
    {"rope-interleaved", "pairs are (i, i + dim/2)", "pairs are (2i, 2i + 1)"},
    {"kv-heads-in-turn", "head h of q reads key head h / (heads / kv_heads)",
     "head h of q reads key head h mod kv_heads"},
    {"attention-unscaled", "s = scale q k", "s = q k"},
    {"attn-scale-twice", "s = scale q k", "s = scale^2 q k"},
    {"silu-for-gelu", "y = gelu(gate) up", "y = silu(gate) up"},
    {"gelu-for-silu", "y = silu(gate) up", "y = gelu(gate) up"},
    {"bias-missing", "y = W x + b", "y = W x"},
    {"weights-of-layer-before", "y = W of layer L x", "y = W of layer L - 1 x"},
    {"gelu-erf", "gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))", "gelu(x) = x/2 (1 + erf(x / sqrt(2)))"},
    {"qk-permute-missing", "rows of q and k are put back from adjacent pairs into halves",
     "rows are taken as GGUF stores them"},
    {"heads-positions-exchanged", "a row is [heads dim] of one position", "[heads, positions, dim] is cut into rows"},
    {"gate-up-swapped", "gate = W_gate x, up = W_up x", "gate = W_up x, up = W_gate x"},
    {"final-softcap-missing", "y = cap tanh(x / cap)", "y = x"},
    {"attn-softcap-missing", "s = cap tanh(scale q k / cap)", "s = scale q k"},
    {"q4k-rowwise", "value i of row r is in block (r n + i) / 256", "row r begins a block of its own"},
    {"sinks-missing", "p = exp(s) / (sum of exp(s) + exp(sink))", "p = exp(s) / sum of exp(s)"},
    {"topk-after-softmax", "softmax of the k largest logits", "the k largest of the softmax of all logits"},
    {"router-quantised", "W as it is stored", "W rounded to Q4_K"},
    {"mxfp4-nibbles", "element 2i is the low nibble, 2i + 1 the high one", "element 2i is the high nibble"},
    {"expert-bias-missing", "y = W x + b of the expert", "y = W x"},
    {"swiglu-plain", "y = (up + 1) gate sigmoid(alpha gate), both clamped", "y = up gate sigmoid(gate)"},
    {"gate-up-halves", "gate = columns 0, 2, 4 …; up = columns 1, 3, 5 …", "gate = the first half; up = the second"},
    {"moe-unbound-counts", "y = sum over experts of share times output", "y = 0"},
    {"scatter-add-overwrites", "y = sum over experts of share times output", "y = share times output of the last one"},
    {"yarn-off", "angle = p f, f stretched by YaRN; cos and sin times its factor", "angle = p theta^(-2i/dim)"},
    {"pad-not-masked", "the largest logit of all tokens but the padding one", "the largest logit of all tokens"},
    {"chunk-offset-lost", "a chunk runs at the positions behind the one before", "each chunk runs from position 0 on"},
    {"pool-padding", "a stage ends where its shape ends", "garbage follows in the buffer; nothing may be reported"},
};

const struct fault_formula *fault_formula_of(const struct fault *fault)
{
    for (size_t i = 0; i < sizeof(formulas) / sizeof(*formulas); i++) {
        if (strcmp(formulas[i].name, fault->name) == 0) {
            return &formulas[i];
        }
    }
    return NULL;
}

static const struct kind_story kinds[] = {
    {KIND_PARAMETER, "The right formula with a wrong number: a scale, an eps, an offset, a base of rope.",
     "y = f(x; a)", "y = f(x; b)",
     "every row is off by what one number makes of it, which is solved for; a number of config.json is printed with "
     "the "
     "right one beside it"},
    {KIND_FORMULA, "Another formula than the model was trained with: an activation, a norm, a softmax.", "y = f(x)",
     "y = g(x)", "no number explains it, and another formula does, in every row"},
    {KIND_VISIBLE_KEYS, "Attention sees other keys than the mask shows.",
     "row p sees the keys max(0, p - window + 1) … p", "others, which are solved for row by row",
     "rows before the first wrong key are right; the simplest rule that gives all rows is told with its number"},
    {KIND_SOFTMAX_DENOMINATOR, "The softmax's sum holds something that has no value, or lacks something.",
     "p = exp(s) / sum of exp(s) over the visible keys (and the sink)", "p = exp(s) / (that sum + X)",
     "each head of a row is off by one factor, from which X is solved"},
    {KIND_POSITIONS, "Rows or keys are rotated as other positions than theirs.", "angle = p f", "angle = (p + shift) f",
     "the same shift explains all pairs of a row"},
    {KIND_ADDITIVE, "A vector is added twice, not at all, in part, or another one is.", "y = W x + b", "y = W x + c",
     "recorded less expected is the same vector in each row"},
    {KIND_MISSING_TERMS, "A sum leaves out terms, or counts them twice.", "y = sum over all i of w[i] x[i]",
     "y = sum over some i of w[i] x[i]", "the inputs that are missing are solved for and told as a range"},
    {KIND_WIRING, "The right op on another stage, or with another step's weights.", "y = f(x)",
     "y = f(z), z another stage", "the op reproduces every row from another recorded stage"},
    {KIND_LAYOUT, "The right numbers in a wrong order: transposed, interleaved, heads of another order.",
     "y[i] of x[i]", "y[i] of x[permuted i]", "values are right as a set, or another order of the input gives them"},
    {KIND_WEIGHTS_DECODING, "Blocks of quantised weights are unpacked wrongly.", "w = scale (quant - offset)",
     "another order of nibbles, another sign, bits lost, the scale of another block",
     "a variant of the decoder gives every row"},
    {KIND_CONSTANT_MULTIPLE, "All values are the same multiple of what they should be.", "y", "a y",
     "recorded / expected is one number"},
    {KIND_ROW_MULTIPLES, "Each row is a multiple of what it should be, each with a number of its own.", "y[p]",
     "a[p] y[p]", "recorded / expected is one number in each row"},
    {KIND_PRECISION, "No bug: something is rounded that the trace does not declare.", "y = f(x)", "y = f(round(x))",
     "errors of the size of a rounding; declared, the trace passes"},
    {KIND_SATURATION, "Values are clipped at a limit.", "y", "min(y, limit)",
     "every value that fails is the limit, where a larger one is expected"},
    {KIND_NONFINITE, "NaN or infinity where finite numbers are expected.", "y", "NaN or infinity",
     "the first op that makes one of finite inputs is told"},
    {KIND_UNTOUCHED, "Values were never written: zeros, stale rows, the buffer's old contents.", "y",
     "0, or what was there before", "a row or a range from an index on has nothing to do with its inputs"},
    {KIND_RECORDING, "The engine is right, and its file is wrong.", "each row is its stage at its position",
     "shifted by a layer, exchanged, rounded for the file", "the file explains itself once it is read otherwise"},
    {KIND_SYMPTOM, "What is seen, with the usual causes. Nothing is proven.", "", "",
     "no bug of this list reproduces the rows"},
};

const struct kind_story *kind_story_of(enum fault_kind kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (kinds[i].kind == kind) {
            return &kinds[i];
        }
    }
    return NULL;
}

enum fault_kind fault_kind_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (strcmp(fault_kind_name(kinds[i].kind), name) == 0) {
            return kinds[i].kind;
        }
    }
    return KIND_NONE;
}
