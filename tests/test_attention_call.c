/* Truths of the attention call on the caller's queue and buffers, seen from outside. The attention it compares with is
 * written out here in double. */
#include "outside.h"

#include <expanse/attention.h>

/* ---- a problem and the definition -------------------------------------------------------------------------------- */

enum { B = 2, N = 7, M = 9, H = 2, D = 12, E = 8, SCALES = 2 };
enum { Q, K, V, D_O, INPUTS, O = INPUTS, DQ, DK, DV, TENSORS };
static const char *const names[TENSORS] = {"q", "k", "v", "d_o", "o", "dq", "dk", "dv"};

typedef struct problem {
    bool bn;
    int scales[SCALES];         /* of the heads; 1: not pooled */
    int lengths[B];             /* of the keys */
    double x[INPUTS][4096];     /* dense [B,rows,H,width] */
    double lse[B * H * N];      /* made by define() */
    double made[TENSORS][4096]; /* O, DQ, DK, DV */
} problem;

static int rows_of(int tensor) {
    return tensor == K || tensor == V || tensor == DK || tensor == DV ? M : N;
}

static int width_of(int tensor) {
    return tensor == V || tensor == DV || tensor == O || tensor == D_O ? E : D;
}

static int size_of(int tensor) {
    return B * rows_of(tensor) * H * width_of(tensor);
}

static double *row(double *x, int tensor, int b, int n, int h) {
    return x + ((b * rows_of(tensor) + n) * H + h) * width_of(tensor);
}

static double uniform(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 23) - 1;
}

static problem *make(const char *specification, unsigned seed) {
    static problem p;
    p = (problem){.bn = strstr(specification, "bn") != NULL, .scales = {1, 1}, .lengths = {M, M}};
    if (strstr(specification, "sh(1,2)")) p.scales[1] = 2;
    for (int t = 0; t < INPUTS; t++)
        for (int i = 0; i < size_of(t); i++) p.x[t][i] = (float)(1.5 * uniform(&seed)); /* as the device sees it */
    return &p;
}

/* o and lse of one head of one sample; returns Σ o·d_o. */
static double define_head(problem *p, int b, int h, double *o_all) {
    static double k[M][D], v[M][E];
    const int scale = p->scales[h], count = (p->lengths[b] + scale - 1) / scale;
    double mean[D] = {0}, variance[D], dot = 0;
    for (int j = 0; j < count; j++) {
        int first = j * scale, end = first + scale < p->lengths[b] ? first + scale : p->lengths[b];
        for (int d = 0; d < D; d++) k[j][d] = 0;
        for (int e = 0; e < E; e++) v[j][e] = 0;
        for (int r = first; r < end; r++) {
            for (int d = 0; d < D; d++) k[j][d] += row(p->x[K], K, b, r, h)[d] / (end - first);
            for (int e = 0; e < E; e++) v[j][e] += row(p->x[V], V, b, r, h)[e] / (end - first);
        }
        for (int d = 0; d < D; d++) mean[d] += k[j][d] / count;
    }
    for (int d = 0; d < D; d++) {
        variance[d] = 0;
        for (int j = 0; j < count; j++) variance[d] += (k[j][d] - mean[d]) * (k[j][d] - mean[d]) / count;
        variance[d] = p->bn ? variance[d] + 1e-5 : 1;
        if (!p->bn) mean[d] = 0;
    }
    for (int i = 0; i < N; i++) {
        double s[M], largest = -INFINITY, sum = 0, *o = row(o_all, O, b, i, h);
        for (int j = 0; j < count; j++) {
            s[j] = 0;
            for (int d = 0; d < D; d++)
                s[j] += (row(p->x[Q], Q, b, i, h)[d] - mean[d]) / variance[d] * (k[j][d] - mean[d]) / sqrt(D);
            if (s[j] > largest) largest = s[j];
        }
        for (int j = 0; j < count; j++) sum += exp(s[j] - largest);
        p->lse[(b * H + h) * N + i] = largest + log(sum);
        for (int e = 0; e < E; e++) {
            o[e] = 0;
            for (int j = 0; j < count; j++) o[e] += exp(s[j] - largest) / sum * v[j][e];
            dot += o[e] * row(p->x[D_O], D_O, b, i, h)[e];
        }
    }
    return dot;
}

/* o from the definition, the gradients by central differences of it. */
static void define(problem *p) {
    static double unused[4096];
    static const int inputs[] = {Q, K, V}, outputs[] = {DQ, DK, DV};
    const double step = 1e-5;
    for (int t = 0; t < 3; t++) {
        for (int i = 0; i < size_of(inputs[t]); i++) {
            const int h = i / width_of(inputs[t]) % H, b = i / (size_of(inputs[t]) / B);
            double *x = &p->x[inputs[t]][i], old = *x;
            *x = old + step;
            double up = define_head(p, b, h, unused);
            *x = old - step;
            p->made[outputs[t]][i] = (up - define_head(p, b, h, unused)) / (2 * step);
            *x = old;
        }
    }
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++) define_head(p, b, h, p->made[O]);
}

