/* Sets of inputs. */
#include "train/inputs.h"

static size_t field_bytes(const xp_inputs *inputs, int field) {
    return (field + 1 < XP_FIELDS ? inputs->places[field + 1] : inputs->bytes) - inputs->places[field];
}

void xp_inputs_place(xp_inputs *inputs, const xp_device *device, const xp_field_tensors *fields) {
    const size_t alignment = device->limits.alignment_bytes;
    size_t sizes[XP_FIELDS] = {0}, at = 0;
    for (int f = 0; f < XP_FIELDS; f++) {
        sizes[f] = field_bytes(inputs, f);
        xp_tensor *tensor = xp_tensor_external(fields->tensors[f]);
        if (!tensor) continue;
        const size_t rounded = (xp_tensor_bytes(tensor) + alignment - 1) / alignment * alignment;
        if (rounded > sizes[f]) sizes[f] = rounded;
    }
    for (int f = 0; f < XP_FIELDS; f++) {
        inputs->places[f] = at;
        at += sizes[f];
    }
    inputs->bytes = at;
}

xp_status xp_inputs_open(xp_inputs *inputs, xp_device *device, size_t result_bytes) {
    XP_TRY(xp_transfers_open(&inputs->transfers, device, inputs->bytes, result_bytes));
    for (int set = 0; set < XP_TRANSFER_SETS; set++) {
        for (int f = 0; f < XP_FIELDS; f++) {
            const cl_buffer_region region = {inputs->places[f], field_bytes(inputs, f)};
            cl_int code;
            if (region.size == 0) continue;
            inputs->parts[set][f] = clCreateSubBuffer(xp_transfers_buffer(inputs->transfers, set), CL_MEM_READ_WRITE,
                                                      CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
            XP_TRY(xp_cl_made(inputs->parts[set][f], code, "clCreateSubBuffer"));
        }
    }
    return XP_OK;
}

void xp_inputs_close(xp_inputs *inputs) {
    for (int set = 0; set < XP_TRANSFER_SETS; set++)
        for (int f = 0; f < XP_FIELDS; f++)
            if (inputs->parts[set][f]) clReleaseMemObject(inputs->parts[set][f]);
    xp_transfers_close(&inputs->transfers);
    *inputs = (xp_inputs){0};
}

xp_status xp_inputs_bind(const xp_inputs *inputs, int set, xp_plan *plan, const xp_field_tensors *fields) {
    for (int f = 0; f < XP_FIELDS; f++)
        if (fields->tensors[f]) XP_TRY(xp_plan_bind(plan, fields->tensors[f], inputs->parts[set][f]));
    return XP_OK;
}

void *xp_inputs_field(const xp_inputs *inputs, int set, xp_field field) {
    return xp_transfers_input(inputs->transfers, set) + inputs->places[field];
}

xp_batch xp_inputs_batch(const xp_inputs *inputs, int set) {
    void *fields[XP_FIELDS];
    for (int f = 0; f < XP_FIELDS; f++)
        fields[f] = field_bytes(inputs, f) > 0 ? xp_inputs_field(inputs, set, (xp_field)f) : NULL;
    return (xp_batch){.values = fields[XP_FIELD_VALUES],
                      .lengths = fields[XP_FIELD_LENGTHS],
                      .labels = fields[XP_FIELD_LABELS],
                      .targets = fields[XP_FIELD_TARGETS],
                      .levels = fields[XP_FIELD_LEVELS],
                      .weights = fields[XP_FIELD_WEIGHTS]};
}
