/* From a kernel file and a variant to a built program, which is edited where the variant asks for it (device/ptx.h).
 * Owns the memory cache (one list per device) and the disk cache of binaries, edited ones among them; a damaged or
 * foreign entry is rebuilt silently.
 *
 * Kernel texts come from the library itself, or from the folder XP_CL_DIR for development. */
#include "device/program.h"

#include "core/embedded.h"
#include "core/files.h"
#include "core/writer.h"
#include "device/cache.h"
#include "device/ptx.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* CACHE_FORMAT also counts the ways in which device/ptx.c edits. */
enum { CACHE_FORMAT = 1, OPTION_BYTES = 2048, PATH_BYTES = 4096 };

typedef struct entry {
    XXH128_hash_t key;
    cl_program program;
    struct entry *next;
} entry;

struct xp_program_cache {
    pthread_mutex_t lock;
    entry *entries;
};

xp_status xp_program_cache_create(struct xp_program_cache **out) {
    *out = calloc(1, sizeof **out);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the program cache");
    pthread_mutex_init(&(*out)->lock, NULL);
    return XP_OK;
}

void xp_program_cache_close(struct xp_program_cache **cache) {
    if (!*cache) return;
    for (entry *e = (*cache)->entries; e;) {
        entry *next = e->next;
        clReleaseProgram(e->program);
        free(e);
        e = next;
    }
    pthread_mutex_destroy(&(*cache)->lock);
    free(*cache);
    *cache = NULL;
}

/* ---- source text ------------------------------------------------------------------------------------------------- */

/* The text of cl/<name>; *owned: the caller frees it. */
static xp_status kernel_text(const char *name, char **out, bool *owned) {
    const char *folder = getenv("XP_CL_DIR");
    if (folder && *folder) {
        char path[PATH_BYTES];
        size_t length;
        const int need = snprintf(path, sizeof path, "%s/%s", folder, name);
        if (need < 0 || (size_t)need >= sizeof path)
            return xp_fail(XP_INVALID_ARGUMENT, "XP_CL_DIR: the path is too long; choose a shorter folder");
        *owned = true;
        return xp_file_read(path, out, &length);
    }
    for (const xp_embedded_file *file = xp_embedded_files; file->name; file++)
        if (strcmp(file->name, name) == 0) {
            *out = (char *)file->text;
            *owned = false;
            return XP_OK;
        }
    return xp_fail(XP_INVALID_ARGUMENT, "the library contains no kernel file cl/%s", name);
}

enum { MAX_INCLUDES = 16 };

/* Appends a file with its quoted includes put in place, each once; #line keeps the compiler's messages true. */
static xp_status expand(xp_writer *out, const char *name, char included[][64], int *included_count) {
    for (int i = 0; i < *included_count; i++)
        if (strcmp(included[i], name) == 0) return XP_OK;
    if (*included_count == MAX_INCLUDES)
        return xp_fail(XP_BUILD_ERROR, "cl/%s: more than %d included files", name, MAX_INCLUDES);
    snprintf(included[(*included_count)++], 64, "%s", name);

    char *source;
    bool owned;
    XP_TRY(kernel_text(name, &source, &owned));
    xp_write(out, "#line 1 \"%s\"\n", name);
    xp_status status = XP_OK;
    int number = 1;
    for (const char *line = source; *line && status == XP_OK; number++) {
        const char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) + 1 : strlen(line);
        char target[64];
        if (strncmp(line, "#include", 8) == 0 && sscanf(line, "#include \"%63[^\"]\"", target) == 1) {
            status = expand(out, target, included, included_count);
            xp_write(out, "#line %d \"%s\"\n", number + 1, name);
        } else {
            xp_write_bytes(out, line, length);
        }
        line += length;
    }
    if (owned) free(source);
    if (status == XP_OK && out->failed) return xp_fail(XP_OUT_OF_MEMORY, "no memory for the source of cl/%s", name);
    return status;
}

xp_status xp_program_version(const char *file, unsigned long long *out) {
    char name[64], included[MAX_INCLUDES][64];
    int included_count = 0;
    xp_writer source = {0};
    snprintf(name, sizeof name, "%s.cl", file);
    const xp_status status = expand(&source, name, included, &included_count);
    *out = status == XP_OK ? XXH64(source.text, source.length, 0) : 0;
    xp_writer_release(&source);
    return status;
}

/* ---- disk cache -------------------------------------------------------------------------------------------------- */

typedef struct cache_header {
    char magic[8];
    XXH128_hash_t key;
    uint64_t length, checksum;
} cache_header;