/* ---- the caller's buffers ---------------------------------------------------------------------------------------- */

static const float untouched = -777;

typedef struct holder {
    xp_attention_layout layout;
    size_t elements; /* of the buffer */
    cl_mem buffer;
    float *host;
} holder;

static size_t place_of(const holder *held, int tensor, int b, int n, int h, int d) {
    const int64_t *stride = held->layout.stride;
    const int64_t dense[3] = {(int64_t)rows_of(tensor) * H * width_of(tensor), H * width_of(tensor), width_of(tensor)};
    const int64_t *s = stride[0] || stride[1] || stride[2] ? stride : dense;
    return (size_t)(held->layout.offset + b * s[0] + n * s[1] + h * s[2] + d);
}

#define EACH_ELEMENT(tensor)                                                                                           \
    for (int b = 0; b < B; b++)                                                                                        \
        for (int n = 0; n < rows_of(tensor); n++)                                                                      \
            for (int h = 0; h < H; h++)                                                                                \
                for (int d = 0; d < width_of(tensor); d++)

typedef struct call {
    problem *p;
    xp_attention_options options;
    holder held[TENSORS];
    cl_mem lse, lengths;
    xp_attention_call *attention;
    xp_attention_tensors tensors;
} call;

static void spread(call *c, int tensor) {
    holder *held = &c->held[tensor];
    EACH_ELEMENT(tensor)
    held->host[place_of(held, tensor, b, n, h, d)] = (float)row(c->p->x[tensor], tensor, b, n, h)[d];
}

static void upload(call *c, int tensor) {
    holder *held = &c->held[tensor];
    must_cl(clEnqueueWriteBuffer(queue, held->buffer, CL_TRUE, 0, held->elements * 4, held->host, 0, NULL, NULL));
}

/* Dense where layouts are zeroes. With `uploaded`, the inputs are on the device afterwards. */
static void start(call *c, problem *p, const char *specification, const xp_attention_layout *layouts, bool uploaded) {
    *c = (call){.p = p};
    xp_attention_options_default(&c->options);
    xp_attention_options *o = &c->options;
    o->specification = specification;
    o->batch = B, o->queries = N, o->keys = M, o->heads = H, o->width = D, o->value_width = E;
    o->has_key_lengths = true;
    o->gradients = XP_ATTENTION_DQ | XP_ATTENTION_DK | XP_ATTENTION_DV;
    xp_attention_layout *in_options[TENSORS] = {&o->q, &o->k, &o->v, &o->d_o, &o->o, &o->dq, &o->dk, &o->dv};
    cl_mem *in_tensors[TENSORS] = {&c->tensors.q, &c->tensors.k,  &c->tensors.v,  &c->tensors.d_o,
                                   &c->tensors.o, &c->tensors.dq, &c->tensors.dk, &c->tensors.dv};
    for (int t = 0; t < TENSORS; t++) {
        holder *held = &c->held[t];
        if (layouts) held->layout = *in_options[t] = layouts[t];
        held->elements = place_of(held, t, B - 1, rows_of(t) - 1, H - 1, width_of(t) - 1) + 1;
        held->buffer = *in_tensors[t] = new_buffer(held->elements * 4);
        held->host = malloc(held->elements * 4);
        for (size_t i = 0; i < held->elements; i++) held->host[i] = untouched;
        if (t < INPUTS && uploaded) spread(c, t);
        upload(c, t);
    }
    c->lse = c->tensors.lse = new_buffer(sizeof(float) * B * H * N);
    c->lengths = c->tensors.key_lengths = new_buffer(sizeof(cl_int) * B);
    must_cl(clEnqueueWriteBuffer(queue, c->lengths, CL_TRUE, 0, sizeof(cl_int) * B, p->lengths, 0, NULL, NULL));
    must(xp_attention_create(&c->attention, device, o));
}

static void finish(call *c) {
    xp_attention_close(&c->attention);
    for (int t = 0; t < TENSORS; t++) {
        clReleaseMemObject(c->held[t].buffer);
        free(c->held[t].host);
    }
    clReleaseMemObject(c->lse);
    clReleaseMemObject(c->lengths);
}

