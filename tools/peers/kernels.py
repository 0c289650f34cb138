"""Kernels alone, beside peers on the same CPU: matrix products (PyTorch, with the library that it was built with; OpenBLAS; CLBlast and
tinygrad on the same OpenCL device) and attention (PyTorch's explicit formula, or its fused function where it has one; JAX; tinygrad). Each side runs in a process of its own that times
every case and prints {case: seconds}; the sides take turns, round after round. Knows nothing of whole models or of pages."""
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

from peers.steps import KEPT, LeftOut, last_line, leave_out

# The products of a step with d=512, FFN=2048, B·N=2048, which each layer makes once (forward, to the input, to the weight), and
# a cube. M×N×K, then how the factors are stored: n as they are, t transposed.
STEP_PRODUCTS = (
    "2048x1536x512nt 2048x512x512nt 2048x2048x512nt 2048x512x2048nt 2048x512x1536nn 2048x512x512nn 2048x512x2048nn 2048x2048x512nn "
    "1536x512x2048tn 512x512x2048tn 2048x512x2048tn 512x2048x2048tn"
).split()
CUBE = "512x512x512nn"
CORE_PRODUCT = "1024x1024x1024nn"  # which of OpenBLAS's kernels are the fastest is asked with this
ATTENTION = dict(batch=8, heads=8, length=1024)
WIDTHS = (64, 32)
REPETITIONS = 7
SLOW = 5


warmed = 0.0