static const char magic[8] = {'X', 'P', 'C', 'A', 'C', 'H', 'E', '0' + CACHE_FORMAT};

static void entry_name(XXH128_hash_t key, char name[40]) {
    snprintf(name, 40, "%016llx%016llx.bin", (unsigned long long)key.high64, (unsigned long long)key.low64);
}

/* What the compiler said; the caller frees it. NULL: no memory. */
static char *log_of(xp_device *device, cl_program program) {
    size_t length = 0;
    clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &length);
    char *log = calloc(1, length + 1);
    if (log) clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, length, log, NULL);
    return log;
}

/* A program of this binary, built; NULL: *code says why not, and *log (NULL: not wanted), which the caller frees. */
static cl_program program_of(xp_device *device, const char *bytes, size_t length, const char *options, cl_int *code,
                             char **log) {
    const unsigned char *binary = (const unsigned char *)bytes;
    cl_int state = CL_SUCCESS;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->id, &length, &binary, &state, code);
    if (*code == CL_SUCCESS) *code = program ? state : CL_INVALID_BINARY;
    if (*code == CL_SUCCESS) *code = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (*code == CL_SUCCESS) return program;
    if (program && log) *log = log_of(device, program);
    if (program) clReleaseProgram(program);
    return NULL;
}

/* The checksum finds damage. Forgery is kept out by the folder, which only this user can write into. */
static cl_program load_binary(xp_device *device, XXH128_hash_t key, const char *options) {
    char name[40], *data;
    size_t length;
    entry_name(key, name);
    if (xp_cache_read(name, &data, &length) != XP_OK) return NULL;
    cache_header header;
    cl_program program = NULL;
    if (length > sizeof header) {
        memcpy(&header, data, sizeof header);
        const char *binary = data + sizeof header;
        const size_t binary_length = length - sizeof header;
        cl_int code;
        if (memcmp(header.magic, magic, 8) == 0 && XXH128_isEqual(header.key, key) && header.length == binary_length &&
            header.checksum == XXH64(binary, binary_length, 0))
            program = program_of(device, binary, binary_length, options, &code, NULL);
    }
    free(data);
    return program;
}

/* Best effort: a full or read-only disk costs time at the next start and nothing else. */
static void save_binary(XXH128_hash_t key, const char *binary, size_t length) {
    char name[40], *data = malloc(sizeof(cache_header) + length);
    if (!data) return;
    cache_header header = {.key = key, .length = length, .checksum = XXH64(binary, length, 0)};
    memcpy(header.magic, magic, 8);
    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, binary, length);
    entry_name(key, name);
    xp_cache_write(name, data, sizeof header + length);
    free(data);
}

/* The caller frees it; a NUL follows. A program of a caller's context with several devices has as many binaries: none
 * is taken. */
static xp_status binary_of(cl_program program, char **out, size_t *length) {
    cl_uint devices = 0;
    cl_int code = clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof devices, &devices, NULL);
    *out = NULL;
    *length = 0;
    if (code == CL_SUCCESS && devices != 1)
        return xp_fail(XP_UNSUPPORTED, "the context has %u devices: a program of one has one binary", devices);
    if (code == CL_SUCCESS) code = clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof *length, length, NULL);
    if (code == CL_SUCCESS && *length == 0) return xp_fail(XP_UNSUPPORTED, "the driver gives no binary");
    if (code != CL_SUCCESS) return xp_cl_fail(code, "clGetProgramInfo");
    *out = calloc(1, *length + 1);
    if (!*out) return xp_fail(XP_OUT_OF_MEMORY, "no memory for a program's binary");
    code = clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof *out, out, NULL);
    if (code == CL_SUCCESS) return XP_OK;
    free(*out);
    *out = NULL;
    return xp_cl_fail(code, "clGetProgramInfo");
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

/* Finds a compiler error in the user's text in the prelude and records name, column and text. false: the log has
 * none. */
