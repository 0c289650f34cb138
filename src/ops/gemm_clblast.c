/* CLBlast's matrix product as a host call of the plan, with parameters of the tuning table. The only file that knows
 * CLBlast; must not know which products are better made by it. */
#include "ops/gemm_clblast.h"

#include "ops/gemm_launch.h"

#include <string.h>

#ifdef XP_WITH_CLBLAST
#include "device/loader.h"

#include <clblast_c.h>
#include <pthread.h>
#include <stdlib.h>

/* In the order of xp_clblast_tune. */
enum { SIDE, OWN_ROWS, OWN_COLUMNS, DEPTH, VECTOR, LOCAL, PARAMETERS };
enum { DATABASE = 1 /* SIDE: what the library itself knows of the device */, UNSHARED = 1, SHARED, DEVICES = 64 };

typedef struct call {
    xp_gemm_attributes product;
    cl_device_id device;
    long parameters[PARAMETERS];
} call;

typedef CLBlastStatusCode (*sgemm)(CLBlastLayout, CLBlastTranspose, CLBlastTranspose, size_t, size_t, size_t, float,
                                   cl_mem, size_t, size_t, cl_mem, size_t, size_t, float, cl_mem, size_t, size_t,
                                   cl_command_queue *, cl_event *);
typedef CLBlastStatusCode (*override_parameters)(cl_device_id, const char *, CLBlastPrecision, size_t, const char **,
                                                 const size_t *);
typedef CLBlastStatusCode (*clear_cache)(void);

static struct {
    sgemm multiply;
    override_parameters override;
    clear_cache clear;
} library;

/* The library keeps the programs that it built until the process ends, when drivers may be gone already and releasing
 * them crashes. Those of other devices go too, and are built again at their next call. */
static void release_programs(void) {
    library.clear();
}

/* What is done at exit is done in reverse order: for a process that ends with an open device, before the driver
 * ends. */
static void load(void) {
    *(void **)&library.multiply = xp_loader_symbol("libclblast.so.1", "CLBlastSgemm");
    *(void **)&library.override = xp_loader_symbol("libclblast.so.1", "CLBlastOverrideParameters");
    *(void **)&library.clear = xp_loader_symbol("libclblast.so.1", "CLBlastClearCache");
    if (library.clear) atexit(release_programs);
}

bool xp_clblast_is_there(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return library.multiply && library.override && library.clear;
}

xp_status xp_clblast_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning) {
    *tuning = (xp_tuning){.kernel = "clblast",
                          .file = "gemm_tiled",
                          .shape = "all", /* not "*", which would serve other devices of the vendor */
                          .persistent = true,
                          .requires = {"gemm_tiled", "LIBRARY", XP_LIBRARY_CLBLAST},
                          .count = PARAMETERS,
                          .parameters = {{"SIDE", DATABASE, {DATABASE, 8, 16}, .exclusive = DATABASE},
                                         {"OWN_ROWS", 4, {4, 8}},
                                         {"OWN_COLUMNS", 4, {4, 8}},
                                         {"DEPTH", 16, {16, 32}},
                                         {"VECTOR", 4, {1, 2, 4}},
                                         {"LOCAL", SHARED, {UNSHARED, SHARED}}}};
    return xp_plan_tune(plan, node, tuning);
}

/* The library's names for its general kernel: a group of SIDE x SIDE work-items makes MWG x NWG numbers. Products of
 * all sizes take that kernel then, since the tuning table, not the library's own limit, says which products it makes.
 */
static CLBlastStatusCode set_parameters(cl_device_id device, const long *p) {
    static const char *names[] = {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
                                  "NDIMC", "NWG",  "SA",  "SB",  "STRM",  "STRN",  "VWM", "VWN"};
    static const char *limit = "XGEMM_MIN_INDIRECT_SIZE";
    const size_t side = (size_t)p[SIDE], rows = side * (size_t)p[OWN_ROWS], columns = side * (size_t)p[OWN_COLUMNS],
                 shared = p[LOCAL] == SHARED, vector = (size_t)p[VECTOR], none = 0;
    const size_t values[] = {0,    1,       (size_t)p[DEPTH], 2,      side, side, rows,   side,
                             side, columns, shared,           shared, 0,    0,    vector, vector};
    const CLBlastStatusCode code =
        library.override(device, "Xgemm", CLBlastPrecisionSingle, sizeof names / sizeof names[0], names, values);
    return code != CLBlastSuccess ? code
                                  : library.override(device, "GemmRoutine", CLBlastPrecisionSingle, 1, &limit, &none);
}

