/* Probes of arithmetic, and of what is more than OpenCL 1.2 demands. */
#include "device/probe_job.h"

#include "core/half.h"
#include "core/text.h"

#include <math.h>
#include <string.h>

static uint32_t next_random(uint32_t *state) { /* enough to spread operands */
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

xp_status xp_probe_vectors(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 64 };
    float in[COUNT * 24], got[COUNT * 8];
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++)
        for (int lane = 0; lane < 8; lane++) {
            float a = 1 + (float)next_random(&state) * 0x1p-24f, b = 1 + (float)next_random(&state) * 0x1p-24f;
            in[i * 24 + lane] = a;
            in[i * 24 + 8 + lane] = b;
            in[i * 24 + 16 + lane] = -(a * b); /* what is left is the rounding error of the product */
        }
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_ARITHMETIC);
    XP_TRY(xp_probe_compute(device, "probe_fma", &variant, COUNT, 0, sizeof in, in, sizeof got, got, COUNT));
    int wrong = 0;
    for (int i = 0; i < COUNT * 8; i++) {
        const float *operands = in + i / 8 * 24 + i % 8;
        wrong += got[i] != fmaf(operands[0], operands[8], operands[16]);
    }
    return xp_probe_answer(out, wrong == 0, wrong, xp_probe_words("%d of %d wrong", wrong, COUNT * 8),
                           wrong ? "sums are less accurate than the bounds assume"
                                 : "vectors of eight, products rounded once");
}

xp_status xp_probe_infinities(xp_device *device, xp_probe_result *out) {
    enum { TRUTHS = 12 };
    const float in[] = {-INFINITY, 1.5f, NAN};
    float got[TRUTHS] = {0};
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_ARITHMETIC);
    XP_TRY(xp_probe_compute(device, "probe_infinity", &variant, 1, 1, sizeof in, in, sizeof got, got, 1));
    char wrong[64] = "";
    int right = 0;
    for (int i = 0; i < TRUTHS; i++) {
        right += got[i] == 1;
        if (got[i] != 1) xp_text_add(wrong, sizeof wrong, "%s%d", *wrong ? "," : ", not number ", i);
    }
    return xp_probe_answer(
        out, right == TRUTHS, right, xp_probe_words("%d of %d conditions hold%s", right, TRUTHS, wrong),
        right == TRUTHS ? "masks of -infinity work, NaN is preserved" : "masks of -infinity are not reliable");
}

/* By 32-bit halves: ISO C has no type for the product. */
static uint64_t high_half(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), carried = a0 * b1 + (middle & 0xffffffff);
    return a1 * b1 + (middle >> 32) + (carried >> 32);
}

xp_status xp_probe_integers(xp_device *device, xp_probe_result *out) {
    enum { KNOWN = 3, PRODUCTS = 256 };
    static const uint32_t in[KNOWN * 6] = {0,          0,          0,          0,          0,          0,
                                           ~0u,        ~0u,        ~0u,        ~0u,        ~0u,        ~0u,
                                           0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0};
    static const uint32_t known[KNOWN * 4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8, 0x408f276d, 0x41c83b0e,
                                              0xa20bc7c6, 0x6d5451fd, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    uint32_t got[KNOWN * 4] = {0};
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_ARITHMETIC);
    XP_TRY(xp_probe_compute(device, "probe_philox", &variant, KNOWN, 0, sizeof in, in, sizeof got, got, KNOWN));
    bool random = memcmp(got, known, sizeof known) == 0;
    uint64_t factors[PRODUCTS * 2], high[PRODUCTS] = {0};
    uint32_t state = 7;
    for (int i = 0; i < PRODUCTS * 2; i++)
        factors[i] = (uint64_t)next_random(&state) << 40 ^ (uint64_t)next_random(&state) << 20 ^ next_random(&state);
    XP_TRY(xp_probe_compute(device, "probe_high_half", &variant, PRODUCTS, 0, sizeof factors, factors, sizeof high,
                            high, PRODUCTS));
    int wrong = 0;
    for (int i = 0; i < PRODUCTS; i++) wrong += high[i] != high_half(factors[2 * i], factors[2 * i + 1]);
    return xp_probe_answer(
        out, random, wrong,
        xp_probe_words("Philox %s, 128-bit products %s", random ? "right" : "WRONG", wrong ? "WRONG" : "right"),
        random ? "dropout uses the same numbers as on every device" : "dropout would use other numbers");
}

static double in_ulp(float got, double exact) {
    double magnitude = fabs(exact);
    if (magnitude < 0x1p-126) magnitude = 0x1p-126;
    return fabs((double)got - exact) / ldexp(1, ilogb(magnitude) - 23);
}

