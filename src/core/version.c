#include <expanse/version.h>

const char *xp_version(void) {
    return XP_VERSION;
}

int xp_api_version(void) {
    return XP_API_VERSION;
}