/* The results are the definition's, and nothing else was written. */
static void assert_defined(call *c) {
    define(c->p);
    for (int t = O; t < TENSORS; t++) {
        holder *held = &c->held[t];
        must_cl(clEnqueueReadBuffer(queue, held->buffer, CL_TRUE, 0, held->elements * 4, held->host, 0, NULL, NULL));
        size_t gaps = held->elements - (size_t)size_of(t);
        EACH_ELEMENT(t) {
            float *at = &held->host[place_of(held, t, b, n, h, d)];
            double expected = row(c->p->made[t], t, b, n, h)[d];
            if (!(fabs(*at - expected) <= 3e-5 * (1 + fabs(expected))))
                fail_msg("\"%s\": %s[%d,%d,%d,%d] is %.7g, expected %.7g", c->options.specification, names[t], b, n, h,
                         d, (double)*at, expected);
            *at = untouched;
        }
        for (size_t i = 0; i < held->elements; i++)
            if (held->host[i] != untouched)
                fail_msg("%s: element %zu in a gap (of %zu) was written", names[t], i, gaps);
    }
    if (!c->tensors.lse) return;
    float lse[B * H * N];
    must_cl(clEnqueueReadBuffer(queue, c->lse, CL_TRUE, 0, sizeof lse, lse, 0, NULL, NULL));
    for (int i = 0; i < B * H * N; i++) assert_true(fabs(lse[i] - c->p->lse[i]) < 3e-5);
}

/* Every tensor somewhere else in its buffer: heads before rows, parts of a packed one, gaps, odd offsets. */
static const xp_attention_layout scattered[TENSORS] = {[Q] = {5, {H * N * D, D, N *D}},
                                                       [K] = {3, {M * 2 * H * D, 2 * H *D, D}},
                                                       [V] = {H * D, {M * 2 * H * D, 2 * H *D, D}},
                                                       [D_O] = {1, {N * 40, 40, 19}},
                                                       [O] = {7, {H * N * E, E, N *E}},
                                                       [DQ] = {11, {N * H * 16, H * 16, 16}},
                                                       [DK] = {2, {H * M * D, D, M *D}},
                                                       [DV] = {9, {M * H * E + 13, H *E, E}}};

/* ---- one attention call ------------------------------------------------------------------------------------------ */

static void dense_buffers_give_the_definition(void **state) {
    static const char *const specifications[] = {"softmax", "softmax+bn", "softmax+bn+sh(1,2)"};
    for (int i = 0; i < 3; i++) {
        call c;
        start(&c, make(specifications[i], 3), specifications[i], NULL, true);
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        assert_defined(&c);
        finish(&c);
    }
}

static void offsets_and_strides_give_the_definition_and_leave_gaps_alone(void **state) {
    static const char *const specifications[] = {"softmax", "softmax+bn+sh(1,2)"};
    for (int i = 0; i < 2; i++) {
        call c;
        problem *p = make(specifications[i], 4);
        p->lengths[1] = 4;
        start(&c, p, specifications[i], scattered, true);
        c.tensors.lse = NULL;
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        assert_defined(&c);
        finish(&c);
    }
}

static void dense_tensors_may_begin_anywhere(void **state) {
    call c;
    xp_attention_layout shifted[TENSORS] = {0};
    for (int t = 0; t < TENSORS; t++) shifted[t].offset = 3 * t + 1;
    start(&c, make("softmax", 14), "softmax", shifted, true);
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    assert_defined(&c);
    finish(&c);
}

static void the_next_call_may_bring_other_buffers(void **state) {
    call first, second;
    problem *p = make("softmax+bn", 15);
    start(&first, p, "softmax+bn", scattered, true);
    start(&second, p, "softmax+bn", scattered, true);
    must(xp_attention_forward(first.attention, queue, &first.tensors, 0, NULL, NULL));
    must(xp_attention_forward(first.attention, queue, &second.tensors, 0, NULL, NULL));
    must(xp_attention_backward(first.attention, queue, &second.tensors, 0, NULL, NULL));
    assert_defined(&second);
    finish(&first);
    finish(&second);
}

static void an_unordered_queue_waits_for_the_given_events_and_ends_with_done(void **state) {
    call c;
    start(&c, make("softmax+bn+sh(1,2)", 5), "softmax+bn+sh(1,2)", scattered, false);
    cl_int code, status;
    cl_event gate = clCreateUserEvent(context, &code), forward, done;
    must_cl(code);
    must(xp_attention_forward(c.attention, unordered, &c.tensors, 1, &gate, &forward));
    must(xp_attention_backward(c.attention, unordered, &c.tensors, 1, &forward, &done));
    must_cl(clGetEventInfo(forward, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL));
    assert_int_not_equal(status, CL_COMPLETE);
    for (int t = 0; t < INPUTS; t++) {
        spread(&c, t);
        upload(&c, t);
    }
    must_cl(clSetUserEventStatus(gate, CL_COMPLETE));
    must_cl(clWaitForEvents(1, &done));
    assert_defined(&c);
    clReleaseEvent(gate);
    clReleaseEvent(forward);
    clReleaseEvent(done);
    finish(&c);
}

