/* Allocations that fail, preloaded into a program: those that the program itself, the libraries that it keeps its data
 * with, and the C library on behalf of them, ask for. What a driver, a compiler or the dynamic linker asks for is left
 * alone: how they fail is theirs. Owns the count; knows nothing of Expanse.
 *
 * Environment:
 *   FAILING_ALLOCATION=N            let the N-th allocation (from 1) fail; "N+": and all later ones
 *   FAILING_ALLOCATIONS_REPORT=FILE append "allocations COUNT" at the end */
#define _GNU_SOURCE
#include "failing_allocations.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The allocator itself, by the names that the GNU C library exports beside the ones replaced here. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

EXPORT failing_allocations expanse_failing_allocations;

/* ---- who asks ---------------------------------------------------------------------------------------------------- */

enum { MOST_RANGES = 16 };
static struct { uintptr_t begin, end; } ranges[MOST_RANGES];
static int range_count;

static int add_ranges(struct dl_phdr_info *object, size_t size, void *user) {
    static const char *const names[] = {"libexpanse.so", "libjansson.so", "libyaml-",
                                        "libz.so",       "libxxhash.so",  "libc.so"};
    (void)size, (void)user;
    int wanted = !*object->dlpi_name; /* the program */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) wanted = wanted || strstr(object->dlpi_name, names[i]);
    for (int i = 0; wanted && i < object->dlpi_phnum && range_count < MOST_RANGES; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        ranges[range_count].begin = object->dlpi_addr + part->p_vaddr;
        ranges[range_count++].end = object->dlpi_addr + part->p_vaddr + part->p_memsz;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("FAILING_ALLOCATION");
    char *end = NULL;
    dl_iterate_phdr(add_ranges, NULL);
    expanse_failing_allocations = (failing_allocations){.first = wanted ? strtol(wanted, &end, 10) : 0};
    expanse_failing_allocations.on = end && *end == '+';
}

/* ---- what is asked ----------------------------------------------------------------------------------------------- */

static int fails(const void *caller) {
    failing_allocations *all = &expanse_failing_allocations;
    int i = 0;
    while (i < range_count && ((uintptr_t)caller < ranges[i].begin || (uintptr_t)caller >= ranges[i].end)) i++;
    if (i == range_count) return 0;
    const long number = __atomic_add_fetch(&all->count, 1, __ATOMIC_RELAXED);
    if (all->first == 0 || (all->on ? number < all->first : number != all->first)) return 0;
    errno = ENOMEM;
    return 1;
}

#define FAILS fails(__builtin_return_address(0))

EXPORT void *malloc(size_t bytes) {
    return FAILS ? NULL : __libc_malloc(bytes);
}

EXPORT void *calloc(size_t count, size_t bytes) {
    return FAILS ? NULL : __libc_calloc(count, bytes);
}

EXPORT void *realloc(void *memory, size_t bytes) {
    return FAILS ? NULL : __libc_realloc(memory, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) {
    return FAILS ? NULL : __libc_memalign(alignment, bytes);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FAILING_ALLOCATIONS_REPORT");
    const long count = expanse_failing_allocations.count;
    expanse_failing_allocations.first = 0;
    const int to = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (to < 0) return;
    dprintf(to, "allocations %ld\n", count);
    close(to);
}
