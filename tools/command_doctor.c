/* expanse doctor: what a device can really do. Owns the printing and the child processes: a driver that crashes or
 * hangs takes one probe with it, not the doctor. What is probed and what it means is in src/device/probe.c.
 *
 * A child is this command again, called with CHILD_WORD, the probe's name and the device; it writes its answer to
 * ANSWER_DESCRIPTOR, because drivers write what they like to stdout. */
#include "command.h"

#include "device/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_WORD "--child"
enum { ANSWER_DESCRIPTOR = 3, ANSWER_BYTES = 512 };

/* ---- a child --------------------------------------------------------------------------------------------------------
 */

static int answer_as_child(const char *name, const char *device) {
    const xp_probe *probe = xp_probe_find(name);
    xp_probe_result result;
    if (!probe) return XP_EXIT_USAGE;
    xp_probe_run(probe, device, &result);
    bool written = write(ANSWER_DESCRIPTOR, &result, sizeof result) == (ssize_t)sizeof result;
    return written ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

/* Runs in the forked process. */
static void become_child(const xp_probe *probe, const char *device, int answer) {
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(nothing, STDERR_FILENO) < 0)
        _exit(XP_EXIT_FAILURE);
    if (answer == ANSWER_DESCRIPTOR)
        fcntl(answer, F_SETFD, 0);
    else if (dup2(answer, ANSWER_DESCRIPTOR) < 0)
        _exit(XP_EXIT_FAILURE);
    setenv("EXPANSE_CACHE_DIR", "", 1); /* a probe compiles */
    execl("/proc/self/exe", "expanse", "doctor", CHILD_WORD, probe->name, device, (char *)NULL);
    _exit(XP_EXIT_FAILURE);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Whether the whole answer came before the time was up. */
static bool await_answer(int from, double seconds, xp_probe_result *out) {
    size_t got = 0;
    double end = now() + seconds;
    while (got < sizeof *out) {
        double left = end - now();
        struct pollfd watched = {.fd = from, .events = POLLIN};
        if (left <= 0) return false;
        int ready = poll(&watched, 1, (int)(left * 1e3) + 1);
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        ssize_t count = read(from, (char *)out + got, sizeof *out - got);
        if (count <= 0) return false; /* the child ended */
        got += (size_t)count;
    }
    return true;
}

static xp_status ask(const xp_probe *probe, const char *device, double seconds, xp_probe_result *out) {
    int ends[2];
    if (pipe(ends) != 0) return xp_fail(XP_IO_ERROR, "no pipe for a probe: %s", strerror(errno));
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fflush(stdout);
    double begin = now();
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return xp_fail(XP_IO_ERROR, "no process for a probe: %s", strerror(errno));
    }
    if (child == 0) become_child(probe, device, ends[1]);
    close(ends[1]);
    bool answered = await_answer(ends[0], seconds, out), late = now() - begin >= seconds;
    close(ends[0]);
    if (late || answered) kill(child, SIGKILL); /* after the answer a driver may still hang in its own clean-up */
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    if (answered) return XP_OK;
    char reason[96];
    if (late)
        snprintf(reason, sizeof reason, "no answer within %.0f s: the driver hangs", seconds);
    else if (WIFSIGNALED(state))
        snprintf(reason, sizeof reason, "the driver crashes: %s", strsignal(WTERMSIG(state)));
    else
        snprintf(reason, sizeof reason, "the process ended with code %d", WEXITSTATUS(state));
    xp_probe_failed(probe, reason, out);
    return XP_OK;
}

/* ---- the round ------------------------------------------------------------------------------------------------------
 */

/* As wide as the text looks: "µ" is two bytes. */
static void print_padded(const char *text, int width) {
    int length = 0;
    for (const char *c = text; *c; c++) length += ((unsigned char)*c & 0xc0) != 0x80;
    printf("%s%*s  ", text, length < width ? width - length : 0, "");
}

static void print_line(const char *what, const char *works, const char *figure, const char *meaning) {
    print_padded(what, 27);
    print_padded(works, 5);
    print_padded(figure, 60);
    printf("%s\n", meaning);
    fflush(stdout);
}