static bool report_user_text(const char *prelude, const char *log, const char *device) {
    static const char mark[] = "#line 1 \"";
    for (const char *at = prelude ? strstr(prelude, mark) : NULL; at; at = strstr(at + 1, mark)) {
        char name[32], place[40];
        int line, column, used;
        if (sscanf(at + sizeof mark - 1, "%31[^\"]\"", name) != 1) continue;
        snprintf(place, sizeof place, "%s:", name);
        const char *error = strstr(log, place), *own = strchr(at, '\n');
        if (!own || !error || sscanf(error + strlen(place), "%d:%d:%n", &line, &column, &used) != 2) continue;
        own += 1 + strlen(XP_PRELUDE_TEXT);
        const int length = (int)strcspn(own, "\n");
        column = line > 1 ? length + 1 : column - (int)strlen(XP_PRELUDE_TEXT);
        if (column < 1) column = 1;
        const char *message = error + strlen(place) + used;
        message += strspn(message, " ");
        if (strncmp(message, "error: ", 7) == 0) message += 7;
        xp_fail(XP_BUILD_ERROR, "%s, column %d: %.*s (from the compiler of %s)\n    %.*s\n    %*s", name, column,
                (int)strcspn(message, "\n"), message, device, length, own, column, "^");
        return true;
    }
    return false;
}

/* PoCL puts the declarations of all functions of OpenCL C before each program, from a header that is empty when it
 * seems to be there already. PoCL 3.1 on a Zen 1 core needs 0.2 of 0.3 seconds for it, and for a program in its cache
 * 0.04 of 0.06. */
#define WITHOUT_HEADER "-D_OPENCL_H_ "

static xp_status build(xp_device *device, const char *file, const char *prelude, const char *source,
                       const char *options, cl_program *out) {
    cl_int code;
    cl_program program = clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    XP_TRY(xp_cl_made(program, code, "clCreateProgramWithSource"));
    code = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (code == CL_OUT_OF_HOST_MEMORY) { /* does not mean that it cannot be built */
        clReleaseProgram(program);
        return xp_cl_fail(code, "clBuildProgram");
    }
    if (code != CL_SUCCESS) {
        char *log = log_of(device, program);
        if (!log || !report_user_text(prelude, log, device->name))
            xp_fail(XP_BUILD_ERROR, "cl/%s.cl does not build on %s (%s) with %s\n%s", file, device->name,
                    xp_cl_error_name(code), options, log ? log : "");
        free(log);
        clReleaseProgram(program);
        return XP_BUILD_ERROR;
    }
    *out = program;
    return XP_OK;
}

/* Replaces a program by the one of its edited text, *text, which the caller frees: what was not edited is never run. */
static xp_status edit(xp_device *device, const char *target, const char *options, cl_program *program, char **text,
                      size_t *length) {
    char *binary;
    size_t binary_length;
    *text = NULL;
    xp_status status = binary_of(*program, &binary, &binary_length);
    if (status == XP_OK) status = xp_ptx_edit(binary, binary_length, target, text, length);
    free(binary);
    clReleaseProgram(*program);
    *program = NULL;
    XP_TRY(status);
    cl_int code;
    char *log = NULL;
    *program = program_of(device, *text, *length + 1, options, &code, &log); /* with its NUL, as the driver gives it */
    if (*program) return XP_OK;
    free(*text);
    *text = NULL;
    status = xp_fail(XP_BUILD_ERROR, "%s does not build the PTX edited for %s: %s (%d)%s%s", device->name, target,
                     xp_cl_error_name(code), code, log && *log ? "\n" : "", log ? log : "");
    free(log);
    return status;
}

/* `declarations`: bytes of cl/functions.clh before the source, 0 with the compiler's header. Where what is declared
 * there is not enough, the header is back. */
static xp_status build_with_or_without_header(xp_device *device, const char *file, const xp_variant *variant,
                                              const char *source, size_t declarations, const char *options,
                                              cl_program *out) {
    const xp_status status = build(device, file, variant->prelude, source, options, out);
    if (status != XP_BUILD_ERROR || !declarations) return status;
    XP_TRY(build(device, file, variant->prelude, source + declarations, options + strlen(WITHOUT_HEADER), out));
    device->short_header = false;
    return XP_OK;
}

/* Builds a program that no cache has, and puts it on disk. */
static xp_status make_program(xp_device *device, const char *file, const xp_variant *variant, const char *source,
                              size_t declarations, const char *options, XXH128_hash_t key, cl_program *out) {
    char *binary = NULL;
    size_t length = 0;
    XP_TRY(build_with_or_without_header(device, file, variant, source, declarations, options, out));
    if (variant->edit_for) {
        const xp_status status = edit(device, variant->edit_for, options, out, &binary, &length);
        if (status != XP_OK) return xp_fail_in(status, "cl/%s.cl: ", file);
        length++;
    }
    if (device->saves_programs && (binary || binary_of(*out, &binary, &length) == XP_OK))
        save_binary(key, binary, length);
    free(binary);
    return XP_OK;
}

/* Writes the program's text, with cl/functions.clh in front where that is to replace the compiler's header (a user's
 * text may call more than that declares, and a folder of XP_CL_DIR may not have it). *declarations: the bytes of what
 * it declares, else 0. */
