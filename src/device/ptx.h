/* PTX, the text that NVIDIA's driver keeps as a program's binary: an edit that gives a kernel instructions which the
 * driver accepts only for one exact architecture, and never in OpenCL C. Text to text; knows no device.
 *
 * Such an instruction stands in a comment of inline assembly, in a line of its own:
 *
 *     //@sm_90a wgmma.fence.sync.aligned;
 *
 * The comment becomes the instruction, and the target of the text becomes sm_90a. A text with arrays of a work-item in
 * memory (.local) is refused: they may be the sums, each of which would be loaded and stored around each instruction.
 *
 * As long as the text has not been edited, the kernel's sums must be NaN, which such a line changes (WGMMA_NOTHING of
 * cl/wgmma.clh). */
#ifndef XP_DEVICE_PTX_H
#define XP_DEVICE_PTX_H

#include "core/status.h"
#include <stddef.h>

/* Edits text of `length` bytes for `target`. *out is terminated by a NUL, which *out_length does not count, and belongs
 * to the caller. XP_UNSUPPORTED: this is no such text, or nothing in it is for the target; the message says what is
 * missing. XP_OUT_OF_MEMORY. */
xp_status xp_ptx_edit(const char *text, size_t length, const char *target, char **out, size_t *out_length);

#endif