xp_status xp_probe_functions(xp_device *device, xp_probe_result *out) {
    enum { COUNT = 1 << 14, FUNCTIONS = 6 };
    /* OpenCL's own limits for single precision. */
    static const struct {
        const char *name;
        double limit;
    } functions[FUNCTIONS] = {{"exp", 3}, {"exp2", 3}, {"log", 3}, {"tanh", 5}, {"sqrt", 3}, {"/", 2.5}};
    static float in[COUNT], got[COUNT * FUNCTIONS];
    for (int i = 0; i < COUNT; i++) in[i] = ((float)i + 0.5f) * (40.0f / COUNT) - 20;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_ARITHMETIC);
    XP_TRY(xp_probe_compute(device, "probe_functions", &variant, COUNT, 64, sizeof in, in, sizeof got, got, COUNT));
    double worst[FUNCTIONS] = {0};
    for (int i = 0; i < COUNT; i++) {
        const double x = (double)in[i];
        const double exact[FUNCTIONS] = {exp(x), exp2(x), log(fabs(x)), tanh(x), sqrt(fabs(x)), 3 / x};
        for (int f = 0; f < FUNCTIONS; f++) {
            double error = in_ulp(got[f * COUNT + i], exact[f]);
            if (!(error <= worst[f])) worst[f] = error;
        }
    }
    char text[112] = "";
    bool right = true;
    for (int f = 0; f < FUNCTIONS; f++) {
        xp_text_add(text, sizeof text, "%s%s %.1f", f ? ", " : "", functions[f].name, worst[f]);
        right = right && worst[f] <= functions[f].limit;
    }
    xp_text_add(text, sizeof text, " ulp");
    return xp_probe_answer(out, right, worst[0], text,
                           right ? "as accurate as OpenCL requires" : "less accurate than OpenCL requires");
}

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

/* All finite halves; stored again after a small move that rounding to nearest takes back. */
xp_status xp_probe_half_storage(xp_device *device, xp_probe_result *out) {
    enum { HALVES = 0x7c00, COUNT = 2 * HALVES };
    uint16_t *in = malloc(COUNT * sizeof *in);
    float *got = malloc((size_t)COUNT * 6);
    xp_status status = in && got ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for a probe");
    if (status == XP_OK) {
        for (int i = 0; i < HALVES; i++) {
            in[2 * i] = (uint16_t)i;
            in[2 * i + 1] = (uint16_t)(i | 0x8000);
        }
        const xp_variant variant = xp_probe_part(XP_PROBE_PART_HALF_STORAGE);
        status = xp_probe_compute(device, "probe_half_storage", &variant, COUNT, 64, COUNT * sizeof *in, in,
                                  (size_t)COUNT * 6, got, COUNT);
    }
    int loads = 0, stores = 0;
    for (int i = 0; i < COUNT && status == XP_OK; i++) {
        uint16_t stored;
        memcpy(&stored, (const char *)got + (size_t)COUNT * 4 + (size_t)i * 2, 2);
        loads += (double)got[i] != half_value(in[i]);
        stores += stored != in[i];
    }
    free(in);
    free(got);
    if (status != XP_OK) return status;
    return xp_probe_answer(out, loads + stores == 0, loads + stores,
                           xp_probe_words("%d loads and %d stores of %d wrong", loads, stores, COUNT),
                           "fp16 storage, arithmetic in single precision");
}

/* ---- extras ------------------------------------------------------------------------------------------------------ */

xp_status xp_probe_double(xp_device *device, xp_probe_result *out) {
    double in[64], got[64] = {0};
    for (int i = 0; i < 64; i++) in[i] = 1 + i / 3.0;
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_DOUBLE);
    XP_TRY(xp_probe_compute(device, "probe_double", &variant, 64, 64, sizeof in, in, sizeof got, got, 64));
    bool right = true;
    for (int i = 0; i < 64; i++) right = right && fabs(got[i] - (sqrt(in[i]) + 1 / in[i])) < 1e-14;
    return xp_probe_answer(out, right, right, right ? "right" : "wrong", "no kernel uses it");
}

xp_status xp_probe_half_arithmetic(xp_device *device, xp_probe_result *out) {
    uint16_t in[64], got[64] = {0};
    for (int i = 0; i < 64; i++) in[i] = (uint16_t)(0x3c00 + (i << 4)); /* 1 to 2: squares and sums are near, too */
    const xp_variant variant = xp_probe_part(XP_PROBE_PART_HALF);
    XP_TRY(xp_probe_compute(device, "probe_half", &variant, 64, 64, sizeof in, in, sizeof got, got, 64));
    bool right = true;
    for (int i = 0; i < 64; i++) {
        double x = half_value(in[i]);
        right = right && fabs(half_value(got[i]) - (x * x + x)) <= 0x1p-7;
    }
    return xp_probe_answer(out, right, right, right ? "right" : "wrong", "no kernel uses it");
}

