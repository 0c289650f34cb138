/* Records in the cache folder. */
#include "device/record.h"

#include "device/cache.h"

#include <stdlib.h>

xp_status xp_record_load(const char *name, json_t **all) {
    char *text = NULL;
    size_t length = 0;
    json_error_t error;
    *all = NULL;
    xp_status status = xp_cache_read(name, &text, &length);
    if (status == XP_OK) status = xp_json_read(name, text, length, all, &error);
    free(text);
    if (status == XP_OUT_OF_MEMORY) return status;
    if (json_is_object(*all)) return XP_OK;
    json_decref(*all);
    *all = json_object();
    return *all ? XP_OK : xp_fail(XP_OUT_OF_MEMORY, "no memory for %s", name);
}

void xp_record_store(const char *name, json_t *all, const char *key, json_t *value) {
    xp_writer text = {0};
    xp_json_write(&text, json_object_set_new(all, key, value) == 0 ? all : NULL, JSON_INDENT(2));
    if (!text.failed) (void)xp_cache_write(name, text.text, text.length);
    xp_writer_release(&text);
}
