/* The activations. The shader of the op and the fused ones share them. */

/* Source: torch, gelu(approximate="tanh"). */
float gelu_tanh(float g)
{
    precise float z = 0.7978845608 * (g + 0.044715 * g * g * g); /* sqrt(2/pi) */
    precise float y = 0.5 * g * (1.0 + tanh_exact(z));
    return y;
}

/* The exact form of gelu; only the fault gelu-erf asks for it. It uses the series
 * erf z = 2/sqrt(pi) e^-z^2 (z + 2 z^3/3 + 4 z^5/15 + …), whose terms are all positive, so that nothing cancels. */
float gelu_erf(float g)
{
    float z = min(abs(g) * 0.70710678118, 4.5), term = z, sum = z; /* erf 4.5 is 1 in f32 */
    for (int n = 1; n < 80 && term > sum * 1e-9; n++) {
        term *= divide(2.0 * z * z, float(2 * n + 1));
        sum += term;
    }
    float erf = min(1.1283791671 * exp_exact(-z * z) * sum, 1.0);
    return 0.5 * g * (1.0 + (g < 0.0 ? -erf : erf));
}

float activated(uint activation, float g)
{
    return activation == ACTIVATION_GELU_TANH  ? gelu_tanh(g)
           : activation == ACTIVATION_GELU_ERF ? gelu_erf(g)
                                               : divide(g, 1.0 + exp_exact(-g));
}
