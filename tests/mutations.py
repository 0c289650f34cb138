"""Breaks the kernels of each operation on purpose, one small slip at a time, and expects `expanse check` to notice.

usage: mutations.py EXPANSE KERNELS [REGEX]

Each slip is one that a hand could make: a sign, an edge, a factor, a term. A check that lets one pass proves too little;
a slip whose text is no longer in the kernel, or does not compile, is a failure of this list."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CASES = "60"
BOTH, WIDE, TILED = ("wide", "tiled"), ("wide",), ("tiled",)

# operation, families, kernel file, text, what it becomes (at its first place)
SLIPS = [
    ("activation", BOTH, "elementwise", "value < 0.0f ? 0.0f : value", "value < 0.5f ? 0.0f : value"),
    ("activation_backward", BOTH, "elementwise", "dy[i] * fast_gelu_slope_1(slope_at)", "dy[i] * fast_gelu_1(slope_at)"),
    ("add", BOTH, "elementwise", "if (i < count) y[i] = a[i] + b[i];", "if (i <= count) y[i] = a[i] + b[i];"),
    ("attention", WIDE, "attention_wide", "maximum[i] * LOG_2 + log(total[i])", "maximum[i] + log(total[i])"),
    ("attention", TILED, "attention_tiled", "maximum[r] * LOG_2 + log(sum)", "maximum[r] + log(sum)"),
    ("attention_backward", WIDE, "attention_wide", "dot = fma(slope_rows", "dot = fma(-slope_rows"),
    ("attention_backward", TILED, "attention_tiled", "lse[first_row + first_query + column + c] * LOG2_E",
     "lse[first_row + first_query + column + c]"),
    ("attention_normalise", WIDE, "attention_normalise", "to[d] = (from[d] - strength * mean[d]) / variance[d]",
     "to[d] = (from[d] - mean[d]) / variance[d]"),
    ("attention_normalise", TILED, "attention_normalise", "j < count; j += PARTS) sum += k",
     "j < keys; j += PARTS) sum += k"),
    ("attention_normalise_backward", WIDE, "attention_normalise", "product_sum = fma(g, vload8(0, q_first",
     "product_sum = fma(-g, vload8(0, q_first"),
    ("attention_normalise_backward", TILED, "attention_normalise", "sum += parts[i * COLUMNS + column]",
     "sum = parts[i * COLUMNS + column]"),
    ("attention_pool", WIDE, "attention_pool", "const float cells = w.lines * w.run;", "const float cells = scale;"),
    ("attention_pool", TILED, "attention_pool", "average /= w.lines * w.run", "average /= w.run"),
    ("attention_pool_backward", WIDE, "attention_pool", "vstore8(vload8(0, from + d) / cells, 0, to + d)",
     "vstore8(vload8(0, from) / cells, 0, to + d)"),
    ("attention_pool_backward", TILED, "attention_pool", "if (n < rows) {\n        const int j", "if (n + 1 < rows) {\n        const int j"),
    ("batch_norm", BOTH, "batch_norm", "max(total - 1.0f, 1.0f)", "max(total, 1.0f)"),
    ("batch_norm", BOTH, "batch_norm", "delta * delta * (total * (count / joined))", "delta * delta * count"),
    ("batch_norm_backward", BOTH, "batch_norm", "means[columns + c] = sum * share", "means[columns + c] = sum"),
    ("batch_norm_backward", BOTH, "batch_norm", "if (active) value = factor", "value = factor"),
    ("column_sum", WIDE, "reduction", "for (; row < row_end; row++, from += columns)",
     "for (; row + 1 < row_end; row++, from += columns)"),
    ("column_sum", TILED, "reduction", "row < row_end; row++) sum +=", "row + 1 < row_end; row++) sum +="),
    ("copy", BOTH, "elementwise", "if (column < columns)\n        to[", "if (column + 1 < columns)\n        to["),
    ("copy", BOTH, "elementwise", "from[from_offset + ", "from["),
    ("cross_entropy", BOTH, "cross_entropy", "(1.0f - smoothing) * (row[label] - largest)", "(row[label] - largest)"),
    ("cross_entropy_backward", BOTH, "cross_entropy", "scale[0] * weight *", "scale[0] *"),
    ("dropout", WIDE, "random.clh", "words[3], (uint8)(0, 8, 1, 9, 2, 10, 3, 11)", "words[3], (uint8)(0, 8, 1, 9, 2, 10, 3, 12)"),
    ("dropout", TILED, "elementwise", "words.z >= threshold ? x[first + 2]", "words.w >= threshold ? x[first + 2]"),
    ("embed", BOTH, "embedding", "+ place - TOKEN) * columns + column) * scale", "+ place - TOKEN) * columns + column)"),
    ("embed_backward", BOTH, "embedding", "place < length + TOKEN)", "place < length)"),
    ("feature_map", BOTH, "features.clh", "x > (F)(0.0f) ? x + (F)(1.0f)", "x > (F)(0.0f) ? x"),
    ("feature_map_backward", BOTH, "features.clh", "return x + x;", "return x;"),
    ("gemm", WIDE, "gemm_wide", "value += bias[j]", "value -= bias[j]"),
    ("gemm", TILED, "gemm_tiled", "value += bias[column]", "value -= bias[column]"),
    ("gradient_norm", WIDE, "optimiser", "for (; i < last; i++) sum = fma", "for (; i + 1 < last; i++) sum = fma"),
    ("gradient_norm", TILED, "optimiser", "reach > 0; reach /= 2", "reach > 1; reach /= 2"),
    ("layer_norm", WIDE, "layer_norm", "/ columns + epsilon);\n        for (int c = 0; c < whole",
     "/ (columns + 1) + epsilon);\n        for (int c = 0; c < whole"),
    ("layer_norm", TILED, "layer_norm", "float scale = 1.0f / sqrt(group_sum(squares, shared) / columns + epsilon)",
     "float scale = 1.0f / sqrt(group_sum(squares, shared) / columns + 2 * epsilon)"),
    ("layer_norm_backward", WIDE, "layer_norm", "(inner - mean_inner - normal * mean_along) * scale",
     "(inner - normal * mean_along) * scale"),
    ("layer_norm_backward", TILED, "layer_norm", "d_beta += arriving", "d_beta = arriving"),
    ("linear_attention", WIDE, "linear_attention_wide", "total[part + r] += lanes_sum(sum)", "total[part + r] = lanes_sum(sum)"),
    ("linear_attention", TILED, "linear_attention_tiled", "<= (int4)(first + row + r + shift) ? p[r] : (float4)(0.0f);\n            total",
     "< (int4)(first + row + r + shift) ? p[r] : (float4)(0.0f);\n            total"),
    ("linear_attention", BOTH, "linear_attention.clh", "return keys - queries;", "return keys - queries + 1;"),
    ("linear_attention_backward", WIDE, "linear_attention_wide", "slope[E] = -(along + lanes_sum(products))",
     "slope[E] = along + lanes_sum(products)"),
    ("linear_attention_backward", TILED, "linear_attention_tiled", "p[r] * factor - along :", "p[r] * factor + along :"),
    ("linear_attention_backward", BOTH, "linear_attention.clh", "chunk_floor(key - shift + CHUNK - 1)",
     "chunk_floor(key - shift)"),
    ("mask_rows", BOTH, "pooling", "y[line * columns + column] = row < length", "y[line * columns + column] = row <= length"),
    ("optimiser", BOTH, "optimiser", "i < decayed ? decay", "i <= decayed ? decay"),
    ("optimiser", BOTH, "optimiser", "rectification * sqrt(state[2])", "rectification"),
    ("patches", BOTH, "embedding", "patch_column * patch + column]", "patch_column * patch + row]"),
    ("sequence_pool", WIDE, "pooling", "to[column] = sum / divisor", "to[column] = sum / rows"),
    ("sequence_pool", TILED, "pooling", "= sum / max(length, 1)", "= sum / rows"),
    ("sequence_pool_backward", BOTH, "pooling", "dx[line * columns + column] = row < length",
     "dx[line * columns + column] = row <= length"),
]


def check(expanse, kernels, operation, family):
    environment = dict(os.environ, XP_CL_DIR=str(kernels), EXPANSE_CACHE_DIR="")
    command = [expanse, "check", "--family", family, "--filter", f"^{operation}$", "--cases", CASES]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    return result.returncode, result.stdout + result.stderr


def verdict(expanse, kernels, slip, family):
    operation, _, file, text, becomes = slip
    with tempfile.TemporaryDirectory() as folder:
        broken = pathlib.Path(folder) / "cl"
        shutil.copytree(kernels, broken)
        path = broken / (file if "." in file else f"{file}.cl")
        source = path.read_text()
        if text not in source:
            return "the text is no longer in the kernel"
        path.write_text(source.replace(text, becomes, 1))
        code, output = check(expanse, broken, operation, family)
    if "does not build" in output:
        return "the slip does not compile"
    if code == 0:
        return "NOT NOTICED"
    return None if code == 1 and "again:" in output else f"exit code {code}: {output[-300:]}"


def main():
    expanse, kernels = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    wanted = re.compile(sys.argv[3] if len(sys.argv) > 3 else "")
    table = (kernels.parent / "src/ops/list.h").read_text()
    operations = re.findall(r"^ *ROW\((\w+), \d\)", table, re.MULTILINE)
    failed = 0
    for operation in operations:
        if wanted.search(operation) and not any(slip[0] == operation for slip in SLIPS):
            print(f"{operation}: no slip is listed")
            failed += 1
    tried = 0
    for slip in SLIPS:
        if not wanted.search(slip[0]):
            continue
        for family in slip[1]:
            tried += 1
            problem = verdict(expanse, kernels, slip, family)
            print(f"{slip[0]:30}{family:7}{slip[4].splitlines()[0][:70]:72}{problem or 'noticed'}", flush=True)
            failed += problem is not None
    print(f"{tried} slips tried, {failed} failures")
    return 0 if tried and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