static void a_workspace_may_be_the_callers_and_part_of_a_larger_buffer(void **state) {
    call c;
    start(&c, make("softmax+bn", 6), "softmax+bn", NULL, true);
    const size_t bytes = xp_attention_workspace_bytes(c.attention);
    assert_true(bytes > 0);
    cl_mem small = new_buffer(bytes - 4), whole = new_buffer(bytes + 4096);
    c.tensors.workspace = small;
    rejects(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "workspace");
    cl_int code;
    cl_buffer_region region = {4096, bytes};
    cl_mem part = clCreateSubBuffer(whole, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    must_cl(code);
    const cl_mem rooms[] = {part, whole, NULL, part};
    for (int i = 0; i < 4; i++) {
        const float zero = 0;
        must_cl(clEnqueueFillBuffer(queue, whole, &zero, 4, 0, bytes + 4096, 0, NULL, NULL));
        c.tensors.workspace = rooms[i];
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        assert_defined(&c);
        unsigned char first;
        must_cl(clEnqueueReadBuffer(queue, whole, CL_TRUE, 0, 1, &first, 0, NULL, NULL));
        if (rooms[i] != whole) assert_int_equal(first, 0);
    }
    clReleaseMemObject(small);
    clReleaseMemObject(part);
    clReleaseMemObject(whole);
    finish(&c);
}

static void a_backward_pass_may_be_repeated(void **state) {
    call c;
    start(&c, make("softmax+bn+sh(1,2)", 7), "softmax+bn+sh(1,2)", scattered, true);
    rejects(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT,
            "run a forward pass");
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    for (int i = 0; i < 3; i++) must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    assert_defined(&c);
    finish(&c);
}

static void read_dense(call *c, int tensor, float *out) {
    must_cl(clEnqueueReadBuffer(queue, c->held[tensor].buffer, CL_TRUE, 0, (size_t)size_of(tensor) * 4, out, 0, NULL,
                                NULL));
}

static void dropout_follows_seed_and_step_in_both_passes(void **state) {
    call c;
    problem *p = make("softmax", 8);
    start(&c, p, "softmax", NULL, true);
    xp_attention_close(&c.attention);
    c.options.dropout = 0.4f;
    must(xp_attention_create(&c.attention, device, &c.options));
    static float o[4][4096], dv[4096];
    for (int i = 0; i < 4; i++) {
        c.tensors.seed = i == 1 ? 6 : 5;
        c.tensors.step = i == 2 ? 1 : 0;
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        read_dense(&c, O, o[i]);
    }
    const size_t bytes = (size_t)size_of(O) * 4;
    assert_memory_equal(o[0], o[3], bytes);
    assert_memory_not_equal(o[0], o[1], bytes);
    assert_memory_not_equal(o[0], o[2], bytes);
    /* o is linear in v: Σ o·d_o = Σ v·dv, when both passes drop the same weights. */
    must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    read_dense(&c, DV, dv);
    double left = 0, right = 0;
    for (int i = 0; i < size_of(O); i++) left += o[3][i] * p->x[D_O][i];
    for (int i = 0; i < size_of(DV); i++) right += dv[i] * p->x[V][i];
    assert_true(fabs(left) > 0.1 && fabs(left - right) < 1e-4 * fabs(left));
    finish(&c);
}

/* o is linear in v: Σ o·d_o = Σ v·dv whatever the weights are. */
static void every_kind_of_line_runs_with_its_parameters(void **state) {
    static const struct {
        const char *line;
        int parameters;
    } lines[] = {{"linear(elu)", 0}, {"linear(square)+causal+bn", 0}, {"softmax+bias+bn(beta=learned)", 2}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        call c;
        problem *p = make(lines[i].line, 16);
        start(&c, p, "softmax", NULL, true);
        xp_attention_close(&c.attention);
        c.options.specification = lines[i].line;
        c.options.gradients |= lines[i].parameters ? XP_ATTENTION_DPARAMETERS : 0;
        must(xp_attention_create(&c.attention, device, &c.options));
        const bool linear = strncmp(lines[i].line, "linear", 6) == 0;
        if (linear) {
            rejects(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_UNSUPPORTED, "lse");
            c.tensors.lse = NULL;
        }
        xp_attention_parameter parameters[XP_ATTENTION_PARAMETERS];
        const int count = xp_attention_parameters(c.attention, parameters);
        assert_int_equal(count, lines[i].parameters);
        size_t bytes[XP_ATTENTION_PARAMETERS];
        for (int j = 0; j < count; j++) {
            bytes[j] = sizeof(float);
            for (int axis = 0; axis < parameters[j].rank; axis++) bytes[j] *= (size_t)parameters[j].shape[axis];
            const float half = 0.5f, nothing = NAN;
            c.tensors.parameters[j] = new_buffer(bytes[j]);
            c.tensors.d_parameters[j] = new_buffer(bytes[j]);
            must_cl(clEnqueueFillBuffer(queue, c.tensors.parameters[j], &half, 4, 0, bytes[j], 0, NULL, NULL));
            must_cl(clEnqueueFillBuffer(queue, c.tensors.d_parameters[j], &nothing, 4, 0, bytes[j], 0, NULL, NULL));
        }
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        static float o[4096], dv[4096], gradient[4096];
        read_dense(&c, O, o);
        read_dense(&c, DV, dv);
        double left = 0, right = 0;
        for (int e = 0; e < size_of(O); e++) left += o[e] * p->x[D_O][e];
        for (int e = 0; e < size_of(DV); e++) right += dv[e] * p->x[V][e];
        assert_true(fabs(left) > 0.1 && fabs(left - right) < 1e-4 * (1 + fabs(left)));
        for (int j = 0; j < count; j++) {
            double largest = 0;
            must_cl(
                clEnqueueReadBuffer(queue, c.tensors.d_parameters[j], CL_TRUE, 0, bytes[j], gradient, 0, NULL, NULL));
            for (size_t e = 0; e < bytes[j] / 4; e++) {
                assert_true(isfinite(gradient[e]));
                largest = fmax(largest, fabs(gradient[e]));
            }
            if (largest == 0) fail_msg("%s has no gradient", parameters[j].name);
            clReleaseMemObject(c.tensors.parameters[j]);
            clReleaseMemObject(c.tensors.d_parameters[j]);
        }
        finish(&c);
    }
}

static void learned_parameters_are_the_callers_buffers(void **state) {
    call c;
    problem *p = make("softmax+bn", 9);
    start(&c, p, "softmax+bn", NULL, true);
    xp_attention_parameter parameters[XP_ATTENTION_PARAMETERS];
    assert_int_equal(xp_attention_parameters(c.attention, parameters), 0);
    xp_attention_close(&c.attention);
    c.options.specification = "softmax+bn(beta=learned)";
    c.options.gradients |= XP_ATTENTION_DPARAMETERS;
    must(xp_attention_create(&c.attention, device, &c.options));
    assert_int_equal(xp_attention_parameters(c.attention, parameters), 1);
    assert_string_equal(parameters[0].name, "beta");
    assert_true(parameters[0].rank == 1 && parameters[0].shape[0] == H);
    rejects(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "beta");
    c.tensors.parameters[0] = new_buffer(H * 4);
    const float step = 1e-2f;
    static float o[4096];
    double slope = 0;
    for (int side = -1; side <= 1; side += 2) {
        const float beta[H] = {1 + side * step, 1};
        must_cl(clEnqueueWriteBuffer(queue, c.tensors.parameters[0], CL_TRUE, 0, sizeof beta, beta, 0, NULL, NULL));
        must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
        read_dense(&c, O, o);
        for (int i = 0; i < size_of(O); i++) slope += side * o[i] * p->x[D_O][i] / (2 * (double)step);
    }
    const float ones[H] = {1, 1};
    must_cl(clEnqueueWriteBuffer(queue, c.tensors.parameters[0], CL_TRUE, 0, sizeof ones, ones, 0, NULL, NULL));
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    rejects(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "d_beta");
    c.tensors.d_parameters[0] = new_buffer(H * 4);
    must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    float d_beta[H];
    must_cl(clEnqueueReadBuffer(queue, c.tensors.d_parameters[0], CL_TRUE, 0, sizeof d_beta, d_beta, 0, NULL, NULL));
    assert_true(fabs(d_beta[0] - slope) < 2e-2 * (1 + fabs(slope)));
    assert_defined(&c);
    clReleaseMemObject(c.tensors.parameters[0]);
    clReleaseMemObject(c.tensors.d_parameters[0]);
    finish(&c);
}

static void options_that_make_no_sense_are_rejected_by_name(void **state) {
    call c;
    start(&c, make("softmax", 10), "softmax", NULL, true);
    const xp_attention_options good = c.options;
    xp_attention_call *made = NULL;
#define REJECTED(change, status, part)                                                                                 \
    do {                                                                                                               \
        xp_attention_options bad = good;                                                                               \
        change;                                                                                                        \
        rejects(xp_attention_create(&made, device, &bad), status, part);                                               \
        assert_null(made);                                                                                             \
    } while (0)
    REJECTED(bad.specification = "softmux", XP_INVALID_ARGUMENT, "softmux");
    REJECTED(bad.batch = 0, XP_INVALID_ARGUMENT, "batch");
    REJECTED(bad.keys = -3, XP_INVALID_ARGUMENT, "keys");
    REJECTED(bad.key_heads = 3, XP_INVALID_ARGUMENT, "heads");
    REJECTED(bad.width = 300, XP_UNSUPPORTED, "256");
    REJECTED(bad.dropout = 1, XP_INVALID_ARGUMENT, "dropout");
    REJECTED(bad.gradients = 64, XP_INVALID_ARGUMENT, "gradients");
    REJECTED(bad.q.offset = -1, XP_INVALID_ARGUMENT, "offset -1 of q");
    REJECTED(bad.k.stride[1] = -8, XP_INVALID_ARGUMENT, "of k");
    REJECTED(bad.v.offset = INT64_MAX, XP_UNSUPPORTED, "v extends");
    REJECTED((bad.dk = (xp_attention_layout){0, {M * H * D, H * D, D - 1}}), XP_INVALID_ARGUMENT, "rows of dk overlap");
    REJECTED((bad.o = (xp_attention_layout){0, {0, H * E, E}}), XP_INVALID_ARGUMENT, "rows of o overlap");
    REJECTED(bad.packed_samples = 2, XP_INVALID_ARGUMENT, "packed");
    REJECTED((bad.gradients = XP_ATTENTION_DPARAMETERS), XP_INVALID_ARGUMENT, "no learned parameters");
    rejects(xp_attention_create(&made, NULL, &good), XP_INVALID_ARGUMENT, "device");
    finish(&c);
}

static void tensors_that_do_not_fit_are_rejected_by_name(void **state) {
    call c;
    start(&c, make("softmax", 11), "softmax", NULL, true);
    cl_int code;
    cl_context other = clCreateContext(NULL, 1, &device_id, NULL, NULL, &code);
    must_cl(code);
    cl_command_queue foreign = clCreateCommandQueue(other, device_id, 0, &code);
    must_cl(code);
    cl_mem stranger = clCreateBuffer(other, CL_MEM_READ_WRITE, 1 << 16, NULL, &code), small = new_buffer(64);
    must_cl(code);
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    const struct {
        const char *name;
        size_t place;
        bool backward;
    } fields[] = {{"q", offsetof(xp_attention_tensors, q), false},
                  {"k", offsetof(xp_attention_tensors, k), false},
                  {"v", offsetof(xp_attention_tensors, v), false},
                  {"o", offsetof(xp_attention_tensors, o), false},
                  {"key_lengths", offsetof(xp_attention_tensors, key_lengths), false},
                  {"d_o", offsetof(xp_attention_tensors, d_o), true},
                  {"dq", offsetof(xp_attention_tensors, dq), true},
                  {"dk", offsetof(xp_attention_tensors, dk), true},
                  {"dv", offsetof(xp_attention_tensors, dv), true}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const cl_mem wrong[] = {NULL, stranger, small};
        const char *const reasons[] = {"no buffer", "another context", "needs"};
        for (int w = 0; w < 3; w++) {
            if (w == 2 && i == 4) continue; /* two lengths fit anywhere */
            xp_attention_tensors bad = c.tensors;
            memcpy((char *)&bad + fields[i].place, &wrong[w], sizeof wrong[w]);
            char part[64];
            snprintf(part, sizeof part, "tensor %s ", fields[i].name);
            cl_event done = (cl_event)&c;
            xp_status status = fields[i].backward ? xp_attention_backward(c.attention, queue, &bad, 0, NULL, &done)
                                                  : xp_attention_forward(c.attention, queue, &bad, 0, NULL, &done);
            if (w == 1) snprintf(part, sizeof part, "tensor %s belongs", fields[i].name);
            rejects(status, XP_INVALID_ARGUMENT, part);
            rejects(status, XP_INVALID_ARGUMENT, reasons[w]);
            assert_null(done);
        }
    }
    rejects(xp_attention_forward(c.attention, foreign, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "queue");
    rejects(xp_attention_forward(c.attention, NULL, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "queue");
    rejects(xp_attention_forward(c.attention, queue, &c.tensors, 2, NULL, NULL), XP_INVALID_ARGUMENT, "events");
    rejects(xp_attention_forward(NULL, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "NULL");
    /* None of it changed anything. */
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    must(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    assert_defined(&c);
    clReleaseMemObject(stranger);
    clReleaseMemObject(small);
    clReleaseCommandQueue(foreign);
    clReleaseContext(other);
    finish(&c);
}

static void a_forward_only_call_takes_the_smaller_workspace(void **state) {
    call c;
    start(&c, make("softmax+bn+sh(1,2)", 12), "softmax+bn+sh(1,2)", NULL, true);
    const size_t both = xp_attention_workspace_bytes(c.attention);
    xp_attention_close(&c.attention);
    c.options.gradients = 0;
    must(xp_attention_create(&c.attention, device, &c.options));
    assert_true(xp_attention_workspace_bytes(c.attention) < both);
    must(xp_attention_forward(c.attention, queue, &c.tensors, 0, NULL, NULL));
    rejects(xp_attention_backward(c.attention, queue, &c.tensors, 0, NULL, NULL), XP_INVALID_ARGUMENT, "no gradient");
    xp_attention_close(&c.attention);
    c.options.specification = "softmax";
    must(xp_attention_create(&c.attention, device, &c.options));
    assert_true(xp_attention_workspace_bytes(c.attention) < sizeof(float) * B * N * H * E); /* o is not copied */
    finish(&c);
}

/* ---- grouped heads, packed samples, biases: against calls that say the same otherwise ---------------------------- */

/* Both passes on dense buffers of these sizes; inputs at in[], results to out[]. */
typedef struct plain_call {
    xp_attention_options options;
    size_t elements[TENSORS];
    const float *in[INPUTS];
    const cl_int *key_lengths, *query_lengths; /* [length_count] */
    size_t length_count;
    const float *bias;
    size_t bias_elements;
    float out[TENSORS][4096];
} plain_call;

static plain_call *plain(plain_call *c, const char *specification, int samples, int queries, int keys, int key_heads) {
    *c = (plain_call){0};
    xp_attention_options *o = &c->options;
    xp_attention_options_default(o);
    o->specification = specification;
    o->batch = samples, o->queries = queries, o->keys = keys, o->heads = H, o->key_heads = key_heads;
    o->width = D, o->value_width = E, o->gradients = XP_ATTENTION_DQ | XP_ATTENTION_DK | XP_ATTENTION_DV;
    for (int t = 0; t < TENSORS; t++)
        c->elements[t] = (size_t)(samples * (rows_of(t) == M ? keys * key_heads : queries * H) * width_of(t));
    return c;
}

static cl_mem filled(size_t bytes, const void *data) {
    cl_mem buffer = new_buffer(bytes);
    if (data) must_cl(clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, bytes, data, 0, NULL, NULL));
    return buffer;
}

static void run_plain(plain_call *c) {
    xp_attention_tensors tensors = {0};
    xp_attention_call *attention;
    cl_mem *const slots[TENSORS] = {&tensors.q, &tensors.k,  &tensors.v,  &tensors.d_o,
                                    &tensors.o, &tensors.dq, &tensors.dk, &tensors.dv};
    for (int t = 0; t < TENSORS; t++) *slots[t] = filled(c->elements[t] * 4, t < INPUTS ? c->in[t] : NULL);
    if (c->key_lengths) tensors.key_lengths = filled(c->length_count * 4, c->key_lengths);
    if (c->query_lengths) tensors.query_lengths = filled(c->length_count * 4, c->query_lengths);
    if (c->bias) tensors.parameters[0] = filled(c->bias_elements * 4, c->bias);
    c->options.has_key_lengths = c->key_lengths != NULL;
    c->options.has_query_lengths = c->query_lengths != NULL;
    must(xp_attention_create(&attention, device, &c->options));
    must(xp_attention_forward(attention, queue, &tensors, 0, NULL, NULL));
    must(xp_attention_backward(attention, queue, &tensors, 0, NULL, NULL));
    for (int t = O; t < TENSORS; t++)
        must_cl(clEnqueueReadBuffer(queue, *slots[t], CL_TRUE, 0, c->elements[t] * 4, c->out[t], 0, NULL, NULL));
    xp_attention_close(&attention);
    for (int t = 0; t < TENSORS; t++) clReleaseMemObject(*slots[t]);
    if (tensors.key_lengths) clReleaseMemObject(tensors.key_lengths);
    if (tensors.query_lengths) clReleaseMemObject(tensors.query_lengths);
    if (tensors.parameters[0]) clReleaseMemObject(tensors.parameters[0]);
}

static float random_floats[INPUTS][4096];

static void draw_floats(unsigned seed) {
    for (int t = 0; t < INPUTS; t++)
        for (int i = 0; i < 4096; i++) random_floats[t][i] = (float)uniform(&seed);
}

static void assert_same(int tensor, const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i]))))
            fail_msg("%s: element %zu is %.7g and %.7g", names[tensor], i, (double)a[i], (double)b[i]);
}