static json_t *in_json(const xp_probe *probe, const xp_probe_result *result) {
    static const char *const needs[] = {"needed", "useful", "unused", "hidden"};
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:f, s:s}", "probe", probe->name, "what", probe->title, "need",
                     needs[probe->need], "works", result->works, "figure", result->figure, "value", result->value,
                     "meaning", result->meaning);
}

/* Breaks the paragraph into lines. */
static void print_paragraph(const char *text) {
    enum { WIDTH = 100 };
    for (int column = 0; *text;) {
        int length = (int)strcspn(text, " ");
        if (column > 0 && column + 1 + length > WIDTH) {
            printf("\n");
            column = 0;
        }
        column += printf("%s%.*s", column ? " " : "", length, text);
        text += length + (text[length] == ' ');
    }
    printf("\n");
}

static int run_all(const char *device, const char *only, double seconds, bool json) {
    xp_probe_result *results = calloc((size_t)xp_probe_count, sizeof *results);
    json_t *list = json_array();
    char verdict[1536] = "";
    bool fit = false;
    xp_status status = results ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for the answers");
    if (!json) print_line("what", "works", "figure", "what it means");
    for (int i = 0; i < xp_probe_count && status == XP_OK; i++) {
        const xp_probe *probe = &xp_probes[i];
        if (only ? strcmp(probe->name, only) != 0 : probe->need == XP_PROBE_HIDDEN) continue;
        status = ask(probe, device, seconds, &results[i]);
        if (status != XP_OK) break;
        json_array_append_new(list, in_json(probe, &results[i]));
        if (!json) print_line(probe->title, results[i].works ? "yes" : "no", results[i].figure, results[i].meaning);
        fit = results[i].works;
        if (i == 0 && !fit && !only) break; /* the others would say the same */
    }
    if (status == XP_OK && !only) fit = xp_probe_verdict(results, verdict, sizeof verdict);
    if (status == XP_OK && !only && !results[0].works)
        snprintf(verdict, sizeof verdict, "Not fit for training: %s.", results[0].figure);
    if (status == XP_OK && json) {
        json_t *all = json_pack("{s:b, s:s, s:O}", "fit", fit, "verdict", verdict, "probes", list);
        if (!all || json_dumpf(all, stdout, JSON_INDENT(2)) != 0)
            status = xp_fail(XP_IO_ERROR, "the answers cannot be written");
        json_decref(all);
        printf("\n");
    } else if (status == XP_OK && !only) {
        printf("\n");
        print_paragraph(verdict);
    }
    json_decref(list);
    free(results);
    if (status != XP_OK) return xp_command_fail();
    return fit ? XP_EXIT_OK : XP_EXIT_FAILURE;
}

int xp_command_doctor(int count, char **words) {
    if (count == 3 && strcmp(words[0], CHILD_WORD) == 0) return answer_as_child(words[1], words[2]);
    const char *device = "", *only = NULL;
    long seconds = 120;
    bool json = false;
    const xp_flag flags[] = {
        {"--device", "ID", "id, part of a name, 'gpu' or 'cpu'; default: the first GPU, else the first CPU",
         .text = &device},
        {"--only", "PROBE", "this probe alone, by its name in the JSON", .text = &only},
        {"--limit", "SECONDS", "for each probe; one that takes longer counts as hanging (120)", .number = &seconds},
        {"--json", NULL, "the answers as JSON", .on = &json},
    };
    const xp_usage usage = {
        .name = "doctor",
        .synopsis = "[flags]",
        .description =
            "Compiles and runs small kernels, each in a process of its own, and tells what works, what does\n"
            "not, and what it means for training. Exits with 0 when the device is fit.\n",
        .flags = flags,
        .flag_count = sizeof flags / sizeof flags[0],
        .example = "  expanse doctor --device gpu\n"};
    xp_arguments arguments;
    int code = xp_arguments_read(&usage, count, words, &arguments);
    if (code != XP_EXIT_OK || arguments.help) return code;
    if (seconds < 1 || seconds > 3600) return xp_command_misuse("--limit: %ld is not between 1 and 3600", seconds);
    if (only && !xp_probe_find(only))
        return xp_command_misuse("--only: there is no probe '%s'; --json names them", only);
    return run_all(device, only, (double)seconds, json);
}