static xp_status write_source(const xp_device *device, const char *file, const xp_variant *variant, xp_writer *source,
                              size_t *declarations) {
    char name[64], included[MAX_INCLUDES][64];
    int included_count = 0;
    *declarations = 0;
    if (variant->prelude) {
        xp_write_bytes(source, variant->prelude, strlen(variant->prelude));
    } else if (device->short_header && !variant->standard) {
        const xp_status status = expand(source, "functions.clh", included, &included_count);
        if (status == XP_OUT_OF_MEMORY) return status;
        *declarations = source->length;
    }
    snprintf(name, sizeof name, "%s.cl", file);
    return expand(source, name, included, &included_count);
}

static xp_status print_options(const xp_device *device, const char *file, const xp_variant *variant, bool headless,
                               char options[OPTION_BYTES]) {
    /* -w: drivers print the number of warnings on the user's terminal; kernel developers compile offline.
     * Subnormal numbers count as zero where the driver can: the small weights of a peaked softmax make them by the
     * million, and Intel's CPUs take a hundred cycles for each (backward passes of attention ten times as long).
     * The kernels of GPUs run on a CPU to be tested alone: optimising them costs six times the compilation there, and
     * Intel's CPU runtime (2026.2) computes attention incorrectly if it does. */
    const bool tested =
        device->families[0] != XP_FAMILY_WIDE && device->limits.type & CL_DEVICE_TYPE_CPU && !variant->optimised;
    size_t prefix =
        (size_t)snprintf(options, OPTION_BYTES, "%s-cl-std=%s -w -cl-denorms-are-zero %s%s",
                         headless ? WITHOUT_HEADER : "", variant->standard ? variant->standard : "CL1.2",
                         tested ? "-cl-opt-disable " : "", variant->many_registers ? device->register_option : "");
    if (prefix + xp_variant_print(variant, options + prefix, OPTION_BYTES - prefix) < OPTION_BYTES) return XP_OK;
    return xp_fail(XP_INVALID_ARGUMENT, "cl/%s.cl: the variant's options are longer than %d bytes", file, OPTION_BYTES);
}

static xp_status find_program(xp_device *device, const char *file, const xp_variant *variant, cl_program *out) {
    char options[OPTION_BYTES];
    xp_writer source = {0};
    size_t declarations;
    xp_status status = write_source(device, file, variant, &source, &declarations);
    if (status == XP_OK) status = print_options(device, file, variant, declarations > 0, options);
    if (status != XP_OK) {
        xp_writer_release(&source);
        return status;
    }
    const char *parts[] = {"", options, device->name, device->driver, device->vendor};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) xp_write_bytes(&source, parts[i], strlen(parts[i]) + 1);
    if (variant->edit_for) xp_write_bytes(&source, variant->edit_for, strlen(variant->edit_for) + 1);
    if (source.failed) {
        xp_writer_release(&source);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the cache key of cl/%s.cl", file);
    }
    XXH128_hash_t key = XXH3_128bits(source.text, source.length); /* after the source, which ends in a NUL */

    for (entry *e = device->programs->entries; e; e = e->next)
        if (XXH128_isEqual(e->key, key)) {
            xp_writer_release(&source);
            *out = e->program;
            return XP_OK;
        }
    cl_program program = load_binary(device, key, options);
    if (!program) status = make_program(device, file, variant, source.text, declarations, options, key, &program);
    xp_writer_release(&source);
    if (status != XP_OK) return status;
    entry *e = malloc(sizeof *e);
    if (!e) {
        clReleaseProgram(program);
        return xp_fail(XP_OUT_OF_MEMORY, "no memory for the program cache");
    }
    *e = (entry){.key = key, .program = program, .next = device->programs->entries};
    device->programs->entries = e;
    *out = program;
    return XP_OK;
}

xp_status xp_device_kernel(xp_device *device, const char *file, const char *kernel, const xp_variant *variant,
                           cl_kernel *out) {
    cl_program program = NULL;
    pthread_mutex_lock(&device->programs->lock);
    xp_status status = find_program(device, file, variant, &program);
    if (status == XP_OK) {
        cl_int code;
        *out = clCreateKernel(program, kernel, &code);
        status = xp_cl_made(*out, code, "clCreateKernel");
        if (status != XP_OK) xp_fail_in(status, "%s of cl/%s.cl: ", kernel, file);
    }
    pthread_mutex_unlock(&device->programs->lock);
    return status;
}
