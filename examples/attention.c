/* One attention call, forward and backward, on a context, a queue and buffers of your own. Compile:
 *   cc -std=c11 attention.c $(pkg-config --cflags --libs expanse OpenCL) -lm -o attention */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <expanse/attention.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { B = 2, N = 64, H = 4, D = 32, COUNT = B * N * H * D }; /* q, k, v and o are [B,N,H,D] */
static float q[COUNT], k[COUNT], v[COUNT], o[COUNT], dv[COUNT];

static void check(xp_status status) {
    if (status == XP_OK) return;
    fprintf(stderr, "%s: %s\n", xp_status_name(status), xp_last_error());
    exit(1);
}

int main(void) {
    cl_platform_id platform;
    cl_device_id id;
    if (clGetPlatformIDs(1, &platform, NULL) || clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &id, NULL)) return 2;
    cl_context context = clCreateContext(NULL, 1, &id, NULL, NULL, NULL);
    cl_command_queue queue = clCreateCommandQueue(context, id, 0, NULL);
    float *host[] = {q, k, v};
    cl_mem buffer[7]; /* q, k, v (also the gradient of o), o, dq, dk, dv */
    for (int i = 0; i < COUNT; i++) q[i] = sinf(i), k[i] = cosf(3.0f * i), v[i] = sinf(0.5f * i);
    for (int i = 0; i < 7; i++) buffer[i] = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof q, NULL, NULL);
    for (int i = 0; i < 3; i++) clEnqueueWriteBuffer(queue, buffer[i], CL_TRUE, 0, sizeof q, host[i], 0, NULL, NULL);
    xp_attention_options options;
    xp_attention_call *attention;
    xp_device *device;
    xp_attention_options_default(&options); /* "softmax"; try options.specification = "softmax+bn+sh(1,1,2,4)" */
    options.batch = B, options.queries = options.keys = N, options.heads = H, options.width = D;
    options.gradients = XP_ATTENTION_DQ | XP_ATTENTION_DK | XP_ATTENTION_DV;
    check(xp_device_open_queue(&device, queue, NULL));
    check(xp_attention_create(&attention, device, &options));
    xp_attention_tensors tensors = {0};
    tensors.q = buffer[0], tensors.k = buffer[1], tensors.v = buffer[2], tensors.o = buffer[3];
    tensors.d_o = buffer[2], tensors.dq = buffer[4], tensors.dk = buffer[5], tensors.dv = buffer[6];
    check(xp_attention_forward(attention, queue, &tensors, 0, NULL, NULL));
    check(xp_attention_backward(attention, queue, &tensors, 0, NULL, NULL));
    clEnqueueReadBuffer(queue, buffer[3], CL_TRUE, 0, sizeof o, o, 0, NULL, NULL);
    clEnqueueReadBuffer(queue, buffer[6], CL_TRUE, 0, sizeof dv, dv, 0, NULL, NULL);
    double worst = 0, left = 0, right = 0; /* o is linear in v, so the sums of o·d_o and of v·dv are equal */
    for (int i = 0; i < COUNT; i++) left += (double)o[i] * v[i], right += (double)v[i] * dv[i];
    for (int n = 0; n < N; n++) { /* one sample and head in plain C */
        double sum = 0, first = 0;
        for (int j = 0; j < N; j++) {
            double score = 0;
            for (int d = 0; d < D; d++) score += (double)q[n * H * D + d] * k[j * H * D + d];
            sum += exp(score / sqrt(D)), first += exp(score / sqrt(D)) * v[j * H * D];
        }
        worst = fmax(worst, fabs(o[n * H * D] - first / sum));
    }
    printf("largest error of o: %.1e; sum of o*d_o %.6f, of v*dv %.6f\n", worst, left, right);
    xp_attention_close(&attention);
    xp_device_close(&device);
    return worst > 1e-5 || fabs(left - right) > 1e-3; /* queue, context and buffers end with the process */
}
