/* prototype [--device ID] FILE [NAME=VALUE ...] [-D... ...]: compiles a file of OpenCL kernels, runs those that its
 * comments describe, checks a sample of what they wrote against double precision and times them. Without FILE it names
 * the device: the first GPU, else the first CPU, unless ID (as for expanse) says another. For kernels that are being
 * written: it needs the OpenCL loader and nothing of the library.
 *
 * A comment of the file, // or block, says for each kernel, from "run:" to the comment's end or the next "run:":
 *
 *     run: KERNEL NAME=VALUE ... global=X[,Y[,Z]] local=X[,Y[,Z]] arguments=NAME,... [expect=... tolerance=X]
 *
 *   m=1000            an int; later values may name it. VALUE is an expression: + - * / ( ) ceil() sqrt() numbers names
 *   scale=float(X)    a float
 *   a=float[COUNT]    a buffer of floats, filled with random numbers; bf16[COUNT] and int[COUNT] (zeros) likewise
 *   arguments=        the kernel's, in order
 *   expect=gemm(c,a,b,m,n,k,nt)               c [m,n] = op(a)·op(b): n as stored, t transposed
 *   expect=attention(o,lse,q,k,v,g,n,m,d[,causal])   q, o [g,n,d], k, v [g,m,d], lse [g,n] or -; scaled by 1/sqrt(d);
 *                                             causal: query i sees the keys up to i
 *   tolerance=X       of an output's largest error, as a multiple of the outputs' root mean square; lse's is absolute
 *   flops=X bytes=X   of one launch, for TFLOP/s and GB/s
 *   options=-DX={m}   of the compiler, {} around a VALUE; may be repeated. #include finds the file's folder
 *   repeat=N          timed launches (20)
 *
 * NAME=VALUE on the command line replaces the comment's. Outputs begin as NaN, and every buffer ends with a guard that
 * no kernel may write. Exit status: 0 all right, 1 something is wrong, 2 the comment or the command line is. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { VALUES = 48, ARGUMENTS = 32, REPEAT = 1000, GUARD_BYTES = 1 << 16, SAMPLES = 2000, LOG_BYTES = 1 << 16 };

typedef enum kind { INT, FLOAT, BUFFER_INT, BUFFER_FLOAT, BUFFER_BF16 } kind;

typedef struct value {
    char name[32];
    kind kind;
    double number; /* of a buffer: elements */
    cl_mem buffer;
    void *host; /* a buffer's elements, without the guard */
} value;

/* One kernel as its comment describes it. */
typedef struct run {
    char kernel[64], arguments[512], expect[256], options[2048];
    value values[VALUES];
    int count;
    size_t global[3], local[3];
    cl_uint dimensions, local_dimensions;
    double flops, bytes, tolerance;
    int repeat;
} run;

static const char *path;
static int line;
static char *given[VALUES + 1]; /* NAME=VALUE of the command line, and whether a comment has the name */
static bool used[VALUES];
static cl_device_id device;
static cl_context context;
static cl_command_queue queue;

/* ---- failing ----------------------------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3), noreturn)) fail(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    if (line) fprintf(stderr, "%s:%d: ", path, line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

static void need(cl_int code, const char *what) {
    if (code != CL_SUCCESS) fail(1, "%s failed with OpenCL error %d", what, code);
}

static void *allocate(size_t bytes) {
    void *out = calloc(1, bytes ? bytes : 1);
    if (!out) fail(1, "no memory for %zu bytes", bytes);
    return out;
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

/* Opens the first device that fits: P:D, gpu, cpu, or a part of the name of the device or of its platform. false: none
 * does, and there [size] lists what there is. */