static void packed_samples_give_what_separate_calls_give(void **state) {
    static const char *const specifications[] = {"softmax", "softmax+bn+causal"};
    static const cl_int query_starts[] = {0, 3, 4, 11}, key_starts[] = {0, 9, 11, 17};
    static plain_call packed, one;
    draw_floats(20);
    for (int i = 0; i < 2; i++) {
        plain(&packed, specifications[i], 1, 11, 17, H);
        packed.options.packed_samples = 3, packed.options.longest_queries = 7, packed.options.longest_keys = 9;
        packed.key_lengths = key_starts, packed.query_lengths = query_starts, packed.length_count = 4;
        for (int t = 0; t < INPUTS; t++) packed.in[t] = random_floats[t];
        run_plain(&packed);
        for (int s = 0; s < 3; s++) {
            plain(&one, specifications[i], 1, query_starts[s + 1] - query_starts[s], key_starts[s + 1] - key_starts[s],
                  H);
            size_t first[TENSORS];
            for (int t = 0; t < TENSORS; t++) {
                first[t] = (size_t)((rows_of(t) == M ? key_starts[s] : query_starts[s]) * H * width_of(t));
                if (t < INPUTS) one.in[t] = random_floats[t] + first[t];
            }
            run_plain(&one);
            for (int t = O; t < TENSORS; t++) assert_same(t, packed.out[t] + first[t], one.out[t], one.elements[t]);
        }
    }
}