xp_status xp_probe_sub_groups(xp_device *device, xp_probe_result *out) {
    static const char *const standards[] = {"CL1.2", "CL2.0", "CL3.0"};
    float in[256], got[256] = {0};
    for (int i = 0; i < 256; i++) in[i] = 1;
    for (int s = 0; s < 3; s++) {
        xp_variant variant = xp_probe_part(XP_PROBE_PART_SUB_GROUPS);
        variant.standard = standards[s];
        if (xp_probe_compute(device, "probe_sub_group", &variant, 256, 64, sizeof in, in, sizeof got, got, 0) != XP_OK)
            continue;
        bool right = got[0] > 0;
        for (int i = 0; i < 256; i++) right = right && got[i] == got[0];
        return xp_probe_answer(
            out, right, (double)got[0],
            xp_probe_words("%s, %.0f work-items, as %s", right ? "right" : "wrong", (double)got[0], standards[s]),
            "no kernel uses them");
    }
    return xp_fail(XP_BUILD_ERROR, "they do not compile as CL1.2, CL2.0 or CL3.0");
}

/* ---- bf16 on CPUs ------------------------------------------------------------------------------------------------ */

bool xp_bf16_instruction_exists(void) {
#if defined __x86_64__ && (defined __clang__ || __GNUC__ >= 11)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

/* How many of *of results are right; of none where the kernel does not run. Numbers of 12 bits are rounded to bf16 on
 * the way; what they make is exact in fp32. */
static xp_status count_right_pairs(xp_device *device, int *right, int *of) {
    enum { LANES = 16, ROWS = 4 };
    float in[ROWS * LANES], rounded[ROWS * LANES], got[2 * LANES] = {0};
    uint16_t halves[2 * LANES];
    uint32_t state = 3;
    for (int i = 0; i < ROWS * LANES; i++) {
        in[i] = (float)((int)(next_random(&state) >> 12) - 2048) * 0x1p-10f;
        const uint32_t bits = (uint32_t)xp_bf16_bits((double)in[i]) << 16;
        memcpy(&rounded[i], &bits, sizeof bits);
    }
    xp_variant variant = xp_probe_part(XP_PROBE_PART_PAIRS);
    xp_variant_set(&variant, "LANES", LANES);
    xp_variant_set(&variant, "STORAGE", 2);
    xp_variant_set(&variant, "BF16_INSTRUCTION", 1);
    *right = *of = 0;
    XP_TRY(xp_probe_compute(device, "probe_pairs", &variant, 1, 1, sizeof in, in, sizeof got, got, 1));
    *of = 3 * LANES;
    memcpy(halves, got + LANES, sizeof halves);
    for (int i = 0; i < LANES; i++) {
        const float *lane = rounded + i;
        *right += got[i] == lane[0] * lane[2 * LANES] + lane[LANES] * lane[3 * LANES] + 1;
    }
    for (int i = 0; i < 2 * LANES; i++) *right += halves[i] == xp_bf16_bits((double)in[i]);
    return XP_OK;
}

xp_status xp_bf16_instruction_find(xp_device *device, bool *out) {
    int right, of;
    *out = false;
    if (device->limits.lanes != 16 || !xp_bf16_instruction_exists()) return XP_OK;
    const xp_status status = count_right_pairs(device, &right, &of);
    *out = status == XP_OK && right == of;
    /* a compiler that takes none, or a folder of kernels without this one */
    return status == XP_BUILD_ERROR || status == XP_IO_ERROR ? XP_OK : status;
}

xp_status xp_probe_bf16(xp_device *device, xp_probe_result *out) {
    static const char others[] = "products in bf16 use the ordinary units of the device";
    if (!(device->limits.type & CL_DEVICE_TYPE_CPU) || device->limits.lanes != 16 || !xp_bf16_instruction_exists())
        return xp_probe_answer(out, true, 0, "none", "%s", others);
    int right, of;
    const xp_status status = count_right_pairs(device, &right, &of);
    if (status == XP_BUILD_ERROR) return xp_probe_answer(out, true, 0, "none", "its compiler takes none: %s", others);
    XP_TRY(status);
    return xp_probe_answer(out, right == of, right, xp_probe_words("AVX-512 BF16, %d of %d results right", right, of),
                           right == of ? "multiply tensors in bf16" : "not used");
}
