/* `expanse bench`: which benchmark the next word names. */
#include "bench.h"
#include "command.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *help;
    int (*run)(int count, char **words);
} benchmarks[] = {
    {"roof", "what the device can do at most: arithmetic, memory, launches", xp_command_bench_roof},
    {"gemm", "matrix products", xp_command_bench_gemm},
    {"attention", "attention layers, side by side", xp_command_bench_attention},
    {"kernels", "each kernel of a training step", xp_command_bench_kernels},
    {"step", "whole training steps", xp_command_bench_step},
};
enum { BENCHMARKS = sizeof benchmarks / sizeof benchmarks[0] };

int xp_command_bench(int count, char **words) {
    for (int i = 0; i < BENCHMARKS && count > 0; i++)
        if (strcmp(words[0], benchmarks[i].name) == 0) return benchmarks[i].run(count - 1, words + 1);
    const bool help = count > 0 && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0);
    if (!help)
        return count == 0
                   ? xp_command_misuse("bench: say what to time; expanse bench --help lists the benchmarks")
                   : xp_command_misuse("bench: there is no benchmark '%s'; expanse bench --help lists them", words[0]);
    printf("Usage: expanse bench BENCHMARK [flags]\n\n");
    for (int i = 0; i < BENCHMARKS; i++) printf("  %-12s %s\n", benchmarks[i].name, benchmarks[i].help);
    printf("\nexpanse bench BENCHMARK --help lists its flags.\n");
    return XP_EXIT_OK;
}
