/* exp, tanh, division and 1/sqrt to about one rounding. GLSL's own are too weak for the bounds: exp errs by (2 + |x|)u,
 * tanh by 2u absolute, division and inversesqrt by 2.5 and 2 ulp (BOUNDS.md; Vulkan, "Precision of operations").
 * `precise` keeps the compiler from rearranging the compensated steps; a sum of a product is fma, so that an op's own shader
 * and the fused ones, compiled apart, have the same bits. */

/* 2^n for -126 <= n <= 127, exactly. */
float power_of_two(int n)
{
    return uintBitsToFloat(uint(n + 127) << 23);
}

/* e^r = 1 + r + r^2 q(r) for |r| <= ln(2)/2; the series to r^7, whose first term left out is under 2^-28. */
float exp_tail(float r)
{
    precise float q = 1.0 / 5040.0;
    q = fma(q, r, 1.0 / 720.0);
    q = fma(q, r, 1.0 / 120.0);
    q = fma(q, r, 1.0 / 24.0);
    q = fma(q, r, 1.0 / 6.0);
    q = fma(q, r, 0.5);
    return q;
}

/* e^x: x = n ln 2 + r, with ln 2 in two parts whose first has 9 bits, so that n times it is exact. */
float exp_exact(float x)
{
    if (x > 88.75)
        return x * uintBitsToFloat(0x7f800000); /* infinity */
    if (x < -104.0)
        return 0.0;
    precise float n = floor(fma(x, 1.44269504, 0.5));
    precise float r = (x - n * 0.693359375) + n * 2.12194440e-4;
    precise float value = 1.0 + (r + r * r * exp_tail(r));
    int half_n = int(n) / 2; /* in two factors: 2^n itself may not be a normal number */
    return value * power_of_two(half_n) * power_of_two(int(n) - half_n);
}

/* a / b, with one step that takes the division's own error out again. */
float divide(float a, float b)
{
    float quotient = a / b;
    precise float rest = fma(-quotient, b, a);
    precise float corrected = quotient + rest / b;
    /* Where the rest is no number (an infinity among the operands) the plain quotient is right. */
    return abs(rest) <= abs(a) ? corrected : quotient;
}

/* 1 / sqrt(a) with one Newton step. */
float inverse_sqrt(float a)
{
    float s = inversesqrt(a);
    precise float rest = 0.5 - 0.5 * a * s * s;
    precise float corrected = fma(s, rest, s);
    return abs(rest) < 0.5 ? corrected : s;
}

/* tanh: an odd polynomial where 1 - 2/(e^2x + 1) would cancel. Source of the coefficients: Cephes, tanhf.c. */
float tanh_exact(float x)
{
    float a = abs(x);
    if (a < 0.625) {
        float s = x * x;
        precise float q = -5.70498872745e-3;
        q = fma(q, s, 2.06390887954e-2);
        q = fma(q, s, -5.37397155531e-2);
        q = fma(q, s, 1.33314422036e-1);
        q = fma(q, s, -3.33332819422e-1);
        precise float value = x + x * (s * q);
        return value;
    }
    float t = a > 10.0 ? 1.0 : 1.0 - divide(2.0, exp_exact(2.0 * a) + 1.0);
    return isnan(x) ? x : (x < 0.0 ? -t : t);
}