def seconds_of(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def median_seconds(call, repetitions=REPETITIONS):
    """Warms up as `expanse bench` does: once, and the first case of a process for a second."""
    global warmed
    warmed += seconds_of(call)
    while warmed < 1:
        warmed += seconds_of(call)
    return statistics.median(seconds_of(call) for _ in range(repetitions))


def sizes_of(product):
    m, n, k = (int(word) for word in product[:-2].split("x"))
    return m, n, k, product[-2] == "t", product[-1] == "t"


def fastest_openblas_core(options):
    """OpenBLAS chooses its kernels by the processor's model, and takes old ones for a model that is newer than it: the value of
    OPENBLAS_CORETYPE that makes products at least a tenth faster here, and how many times as fast; None where it chose well."""
    with open("/proc/cpuinfo") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    cores = [core for flag, core in (("avx2", "Haswell"), ("avx2", "Zen"), ("avx512vl", "SkylakeX"), ("avx512_bf16", "Cooperlake")) if flag in flags]
    times = {core: [] for core in (None, *cores)}
    for _ in range(3):
        for core in times:
            try:
                times[core] += peer(sys.executable, "openblas-core", options, {"OPENBLAS_CORETYPE": core} if core else None).values()
            except LeftOut:
                return None, 1
    best = min(times, key=lambda core: statistics.median(times[core]))
    gain = statistics.median(times[None]) / statistics.median(times[best])
    return (best, gain) if best and gain > 1.1 else (None, 1)


def serve_openblas(products, threads):
    library = ctypes.CDLL("libopenblas.so.0")
    library.openblas_set_num_threads(threads)
    array = lambda count: (ctypes.c_float * count)(*([0.5, -0.25, 1.0, 0.125] * (count // 4)))
    out = {}
    for product in products:
        m, n, k, ta, tb = sizes_of(product)
        a, b, c, one, zero = array(m * k), array(k * n), array(m * n), ctypes.c_float(1), ctypes.c_float(0)
        out[product] = median_seconds(lambda: library.cblas_sgemm(
            101, 112 if ta else 111, 112 if tb else 111, m, n, k, one, a, m if ta else k, b, k if tb else n, zero, c, n))
    return out


def serve_clblast(products, device):
    """`device` is "platform:device", as Expanse prints it."""
    cl, library = ctypes.CDLL("libOpenCL.so.1"), ctypes.CDLL("libclblast.so.1")
    place = [int(word) for word in device.split(":")]
    handles = (ctypes.c_void_p * 16)()
    for name in ("clCreateContext", "clCreateCommandQueue", "clCreateBuffer"):
        getattr(cl, name).restype = ctypes.c_void_p
    cl.clGetPlatformIDs(16, handles, None)
    platform = ctypes.c_void_p(handles[place[0]])
    cl.clGetDeviceIDs(platform, ctypes.c_ulong(0xFFFFFFFF), 16, handles, None)
    chosen = ctypes.c_void_p(handles[place[1]])
    context = ctypes.c_void_p(cl.clCreateContext(None, 1, ctypes.byref(chosen), None, None, None))
    queue = ctypes.c_void_p(cl.clCreateCommandQueue(context, chosen, ctypes.c_ulong(0), None))
    buffer = lambda count: ctypes.c_void_p(cl.clCreateBuffer(context, ctypes.c_ulong(1), ctypes.c_size_t(4 * count), None, None))
    size, out = ctypes.c_size_t, {}
    for product in products:
        m, n, k, ta, tb = sizes_of(product)
        a, b, c = buffer(m * k), buffer(k * n), buffer(m * n)

        def call():
            code = library.CLBlastSgemm(101, 112 if ta else 111, 112 if tb else 111, size(m), size(n), size(k), ctypes.c_float(1),
                                        a, size(0), size(m if ta else k), b, size(0), size(k if tb else n), ctypes.c_float(0), c,
                                        size(0), size(n), ctypes.byref(queue), None)
            if code:
                sys.exit(f"bench-peers: CLBlastSgemm failed with code {code}")
            cl.clFinish(queue)

        out[product] = median_seconds(call, 3)
        for handle in (a, b, c):
            cl.clReleaseMemObject(handle)
    return out


def serve_products_pytorch(products, threads):
    import torch

    torch.set_num_threads(threads)
    out = {}
    for product in products:
        m, n, k, ta, tb = sizes_of(product)
        a, b, c = torch.randn(*((k, m) if ta else (m, k))), torch.randn(*((n, k) if tb else (k, n))), torch.empty(m, n)
        out[product] = median_seconds(lambda: torch.mm(a.T if ta else a, b.T if tb else b, out=c))
    return out


def pytorch_attention(batch, heads, length, width, **place):
    """PyTorch's attention on random tensors, forward alone and with its backward pass, as functions. place: device and dtype."""
    import torch
    from torch.nn import functional as F

    fused = getattr(F, "scaled_dot_product_attention", None)  # PyTorch 2
    q, k, v, slope = (torch.randn(batch, heads, length, width, **place) for _ in range(4))
    learned = [tensor.clone().requires_grad_(True) for tensor in (q, k, v)]

    def attend(q, k, v):
        return fused(q, k, v) if fused else torch.softmax(q @ k.transpose(-2, -1) * width**-0.5, -1) @ v

    def forward():
        with torch.no_grad():
            attend(q, k, v)

    return forward, lambda: torch.autograd.grad(attend(*learned), learned, slope)


def serve_attention_pytorch(threads):
    import torch

    torch.set_num_threads(threads)
    out = {}
    for width in WIDTHS:
        forward, both = pytorch_attention(**ATTENTION, width=width)
        out[f"forward D={width}"] = median_seconds(forward)
        out[f"both D={width}"] = median_seconds(both, 3)
    return out


def serve_attention_jax():
    import jax

    out = {}
    for width in WIDTHS:
        shape = ATTENTION["batch"], ATTENTION["length"], ATTENTION["heads"], width
        q, k, v, slope = (jax.random.normal(jax.random.PRNGKey(i), shape) for i in range(4))
        forward = jax.jit(jax.nn.dot_product_attention)
        both = jax.jit(lambda q, k, v, slope: jax.vjp(jax.nn.dot_product_attention, q, k, v)[1](slope))
        out[f"forward D={width}"] = median_seconds(lambda: jax.block_until_ready(forward(q, k, v)))
        out[f"both D={width}"] = median_seconds(lambda: jax.block_until_ready(both(q, k, v, slope)), 3)
    return out


def serve_tinygrad(products):
    """Compiled once and replayed; without its search for faster kernels, which takes minutes for each of them."""
    from tinygrad import Device, Tensor, TinyJit

    def timed(function, *tensors):
        replayed = TinyJit(function)

        def call():
            replayed(*tensors)
            Device[Device.DEFAULT].synchronize()

        for _ in range(2):  # the first call computes, the second one records
            call()
        return median_seconds(call, 3)

    def both(q, k, v, slope):
        gradients = (q.scaled_dot_product_attention(k, v) * slope).sum().gradient(q, k, v)
        Tensor.realize(*gradients)
        return gradients

    out = {}
    for product in products:
        m, n, k, ta, tb = sizes_of(product)
        a, b = Tensor.rand(*((k, m) if ta else (m, k))).realize(), Tensor.rand(*((n, k) if tb else (k, n))).realize()
        out[product] = timed(lambda a, b: ((a.T if ta else a) @ (b.T if tb else b)).realize(), a, b)
    for width in () if products else WIDTHS:
        q, k, v, slope = (Tensor.randn(ATTENTION["batch"], ATTENTION["heads"], ATTENTION["length"], width).realize() for _ in range(4))
        out[f"forward D={width}"] = timed(lambda q, k, v: q.scaled_dot_product_attention(k, v).realize(), q, k, v)
        out[f"both D={width}"] = timed(both, q, k, v, slope)
    return out


def ours(options, words):
    """The rows of a benchmark of Expanse."""
    command = [options.expanse, "bench", *words, "--repetitions", str(REPETITIONS), "-o", "json"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"bench-peers: {' '.join(command)}: {answer.stderr.strip()}")
    return json.loads(answer.stdout)


def peer(python, name, options, environment=None):
    command = [python, options.script, "--peer", name, str(options.threads), options.device]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    except OSError as error:
        raise LeftOut(f"{python}: {error.strerror}") from None
    if answer.returncode:
        raise LeftOut(last_line(answer.stderr, answer.returncode))
    return json.loads(answer.stdout)


def in_turn(sides, rounds):
    """{side: {case: [seconds, …]}} of functions that each time all cases once. A side that cannot be had has no case; one that
    takes SLOW times as long as Expanse takes part once."""
    times = {name: {} for name in sides}
    for _ in range(rounds):
        for name, run in list(sides.items()):
            try:
                for case, seconds in run().items():
                    times[name].setdefault(case, []).append(seconds)
                if sum(case[0] for case in times[name].values()) > SLOW * sum(case[0] for case in times["Expanse"].values()):
                    del sides[name]
            except LeftOut as reason:
                leave_out(name, reason)
                times[name] = {}
                del sides[name]
    return times


def ratio(times, name, case):
    return statistics.median(a / b for a, b in zip(times[name][case], times["Expanse"][case]))


def products(options):
    cases = [*STEP_PRODUCTS, CUBE]
    sides = {
        "Expanse": lambda: {row["shape"]: row["median_ms"] / 1e3 for row in ours(options, ["gemm", *cases])},
        "PyTorch": lambda: peer(options.python, "products-pytorch", options),
        "OpenBLAS": lambda: peer(sys.executable, "openblas", options),
        "CLBlast": lambda: peer(sys.executable, "clblast", options),
    }
    if options.tinygrad:
        sides["tinygrad"] = lambda: peer(options.tinygrad, "tinygrad", options, {"DEV": "CL"})
    times = in_turn(sides, options.rounds)
    for side in filter(None, times.values()):
        side["mix of a step"] = [sum(turn) for turn in zip(*(side[case] for case in STEP_PRODUCTS))]
    return times, ["mix of a step", CUBE, *STEP_PRODUCTS]


def attention(options):
    def expanse():
        out = {}
        for width in WIDTHS:
            for row in ours(options, ["attention", "softmax", "--width", str(width), *(f"--{k}={v}" for k, v in ATTENTION.items())]):
                out[f"{row['shape'].split()[0]} D={width}"] = row["median_ms"] / 1e3
        return out

    sides = {"Expanse": expanse, "PyTorch": lambda: peer(options.python, "attention-pytorch", options),
             "PyTorch, memory kept": lambda: peer(options.python, "attention-pytorch", options, KEPT)}
    if options.jax:
        sides["JAX"] = lambda: peer(options.jax, "attention-jax", options)
    if options.tinygrad:
        sides["tinygrad"] = lambda: peer(options.tinygrad, "attention-tinygrad", options, {"DEV": "CL"})
    times = in_turn(sides, options.rounds)
    return times, [f"{what} D={width}" for width in WIDTHS for what in ("forward", "both")]


def table(times, cases):
    """Lines of Markdown: Expanse's time, and the others' as multiples of it."""
    names = [name for name in times if name != "Expanse"]
    yield "| | Expanse, ms | spread | " + " | ".join(names) + " |"
    yield "|---|---:|---:|" + "---:|" * len(names)
    for case in cases:
        own = times["Expanse"][case]
        middle = statistics.median(own)
        yield (f"| {case} | {middle * 1e3:.2f} | ±{50 * (max(own) - min(own)) / middle:.0f} % | "
               + " | ".join(f"{ratio(times, name, case):.2f}" if times[name] else "–" for name in names) + " |")
