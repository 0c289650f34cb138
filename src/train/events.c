/* TensorBoard's event files. A record is the length of its data (8 bytes), the checksum of these, the data and their
 * checksum; data is an Event of TensorFlow's event.proto. Numbers are little-endian. */
#include "train/events.h"

#include "core/files.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 12, TAIL = 4, MOST = 2048 }; /* bytes around the data of a record, and of the longest event */

/* ---- protocol buffers -------------------------------------------------------------------------------------------- */

/* Field numbers with the type of what follows: a number of 1 … 10 bytes, of 4 or 8, or bytes after their number. */
enum {
    EVENT_TIME = 1 << 3 | 1,
    EVENT_STEP = 2 << 3 | 0,
    EVENT_VERSION = 3 << 3 | 2,
    EVENT_SUMMARY = 5 << 3 | 2,
    SUMMARY_VALUE = 1 << 3 | 2,
    VALUE_TAG = 1 << 3 | 2,
    VALUE_NUMBER = 2 << 3 | 5
};

/* An event has few values, so it always fits. */
typedef struct message {
    unsigned char bytes[MOST];
    size_t length;
} message;

static void put_bytes(message *out, const void *bytes, size_t length) {
    if (length > sizeof out->bytes - out->length) return;
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

static void put_fixed(message *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put_bytes(out, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

static void put_number(message *out, uint64_t value) {
    for (; value > 127; value >>= 7) put_fixed(out, value | 128, 1);
    put_fixed(out, value, 1);
}

static void put_field(message *out, int field, const void *bytes, size_t length) {
    put_number(out, (uint64_t)field);
    put_number(out, length);
    put_bytes(out, bytes, length);
}

static void begin_event(message *out, double when, int64_t step) {
    uint64_t bits;
    memcpy(&bits, &when, sizeof bits);
    *out = (message){.length = 0};
    put_number(out, EVENT_TIME);
    put_fixed(out, bits, 8);
    put_number(out, EVENT_STEP);
    put_number(out, (uint64_t)step);
}

/* What was not measured is left out. */
static void put_scalar(message *summary, const char *tag, double value) {
    const float number = (float)value;
    uint32_t bits;
    message own = {.length = 0};
    if (!isfinite(value)) return;
    memcpy(&bits, &number, sizeof bits);
    put_field(&own, VALUE_TAG, tag, strlen(tag));
    put_number(&own, VALUE_NUMBER);
    put_fixed(&own, bits, 4);
    put_field(summary, SUMMARY_VALUE, own.bytes, own.length);
}

static void make_version(message *out, double when) {
    static const char version[] = "brain.Event:2";
    begin_event(out, when, 0);
    put_field(out, EVENT_VERSION, version, strlen(version));
}

/* "loss/training", "loss/validation": TensorBoard shows the sets of a metric together. */
static void make_epoch(message *out, double when, const xp_task *task, const xp_epoch_row *row) {
    message summary = {.length = 0};
    for (int i = 0; i < task->metric_count; i++)
        for (int set = 0; set < XP_SETS; set++) {
            char tag[64];
            snprintf(tag, sizeof tag, "%s/%s", task->metrics[i].name, xp_set_name((xp_set)set));
            put_scalar(&summary, tag, row->metrics[set][i]);
        }
    put_scalar(&summary, "learning_rate", row->learning_rate);
    begin_event(out, when, row->epoch);
    put_field(out, EVENT_SUMMARY, summary.bytes, summary.length);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* CRC-32C, rotated and shifted as in the files of TensorFlow. */
static uint32_t checksum(const unsigned char *bytes, size_t length) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static bool write_record(FILE *file, const message *event) {
    message head = {.length = 0}, tail = {.length = 0};
    put_fixed(&head, event->length, 8);
    put_fixed(&head, checksum(head.bytes, head.length), 4);
    put_fixed(&tail, checksum(event->bytes, event->length), 4);
    return fwrite(head.bytes, head.length, 1, file) == 1 && fwrite(event->bytes, event->length, 1, file) == 1 &&
           fwrite(tail.bytes, tail.length, 1, file) == 1;
}

static uint64_t get_fixed(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
    return value;
}

/* The bytes of the record of an epoch, 0 for that of the version; 0 bytes: it is not that, or not whole. */
static size_t read_record(const unsigned char *at, size_t left, int epoch) {
    if (left < HEAD + TAIL) return 0;
    const uint64_t length = get_fixed(at, 8);
    if (length > left - HEAD - TAIL || get_fixed(at + 8, 4) != checksum(at, 8)) return 0;
    const unsigned char *data = at + HEAD;
    if (get_fixed(data + length, 4) != checksum(data, length)) return 0;
    message wanted;
    begin_event(&wanted, 0, epoch);
    const size_t time = 1 + 8; /* is not compared */
    const bool same = length >= wanted.length && memcmp(data + time, wanted.bytes + time, wanted.length - time) == 0;
    return same ? HEAD + length + TAIL : 0;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* How many bytes of the file are to be kept, and how many records these are. */
static xp_status examine(const char *path, int count, size_t *kept, int *records) {
    char *bytes = NULL;
    size_t length = 0, size;
    *kept = 0;
    *records = 0;
    if (!xp_file_exists(path)) return XP_OK;
    XP_TRY(xp_file_read(path, &bytes, &length));
    while (*records <= count &&
           (size = read_record((const unsigned char *)bytes + *kept, length - *kept, *records)) > 0) {
        *kept += size;
        ++*records;
    }
    free(bytes);
    return XP_OK;
}

/* Rows of earlier epochs get about the time at which they ended. */
static bool append(FILE *file, const xp_task *task, const xp_epoch_row *rows, int first, int count) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double when = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    bool written = true;
    for (int record = first; record <= count && written; record++) {
        const double ago = record  ? rows[count - 1].seconds - rows[record - 1].seconds
                           : count ? rows[count - 1].seconds
                                   : 0;
        message event;
        if (record == 0)
            make_version(&event, when - ago);
        else
            make_epoch(&event, when - ago, task, &rows[record - 1]);
        written = write_record(file, &event);
    }
    return written;
}

xp_status xp_events_update(const char *path, const xp_task *task, const xp_epoch_row *rows, int count) {
    size_t kept;
    int records;
    XP_TRY(examine(path, count, &kept, &records));
    FILE *file = fopen(path, "ab");
    bool written = file && ftruncate(fileno(file), (off_t)kept) == 0 && append(file, task, rows, records, count);
    const int reason = errno;
    if (file && fclose(file) != 0) written = false;
    return written ? XP_OK : xp_fail(XP_IO_ERROR, "%s: the events cannot be written: %s", path, strerror(reason));
}