static bool open_device(const char *select, char *there, size_t size) {
    enum { MOST = 32 };
    cl_platform_id platforms[MOST];
    cl_uint platform_count = 0;
    snprintf(there, size, "no device fits \"%s\"; there is:", select);
    if (clGetPlatformIDs(MOST, platforms, &platform_count) != CL_SUCCESS) platform_count = 0;
    for (cl_uint p = 0; p < platform_count && p < MOST; p++) {
        cl_device_id ids[MOST];
        cl_uint count = 0;
        char platform[128] = "?";
        clGetPlatformInfo(platforms[p], CL_PLATFORM_NAME, sizeof platform, platform, NULL);
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, ids, &count) != CL_SUCCESS) count = 0;
        for (cl_uint d = 0; d < count && d < MOST; d++) {
            char name[128] = "?", driver[128] = "?", id[32], text[512];
            cl_device_type type = 0;
            clGetDeviceInfo(ids[d], CL_DEVICE_NAME, sizeof name, name, NULL);
            clGetDeviceInfo(ids[d], CL_DRIVER_VERSION, sizeof driver, driver, NULL);
            clGetDeviceInfo(ids[d], CL_DEVICE_TYPE, sizeof type, &type, NULL);
            const char *word = type & CL_DEVICE_TYPE_GPU ? "GPU" : type & CL_DEVICE_TYPE_CPU ? "CPU" : "ACC";
            snprintf(id, sizeof id, "%u:%u", p, d);
            snprintf(text, sizeof text, "%s %s %s (%s, driver %s)", id, word, name, platform, driver);
            const bool typed = strcasecmp(select, "gpu") == 0 || strcasecmp(select, "cpu") == 0;
            if (strcmp(select, id) == 0 ||
                (typed ? strcasecmp(select, word) == 0 : strcasestr(name, select) || strcasestr(platform, select))) {
                puts(text);
                cl_int code;
                device = ids[d];
                context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
                need(code, "clCreateContext");
                queue = clCreateCommandQueue(context, device, CL_QUEUE_PROFILING_ENABLE, &code);
                need(code, "clCreateCommandQueue");
                return true;
            }
            const size_t length = strlen(there);
            snprintf(there + length, size - length, " %s;", text);
        }
    }
    const size_t length = strlen(there);
    if (there[length - 1] == ';')
        there[length - 1] = 0;
    else
        snprintf(there + length, size - length, " none");
    return false;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static float of_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float out;
    memcpy(&out, &wide, sizeof out);
    return out;
}