static void grouped_key_heads_give_what_repeated_ones_give(void **state) {
    static plain_call grouped, repeated;
    draw_floats(21);
    plain(&grouped, "softmax", B, N, M, 1);
    plain(&repeated, "softmax", B, N, M, H);
    for (int t = 0; t < INPUTS; t++) grouped.in[t] = repeated.in[t] = random_floats[t];
    repeated.options.k = (xp_attention_layout){0, {M * D, D, 0}}; /* every head reads the first */
    repeated.options.v = (xp_attention_layout){0, {M * E, E, 0}};
    run_plain(&grouped);
    run_plain(&repeated);
    for (int t = DK; t <= DV; t++)
        for (size_t i = 0; i < grouped.elements[t]; i++) {
            const size_t width = (size_t)width_of(t), at = i / width * H * width + i % width;
            repeated.out[t][i] = repeated.out[t][at] + repeated.out[t][at + width]; /* at >= i: still to be read */
        }
    for (int t = O; t < TENSORS; t++) assert_same(t, grouped.out[t], repeated.out[t], grouped.elements[t]);
}

static void a_learned_bias_can_hide_keys_as_lengths_do(void **state) {
    static plain_call biased, shorter;
    static float bias[H * N * M];
    static const cl_int lengths[B] = {5, 5};
    for (int i = 0; i < H * N * M; i++) bias[i] = i % M < 5 ? 0 : -1e9f;
    draw_floats(22);
    plain(&biased, "softmax+bias", B, N, M, H);
    plain(&shorter, "softmax", B, N, M, H);
    for (int t = 0; t < INPUTS; t++) biased.in[t] = shorter.in[t] = random_floats[t];
    biased.bias = bias, biased.bias_elements = H * N * M;
    shorter.key_lengths = lengths, shorter.length_count = B;
    run_plain(&biased);
    run_plain(&shorter);
    for (int t = O; t < TENSORS; t++) assert_same(t, biased.out[t], shorter.out[t], shorter.elements[t]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_buffers_give_the_definition),
        cmocka_unit_test(offsets_and_strides_give_the_definition_and_leave_gaps_alone),
        cmocka_unit_test(dense_tensors_may_begin_anywhere),
        cmocka_unit_test(the_next_call_may_bring_other_buffers),
        cmocka_unit_test(an_unordered_queue_waits_for_the_given_events_and_ends_with_done),
        cmocka_unit_test(a_workspace_may_be_the_callers_and_part_of_a_larger_buffer),
        cmocka_unit_test(a_backward_pass_may_be_repeated),
        cmocka_unit_test(dropout_follows_seed_and_step_in_both_passes),
        cmocka_unit_test(every_kind_of_line_runs_with_its_parameters),
        cmocka_unit_test(learned_parameters_are_the_callers_buffers),
        cmocka_unit_test(options_that_make_no_sense_are_rejected_by_name),
        cmocka_unit_test(tensors_that_do_not_fit_are_rejected_by_name),
        cmocka_unit_test(a_forward_only_call_takes_the_smaller_workspace),
        cmocka_unit_test(packed_samples_give_what_separate_calls_give),
        cmocka_unit_test(grouped_key_heads_give_what_repeated_ones_give),
        cmocka_unit_test(a_learned_bias_can_hide_keys_as_lengths_do),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
