/* The activations, for the op's own shader and the fused one. */

/* Source: torch, gelu(approximate="tanh"). */
float gelu_tanh(float g)
{
    float z = 0.7978845608 * (g + 0.044715 * g * g * g); /* sqrt(2/pi) */
    return 0.5 * g * (1.0 + tanh_exact(z));
}

float activated(uint activation, float g)
{
    return activation == ACTIVATION_GELU_TANH ? gelu_tanh(g) : divide(g, 1.0 + exp_exact(-g));
}
