/* LIBSVM with the interface of the solvers: a precomputed kernel, b always fitted. Owns all data that LIBSVM uses. */
#include "svr/solver.h"

#ifndef XP_WITH_LIBSVM

xp_status xp_svr_solve_with_bias(const xp_svr_matrix *matrix, const xp_svr_options *options, double *coefficients,
                                 double *bias) {
    return xp_fail(XP_UNSUPPORTED,
                   "fitting b needs LIBSVM, which this build does not have: install libsvm-dev and build again, "
                   "or fit with b = 0");
}

#else

#include <libsvm/svm.h>
#include <stdlib.h>
#include <string.h>

static void say_nothing(const char *text) {
}

xp_status xp_svr_solve_with_bias(const xp_svr_matrix *matrix, const xp_svr_options *options, double *coefficients,
                                 double *bias) {
    for (int64_t j = 0; j < matrix->size; j++)
        if (matrix->weights[j] != matrix->weights[0])
            return xp_fail(XP_UNSUPPORTED,
                           "LIBSVM uses one C for all keys, but the costs of these keys differ; fit with b = 0");
    const int64_t size = matrix->size, row = size + 2; /* the number of the row first, an end mark last */
    struct svm_node *nodes = malloc((size_t)(size * row) * sizeof *nodes);
    struct svm_node **rows = malloc((size_t)size * sizeof(struct svm_node *));
    double *targets = malloc((size_t)size * sizeof *targets);
    xp_status status = nodes && rows && targets
                           ? XP_OK
                           : xp_fail(XP_OUT_OF_MEMORY, "no memory for a fit of %lld keys", (long long)size);
    for (int64_t i = 0; i < size && status == XP_OK; i++) {
        rows[i] = nodes + i * row;
        rows[i][0] = (struct svm_node){0, (double)(i + 1)};
        for (int64_t j = 0; j < size; j++)
            rows[i][j + 1] = (struct svm_node){(int)(j + 1), matrix->kernel[i * size + j]};
        rows[i][size + 1].index = -1;
    }
    const struct svm_parameter parameter = {.svm_type = EPSILON_SVR,
                                            .kernel_type = PRECOMPUTED,
                                            .cache_size = 200,
                                            .eps = 1e-6,
                                            .C = options->cost,
                                            .p = options->epsilon};
    svm_set_print_string_function(say_nothing);
    for (int d = 0; d < matrix->outputs && status == XP_OK; d++) {
        for (int64_t i = 0; i < size; i++) {
            targets[i] = matrix->targets[i * matrix->outputs + d];
            coefficients[i * matrix->outputs + d] = 0;
        }
        const struct svm_problem problem = {.l = (int)size, .y = targets, .x = rows};
        struct svm_model *model = svm_train(&problem, &parameter);
        for (int i = 0; i < model->l; i++)
            coefficients[(model->sv_indices[i] - 1) * matrix->outputs + d] = model->sv_coef[0][i];
        bias[d] = -model->rho[0];
        svm_free_and_destroy_model(&model);
    }
    free(nodes);
    free(rows);
    free(targets);
    return status;
}

#endif