/* The library has one set of parameters for a device in a process, and no way back to those of its database. */
static xp_status use_parameters(cl_device_id device, const long *wanted) {
    static struct {
        cl_device_id device;
        long parameters[PARAMETERS];
    } used[DEVICES];
    int i = 0;
    while (i < DEVICES && used[i].device && used[i].device != device) i++;
    if (i == DEVICES) return xp_fail(XP_UNSUPPORTED, "parameters of CLBlast for more than %d devices", DEVICES);
    const bool before = used[i].device != NULL;
    if (wanted[SIDE] == DATABASE)
        return !before ? XP_OK
                       : xp_fail(XP_UNSUPPORTED, "this process has changed the parameters of CLBlast for the device, "
                                                 "and CLBlast cannot restore its own: use them in a new process");
    if (before && memcmp(used[i].parameters, wanted, sizeof used[i].parameters) == 0) return XP_OK;
    used[i].device = device;
    memset(used[i].parameters, 0, sizeof used[i].parameters); /* where it fails, some may have been set */
    const CLBlastStatusCode code = set_parameters(device, wanted);
    if (code != CLBlastSuccess)
        return xp_fail(XP_DEVICE_ERROR, "CLBlastOverrideParameters failed with code %d", (int)code);
    memcpy(used[i].parameters, wanted, sizeof used[i].parameters);
    return XP_OK;
}

static xp_status multiply(cl_command_queue queue, const void *context, const cl_mem *buffers, const size_t *offsets,
                          cl_event *done) {
    static pthread_mutex_t parameters_are_ours = PTHREAD_MUTEX_INITIALIZER;
    const call *c = context;
    const xp_gemm_attributes *p = &c->product;
    CLBlastStatusCode code = CLBlastSuccess;
    pthread_mutex_lock(&parameters_are_ours);
    const xp_status status = use_parameters(c->device, c->parameters);
    if (status == XP_OK)
        code = library.multiply(CLBlastLayoutRowMajor, p->transpose_a ? CLBlastTransposeYes : CLBlastTransposeNo,
                                p->transpose_b ? CLBlastTransposeYes : CLBlastTransposeNo, (size_t)p->m, (size_t)p->n,
                                (size_t)p->k, 1.0f, buffers[0], offsets[0], (size_t)(p->transpose_a ? p->m : p->k),
                                buffers[1], offsets[1], (size_t)(p->transpose_b ? p->k : p->n), 0.0f, buffers[2],
                                offsets[2], (size_t)p->n, &queue, done);
    pthread_mutex_unlock(&parameters_are_ours);
    if (code == CLBlastSuccess) return status;
    return xp_fail(XP_DEVICE_ERROR, "CLBlastSgemm of %lldx%lldx%lld failed with code %d", (long long)p->m,
                   (long long)p->n, (long long)p->k, (int)code);
}

xp_status xp_clblast_emit(xp_plan *plan, const xp_node *node, const xp_tuning *tuning, int chosen_by) {
    const xp_gemm_attributes *p = XP_ATTRIBUTES(xp_gemm_attributes, node);
    call context;
    memset(&context, 0, sizeof context);
    context.product = *p;
    context.device = xp_plan_device(plan)->id;
    xp_host_request product = {
        .name = "CLBlastSgemm",
        .call = multiply,
        .context = &context,
        .context_bytes = sizeof context,
        .variant = {.tuning = tuning->handle},
        .chosen_by = chosen_by,
        .flops = xp_gemm_flops(p),
        .bytes = xp_gemm_bytes(&(xp_gemm_tensors){.a = node->inputs[0], .b = node->inputs[1], .y = node->outputs[0]}),
        .tensor_count = 3,
        .tensors = {node->inputs[0], node->inputs[1], node->outputs[0]},
        .written = {false, false, true}};
    const int told = tuning->parameters[SIDE].value == DATABASE ? 1 : PARAMETERS;
    for (int i = 0; i < told; i++) {
        context.parameters[i] = tuning->parameters[i].value;
        xp_variant_set(&product.variant, tuning->parameters[i].name, tuning->parameters[i].value);
    }
    XP_TRY(xp_device_at_close(xp_plan_device(plan), release_programs));
    return xp_plan_host_call(plan, node, &product);
}

#else
bool xp_clblast_is_there(void) {
    return false;
}

xp_status xp_clblast_tune(xp_plan *plan, const xp_node *node, xp_tuning *tuning) {
    (void)plan, (void)node, (void)tuning;
    return XP_OK;
}

xp_status xp_clblast_emit(xp_plan *plan, const xp_node *node, const xp_tuning *tuning, int chosen_by) {
    (void)plan, (void)tuning, (void)chosen_by;
    return xp_fail(XP_UNSUPPORTED, "%s: built without CLBlast", node->label);
}
#endif