static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint64_t next(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

/* About normal, of variance 1: the sum of four uniform numbers. */
static float normal(void) {
    const uint64_t x = next();
    return ((float)(x & 0xffff) + (float)(x >> 16 & 0xffff) + (float)(x >> 32 & 0xffff) + (float)(x >> 48) - 131070) /
           37837.0f;
}

static size_t element_bytes(const value *v) {
    return v->kind == BUFFER_BF16 ? 2 : 4;
}

static double element(const value *v, size_t at) {
    return v->kind == BUFFER_BF16 ? of_bf16(((const uint16_t *)v->host)[at]) : ((const float *)v->host)[at];
}

/* ---- the comment ------------------------------------------------------------------------------------------------- */

static value *find(run *r, const char *name, size_t length) {
    for (int i = 0; i < r->count; i++)
        if (strlen(r->values[i].name) == length && strncmp(r->values[i].name, name, length) == 0) return &r->values[i];
    return NULL;
}

static double sum(run *r, const char **at);

static double factor(run *r, const char **at) {
    if (**at == '-') {
        ++*at;
        return -factor(r, at);
    }
    if (isdigit((unsigned char)**at) || **at == '.') {
        char *end;
        const double x = strtod(*at, &end);
        *at = end;
        return x;
    }
    const char *name = *at;
    while (isalnum((unsigned char)**at) || **at == '_') ++*at;
    const size_t length = (size_t)(*at - name);
    if (**at == '(') {
        ++*at;
        const double x = sum(r, at);
        if (**at != ')') fail(2, "\"%s\" has no closing parenthesis", name);
        ++*at;
        if (length == 4 && strncmp(name, "ceil", 4) == 0) return ceil(x);
        if (length == 4 && strncmp(name, "sqrt", 4) == 0) return sqrt(x);
        if (length == 0) return x;
        fail(2, "there is no function \"%.*s\"", (int)length, name);
    }
    const value *v = length ? find(r, name, length) : NULL;
    if (!v) fail(2, "\"%s\" is not an expression of numbers and of earlier values", name);
    return v->number;
}

static double product(run *r, const char **at) {
    double x = factor(r, at);
    while (**at == '*' || **at == '/') {
        const bool times = *(*at)++ == '*';
        const double y = factor(r, at);
        x = times ? x * y : x / y;
    }
    return x;
}

static double sum(run *r, const char **at) {
    double x = product(r, at);
    while (**at == '+' || **at == '-') {
        const bool plus = *(*at)++ == '+';
        const double y = product(r, at);
        x = plus ? x + y : x - y;
    }
    return x;
}

static double number(run *r, const char *text) {
    const char *at = text;
    const double x = sum(r, &at);
    if (*at || !isfinite(x)) fail(2, "\"%s\" is not a number", text);
    return x;
}

static cl_uint sizes(run *r, char *text, size_t out[3]) {
    cl_uint count = 0;
    for (char *rest, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        const double x = number(r, word);
        if (count == 3 || x < 1 || x != floor(x)) fail(2, "\"%s\": one to three whole numbers of at least 1", word);
        out[count++] = (size_t)x;
    }
    return count;
}

/* Appends an option of the compiler, with {EXPRESSION} replaced by its value. */
static void add_option(run *r, const char *text) {
    const size_t so_far = strlen(r->options);
    char *to = r->options + so_far, *const end = r->options + sizeof r->options - 1;
    *to++ = ' ';
    while (*text && to < end) {
        if (*text != '{') {
            *to++ = *text++;
            continue;
        }
        const size_t length = strcspn(++text, "}");
        char inner[256];
        snprintf(inner, sizeof inner, "%.*s", (int)length, text);
        to += snprintf(to, (size_t)(end - to), "%.9g", number(r, inner));
        text += length + (text[length] == '}');
    }
    if (to >= end) fail(2, "%s: the options are too long", r->kernel);
    *to = 0;
}

/* NAME=VALUE. A value of the command line has the last word. */
static void set(run *r, const char *word) {
    char name[32], text[512];
    const char *equals = strchr(word, '=');
    if (!equals || equals == word || (size_t)(equals - word) >= sizeof name || strlen(equals) > sizeof text)
        fail(2, "\"%s\" is not NAME=VALUE", word);
    snprintf(name, sizeof name, "%.*s", (int)(equals - word), word);
    snprintf(text, sizeof text, "%s", equals + 1);
    const size_t length = strlen(name);
    for (int i = 0; given[i]; i++)
        if (strncmp(given[i], name, length) == 0 && given[i][length] == '=') {
            snprintf(text, sizeof text, "%s", given[i] + length + 1);
            used[i] = true;
        }
    if (strcmp(name, "global") == 0)
        r->dimensions = sizes(r, text, r->global);
    else if (strcmp(name, "local") == 0)
        r->local_dimensions = sizes(r, text, r->local);
    else if (strcmp(name, "arguments") == 0)
        snprintf(r->arguments, sizeof r->arguments, "%s", text);
    else if (strcmp(name, "expect") == 0)
        snprintf(r->expect, sizeof r->expect, "%s", text);
    else if (strcmp(name, "options") == 0)
        add_option(r, text);
    else if (strcmp(name, "flops") == 0)
        r->flops = number(r, text);
    else if (strcmp(name, "bytes") == 0)
        r->bytes = number(r, text);
    else if (strcmp(name, "tolerance") == 0)
        r->tolerance = number(r, text);
    else if (strcmp(name, "repeat") == 0)
        r->repeat = (int)number(r, text);
    else {
        static const struct {
            const char *word;
            kind kind;
        } kinds[] = {{"float[", BUFFER_FLOAT}, {"bf16[", BUFFER_BF16}, {"int[", BUFFER_INT}, {"float(", FLOAT}};
        if (r->count == VALUES || find(r, name, length)) fail(2, "\"%s\" is one value too many", name);
        value v = {.kind = INT};
        memcpy(v.name, name, sizeof name);
        char *inner = text;
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (strncmp(text, kinds[i].word, strlen(kinds[i].word)) == 0) {
                char *last = text + strlen(text) - 1;
                v.kind = kinds[i].kind;
                inner = text + strlen(kinds[i].word);
                if (*last != (v.kind == FLOAT ? ')' : ']')) fail(2, "\"%s\" has no closing bracket", word);
                *last = 0;
            }
        v.number = number(r, inner);
        if (v.kind != FLOAT && v.number != floor(v.number)) fail(2, "%s = %g is not a whole number", name, v.number);
        if (v.kind >= BUFFER_INT && v.number < 1) fail(2, "%s would be empty", name);
        r->values[r->count++] = v;
    }
}

/* Reads one description, from after its "run:"; returns its end. */
static const char *describe(const char *at, run *out) {
    const int begin = line;
    *out = (run){.repeat = 20};
    for (bool first_of_line = false;;) {
        while (*at == ' ' || *at == '\t') at++;
        if (first_of_line && strncmp(at, "//", 2) != 0 && *at != '*') break;
        if (first_of_line) at += *at == '*' ? *at != 0 && at[1] != '/' : 2;
        while (*at == ' ' || *at == '\t') at++;
        first_of_line = *at == '\n';
        if (*at == '\n') {
            at++, line++;
            continue;
        }
        const size_t length = strcspn(at, " \t\n");
        if (!*at || strncmp(at, "*/", 2) == 0 || strncmp(at, "run:", 4) == 0) break;
        char word[600];
        if (length >= sizeof word) fail(2, "a word of %zu letters is too long", length);
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (!*out->kernel)
            snprintf(out->kernel, sizeof out->kernel, "%.63s", word);
        else
            set(out, word);
        at += length;
    }
    line = begin;
    if (!*out->kernel) fail(2, "run: names no kernel");
    if (!out->dimensions || out->local_dimensions != out->dimensions)
        fail(2, "%s: global= and local= are needed, with as many numbers each", out->kernel);
    for (cl_uint i = 0; i < out->dimensions; i++)
        if (out->global[i] % out->local[i])
            fail(2, "%s: global %zu is not a multiple of local %zu", out->kernel, out->global[i], out->local[i]);
    if (out->repeat < 1 || out->repeat > REPEAT) fail(2, "%s: repeat is between 1 and %d", out->kernel, REPEAT);
    if (*out->expect && !(out->tolerance > 0)) fail(2, "%s: expect= needs a tolerance=", out->kernel);
    return at;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static cl_program build(const char *source, const run *r, const char *more) {
    static char log[LOG_BYTES], options[8192];
    cl_int code;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    cl_program program = clCreateProgramWithSource(context, 1, &source, NULL, &code);
    need(code, "clCreateProgramWithSource");
    const char *verbose = " -cl-nv-verbose"; /* registers and spills, where the compiler knows the option */
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int plain = 0; plain < 2; plain++) {
        snprintf(options, sizeof options, "-I%s%s%s%s", slash ? folder : ".", r->options, more, plain ? "" : verbose);
        code = clBuildProgram(program, 1, &device, options, NULL, NULL);
        if (code != CL_INVALID_BUILD_OPTIONS && code != CL_INVALID_COMPILER_OPTIONS) break;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
    if (code != CL_SUCCESS)
        fail(1, "%s does not compile (OpenCL error %d, options%s%s):\n%.6000s", r->kernel, code, r->options, more, log);
    if (strspn(log, " \n\t") < strlen(log)) printf("%.4000s\n", log);
    printf("compiled in %.2f s; ", (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    return program;
}

/* Inputs get random numbers, outputs NaN; then a guard. */
static void make_buffer(value *v, bool output) {
    const size_t count = (size_t)v->number, bytes = count * element_bytes(v);
    unsigned char *all = allocate(bytes + GUARD_BYTES);
    for (size_t i = 0; i < count && v->kind != BUFFER_INT; i++) {
        const float x = output ? NAN : normal();
        if (v->kind == BUFFER_BF16)
            ((uint16_t *)all)[i] = output ? 0x7fc0 : to_bf16(x);
        else
            ((float *)all)[i] = x;
    }
    memset(all + bytes, 0xa5, GUARD_BYTES);
    cl_int code;
    v->host = all;
    v->buffer = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes + GUARD_BYTES, all, &code);
    need(code, v->name);
}

static void set_arguments(cl_kernel kernel, run *r, char *names) {
    cl_uint index = 0, wanted = 0;
    need(clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof wanted, &wanted, NULL), "clGetKernelInfo");
    for (char *rest, *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest), index++) {
        const value *v = find(r, name, strlen(name));
        if (!v) fail(2, "%s: arguments= names \"%s\", which has no value", r->kernel, name);
        const cl_int whole = (cl_int)v->number;
        const cl_float real = (cl_float)v->number;
        const cl_int code = v->kind == INT     ? clSetKernelArg(kernel, index, sizeof whole, &whole)
                            : v->kind == FLOAT ? clSetKernelArg(kernel, index, sizeof real, &real)
                                               : clSetKernelArg(kernel, index, sizeof v->buffer, &v->buffer);
        if (code != CL_SUCCESS)
            fail(2, "%s: argument %u, %s, does not fit the kernel (OpenCL error %d)", r->kernel, index, name, code);
    }
    if (index != wanted) fail(2, "%s has %u arguments, and arguments= names %u", r->kernel, wanted, index);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void launch(cl_kernel kernel, const run *r, cl_event *event) {
    need(clEnqueueNDRangeKernel(queue, kernel, r->dimensions, NULL, r->global, r->local, 0, NULL, event), "the launch");
}

static void time_kernel(cl_kernel kernel, const run *r) {
    static double times[REPEAT];
    static cl_event events[REPEAT];
    for (int i = 0; i < r->repeat; i++) launch(kernel, r, &events[i]);
    need(clFinish(queue), "clFinish");
    for (int i = 0; i < r->repeat; i++) {
        cl_ulong begin = 0, end = 0;
        need(clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL),
             "an event's time");
        need(clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_END, sizeof end, &end, NULL), "an event's time");
        clReleaseEvent(events[i]);
        times[i] = 1e-9 * (double)(end - begin);
    }
    qsort(times, (size_t)r->repeat, sizeof times[0], by_value);
    const double median = times[r->repeat / 2];
    printf("median %.4g ms of %d (%.4g to %.4g)", median * 1e3, r->repeat, times[0] * 1e3, times[r->repeat - 1] * 1e3);
    if (r->flops > 0) printf(", %.3g TFLOP/s", r->flops / median * 1e-12);
    if (r->bytes > 0) printf(", %.3g GB/s", r->bytes / median * 1e-9);
    puts("");
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

/* Errors of the sampled elements of one output. */
typedef struct comparison {
    const value *output;
    double worst, squares;
    size_t at, count;
} comparison;

static void compare(comparison *c, size_t at, double expected) {
    const double error = fabs(element(c->output, at) - expected);
    if (!(error <= c->worst)) c->worst = isfinite(error) ? error : INFINITY, c->at = at; /* NaN, too */
    c->squares += expected * expected;
    c->count++;
}

/* elements: all of the output, of which none may have been left out. */
static bool verdict(const comparison *c, size_t elements, double tolerance, bool absolute) {
    const double error = absolute ? c->worst : c->worst / sqrt(c->squares / (double)c->count);
    const char *name = c->output->name;
    for (size_t at = 0; at < elements; at++)
        if (!isfinite(element(c->output, at))) {
            printf("%s WRONG: not a finite number at [%zu]; ", name, at);
            return false;
        }
    const bool right = error <= tolerance;
    printf("%s %s: error %.2e at [%zu], bound %.1e, %zu elements; ", name, right ? "right" : "WRONG", error, c->at,
           tolerance, c->count);
    return right;
}

static bool check_gemm(run *r, value **roles, const double *sizes_given, const char *order) {
    const value *c = roles[0], *a = roles[1], *b = roles[2];
    const size_t m = (size_t)sizes_given[0], n = (size_t)sizes_given[1], k = (size_t)sizes_given[2];
    const bool ta = order[0] == 't', tb = order[1] == 't', all = m * n <= SAMPLES;
    if (c->number < (double)(m * n) || a->number < (double)(m * k) || b->number < (double)(k * n))
        fail(2, "%s: expect=gemm names a buffer that is smaller than its matrix", r->kernel);
    comparison result = {.output = c};
    for (size_t s = 0; s < (all ? m * n : SAMPLES); s++) {
        const size_t at = all ? s : s == 0 ? m * n - 1 : next() % (m * n), i = at / n, j = at % n;
        double expected = 0;
        for (size_t l = 0; l < k; l++)
            expected += element(a, ta ? l * m + i : i * k + l) * element(b, tb ? j * k + l : l * n + j);
        compare(&result, at, expected);
    }
    return verdict(&result, m * n, r->tolerance, false);
}

static bool check_attention(run *r, value **roles, const double *sizes_given, bool causal) {
    const value *o = roles[0], *lse = roles[1], *q = roles[2], *k = roles[3], *v = roles[4];
    const size_t g = (size_t)sizes_given[0], n = (size_t)sizes_given[1], m = (size_t)sizes_given[2],
                 d = (size_t)sizes_given[3];
    if (o->number < (double)(g * n * d) || q->number < (double)(g * n * d) || k->number < (double)(g * m * d) ||
        v->number < (double)(g * m * d) || (lse && lse->number < (double)(g * n)))
        fail(2, "%s: expect=attention names a buffer that is smaller than its tensor", r->kernel);
    const size_t rows = g * n, most = SAMPLES / 40;
    double *weight = allocate(m * sizeof *weight);
    comparison result = {.output = o}, sums = {.output = lse};
    for (size_t s = 0; s < (rows <= most ? rows : most); s++) {
        const size_t row = rows <= most ? s : s == 0 ? rows - 1 : next() % rows, group = row / n;
        const size_t keys = causal && row % n < m ? row % n + 1 : m;
        double largest = -INFINITY, total = 0;
        for (size_t j = 0; j < keys; j++) {
            weight[j] = 0;
            for (size_t e = 0; e < d; e++) weight[j] += element(q, row * d + e) * element(k, (group * m + j) * d + e);
            weight[j] /= sqrt((double)d);
            largest = fmax(largest, weight[j]);
        }
        for (size_t j = 0; j < keys; j++) total += weight[j] = exp(weight[j] - largest);
        for (size_t e = 0; e < d; e++) {
            double expected = 0;
            for (size_t j = 0; j < keys; j++) expected += weight[j] / total * element(v, (group * m + j) * d + e);
            compare(&result, row * d + e, expected);
        }
        if (lse) compare(&sums, row, largest + log(total));
    }
    free(weight);
    const bool right = verdict(&result, rows * d, r->tolerance, false);
    return (!lse || verdict(&sums, rows, r->tolerance, true)) && right;
}

/* What expect= says: which function, its tensors (outputs first), its sizes, and the word after them. */
typedef struct expectation {
    bool attention;
    value *roles[5];
    double sizes[4];
    char word[16];
} expectation;

static void read_expectation(run *r, expectation *out) {
    char text[sizeof r->expect];
    *out = (expectation){.attention = strncmp(r->expect, "attention(", 10) == 0};
    const int tensors = out->attention ? 5 : 3, wanted = tensors + (out->attention ? 4 : 3);
    const size_t length = strlen(r->expect);
    if ((!out->attention && strncmp(r->expect, "gemm(", 5) != 0) || r->expect[length - 1] != ')')
        fail(2, "%s: expect= is gemm(...) or attention(...)", r->kernel);
    snprintf(text, sizeof text, "%.*s", (int)(length - 1 - (out->attention ? 10 : 5)),
             r->expect + (out->attention ? 10 : 5));
    int i = 0;
    for (char *rest, *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest), i++) {
        value *v = find(r, word, strlen(word));
        if (i < tensors && !(out->attention && i == 1 && strcmp(word, "-") == 0)) {
            if (!v || v->kind < BUFFER_FLOAT)
                fail(2, "%s: expect= names \"%s\", which is not a buffer of numbers", r->kernel, word);
            out->roles[i] = v;
        } else if (i >= tensors && i < wanted) {
            const double x = number(r, word);
            if (x < 1 || x != floor(x)) fail(2, "%s: expect= has the size %g", r->kernel, x);
            out->sizes[i - tensors] = x;
        } else if (i == wanted)
            snprintf(out->word, sizeof out->word, "%.15s", word);
    }
    const bool known = out->attention ? !*out->word || strcmp(out->word, "causal") == 0
                                      : strlen(out->word) == 2 && strspn(out->word, "nt") == 2;
    if (!known || i != wanted + (*out->word != 0))
        fail(2, "%s: expect= is gemm(c,a,b,m,n,k,nt) or attention(o,lse,q,k,v,g,n,m,d[,causal])", r->kernel);
}

