/* Numbers in another type: y[i] = x[i], rounded to nearest where y's type has fewer bits. One shape of work-group serves
 * all families, as in elementwise.cl.
 *
 * FROM, TO  types as STORAGE counts them */
#include "storage.clh"

#ifndef FROM
#define FROM 0
#endif
#ifndef TO
#define TO 2
#endif

/* x, y [count] */
__kernel __attribute__((reqd_work_group_size(256, 1, 1))) void
cast(const __global OF_TYPE(stored_, FROM) * restrict x, __global OF_TYPE(stored_, TO) * restrict y, int count) {
    const size_t i = get_global_id(0);
    if (i < count) {
        const float value = OF_TYPE(LOAD_AS_, FROM)(x, i);
        OF_TYPE(STORE_AS_, TO)(value, y, i);
    }
}
