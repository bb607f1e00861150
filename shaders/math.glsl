/* exp, tanh, division and 1/sqrt, exact to about one rounding. GLSL's own functions are too inaccurate for the bounds: Vulkan
 * allows exp an error of (2 + |x|)u, tanh 2u absolute, division 2.5 ulp and inversesqrt 2 ulp ("Precision of operations").
 * `precise` keeps the compiler from rearranging the compensated steps. Products are added with fma, so that an op's own shader
 * and the fused ones, which are compiled separately, give the same bits. */

/* 2^n for -126 <= n <= 127, exactly. */
float power_of_two(int n)
{
    return uintBitsToFloat(uint(n + 127) << 23);
}

/* q(r) of e^r = 1 + r + r^2 q(r) for |r| <= ln(2)/2: the series up to r^7. The first omitted term is below 2^-28. */
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

/* e^x with x = n ln 2 + r. ln 2 is split in two numbers; the first one has 9 bits, so that n times it is exact. */
float exp_exact(float x)
{
    if (x > 88.75)
        return x * uintBitsToFloat(0x7f800000); /* infinity */
    if (x < -104.0)
        return 0.0;
    precise float n = floor(fma(x, 1.44269504, 0.5));
    precise float r = (x - n * 0.693359375) + n * 2.12194440e-4;
    precise float value = 1.0 + (r + r * r * exp_tail(r));
    int half_n = int(n) / 2; /* two factors, because 2^n itself may not be a normal number */
    return value * power_of_two(half_n) * power_of_two(int(n) - half_n);
}

/* a / b, with one step that corrects the error of the division. */
float divide(float a, float b)
{
    float quotient = a / b;
    precise float rest = fma(-quotient, b, a);
    precise float corrected = quotient + rest / b;
    /* With an infinite operand the rest is NaN, and the plain quotient is right. */
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

/* tanh: an odd polynomial for small x, where 1 - 2/(e^2x + 1) would cancel. Source of the coefficients: Cephes, tanhf.c. */
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