static bool guards_hold(run *r) {
    bool hold = true;
    for (int i = 0; i < r->count; i++) {
        value *v = &r->values[i];
        if (!v->buffer) continue;
        const size_t bytes = (size_t)v->number * element_bytes(v);
        need(clEnqueueReadBuffer(queue, v->buffer, CL_TRUE, 0, bytes + GUARD_BYTES, v->host, 0, NULL, NULL), v->name);
        for (size_t at = 0; at < GUARD_BYTES; at++)
            if (((unsigned char *)v->host)[bytes + at] != 0xa5) {
                printf("%s WRONG: written %zu bytes after its end; ", v->name, at);
                hold = false;
                break;
            }
    }
    return hold;
}

static bool run_kernel(const char *source, run *r, const char *options) {
    expectation expected = {0};
    if (*r->expect) read_expectation(r, &expected);
    printf("%s", r->kernel);
    for (int i = 0; i < r->count; i++)
        if (r->values[i].kind == INT) printf(" %s=%g", r->values[i].name, r->values[i].number);
    printf("%s%s: ", r->options, options);
    cl_program program = build(source, r, options);
    cl_int code;
    cl_kernel kernel = clCreateKernel(program, r->kernel, &code);
    if (code != CL_SUCCESS) fail(2, "there is no kernel %s (OpenCL error %d)", r->kernel, code);
    for (int i = 0; i < r->count; i++) {
        value *v = &r->values[i];
        const bool output = v == expected.roles[0] || (expected.attention && v == expected.roles[1]);
        if (v->kind >= BUFFER_INT) make_buffer(v, output);
    }
    set_arguments(kernel, r, r->arguments);
    launch(kernel, r, NULL);
    need(clFinish(queue), "the kernel");
    bool right = guards_hold(r);
    if (!*r->expect)
        printf("not checked; ");
    else if (expected.attention)
        right &= check_attention(r, expected.roles, expected.sizes, *expected.word);
    else
        right &= check_gemm(r, expected.roles, expected.sizes, expected.word);
    time_kernel(kernel, r);
    for (int i = 0; i < r->count; i++)
        if (r->values[i].buffer) {
            clReleaseMemObject(r->values[i].buffer);
            free(r->values[i].host);
        }
    clReleaseKernel(kernel);
    clReleaseProgram(program);
    fflush(stdout);
    return right;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static char *read_file(const char *name) {
    enum { MOST = 1 << 24 };
    FILE *file = fopen(name, "rb");
    if (!file) fail(2, "%s cannot be read", name);
    char *text = allocate(MOST);
    text[fread(text, 1, MOST - 1, file)] = 0;
    fclose(file);
    return text;
}

int main(int count, char **words) {
    const char *select = NULL;
    char there[4096], options[2048] = "";
    int values = 0;
    for (int i = 1; i < count; i++) {
        const size_t so_far = strlen(options);
        if (strcmp(words[i], "--device") == 0 && i + 1 < count)
            select = words[++i];
        else if (strncmp(words[i], "-D", 2) == 0)
            snprintf(options + so_far, sizeof options - so_far, " %s", words[i]);
        else if (!path && words[i][0] != '-')
            path = words[i];
        else if (path && strchr(words[i], '=') && values < VALUES)
            given[values++] = words[i];
        else
            fail(2, "usage: prototype [--device ID] [FILE [NAME=VALUE ...] [-D... ...]]");
    }
    const bool found = select ? open_device(select, there, sizeof there)
                              : open_device("gpu", there, sizeof there) || open_device("cpu", there, sizeof there);
    if (!found) fail(1, "%s", there);
    if (!path) return 0;
    const char *source = read_file(path), *from = source;
    bool right = true;
    int runs = 0;
    for (const char *at = source; (at = strstr(at, "run:")); runs++) {
        static run r;
        for (line = 1, from = source; from < at; from++) line += *from == '\n';
        at = describe(at + 4, &r);
        right &= run_kernel(source, &r, options);
    }
    line = 0;
    if (!runs) fail(2, "%s has no comment with \"run:\"", path);
    for (int i = 0; given[i]; i++)
        if (!used[i]) fail(2, "%s: no comment of %s has this name", given[i], path);
    puts(right ? "all right" : "WRONG");
    return right ? 0 : 1;
}
