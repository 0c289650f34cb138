/* The versions of the headers with which a program is compiled, and of the library with which it runs. */
#ifndef EXPANSE_VERSION_H
#define EXPANSE_VERSION_H

#include <expanse/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the release; docs/API.md explains what a change of each part means. */
#define XP_VERSION_MAJOR 0
#define XP_VERSION_MINOR 1
#define XP_VERSION_PATCH 0
#define XP_VERSION       "0.1.0"

/* The version of the interface: the number in the soname of the library. It increases when programs must be compiled
 * again, so that the dynamic linker never starts a program with a library of another interface. */
#define XP_API_VERSION 1

XP_API const char *xp_version(void); /* XP_VERSION of the library; static */
XP_API int xp_api_version(void);     /* XP_API_VERSION of the library: for bindings, which load it by name */

#ifdef __cplusplus
}
#endif
#endif
