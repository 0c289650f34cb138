/* `expanse bench`: which benchmark the next word names. */
#include "bench.h"
#include "command.h"

static const xp_subcommand benchmarks[] = {
    {"peak", "the peak of a device: arithmetic, memory, launches", xp_command_bench_peak},
    {"gemm", "matrix products", xp_command_bench_gemm},
    {"attention", "attention layers, compared with one another", xp_command_bench_attention},
    {"kernels", "each kernel of a training step", xp_command_bench_kernels},
    {"step", "whole training steps", xp_command_bench_step},
};

int xp_command_bench(int count, char **words) {
    const xp_usage usage = {.name = "bench",
                            .synopsis = "BENCHMARK [flags]",
                            .description = "Runs a benchmark. expanse bench BENCHMARK --help describes its flags.\n",
                            .commands = benchmarks,
                            .command_count = sizeof benchmarks / sizeof *benchmarks};
    xp_arguments arguments;
    if (count > 0 && words[0][0] == '-') return xp_arguments_read(&usage, 1, words, &arguments);
    const xp_subcommand *benchmark = xp_command_find(&usage, count > 0 ? words[0] : NULL);
    return benchmark ? benchmark->run(count - 1, words + 1) : XP_EXIT_USAGE;
}
