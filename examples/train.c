/* Trains a preset on a file of series, as `expanse train` does: ./train DATA FOLDER [section.key=value …]. Compile:
 *   cc -std=c11 train.c $(pkg-config --cflags --libs expanse) -o train */
#include <expanse/training.h>
#include <stdio.h>

static void print_epoch(void *user, const xp_training *training, int epoch, int epochs) {
    (void)user;
    printf("epoch %d of %d: loss %.4f, accuracy %.1f %%\n", epoch, epochs,
           xp_training_metric(training, "training", "loss"),
           100 * xp_training_metric(training, "training", "accuracy"));
}

static xp_status train(xp_training *training, int count, char **words) {
    char data[1100];
    snprintf(data, sizeof data, "data.train=%s", words[1]);
    xp_status status = xp_training_set(training, data);
    for (int i = 3; i < count && status == XP_OK; i++) status = xp_training_set(training, words[i]);
    xp_training_callbacks callbacks;
    xp_training_callbacks_default(&callbacks);
    callbacks.epoch = print_epoch;
    return status == XP_OK ? xp_training_run(training, words[2], &callbacks) : status;
}

int main(int count, char **words) {
    xp_training *training;
    if (count < 3) {
        fprintf(stderr, "usage: %s DATA FOLDER [section.key=value ...]\n", words[0]);
        return 2;
    }
    xp_status status = xp_training_create(&training, "uea-flowformer");
    if (status == XP_OK) status = train(training, count, words);
    if (status == XP_OK)
        printf("epoch %d was the best: %s/best/model.safetensors\n", xp_training_best_epoch(training), words[2]);
    else
        fprintf(stderr, "%s: %s\n", xp_status_name(status), xp_last_error());
    xp_training_close(&training);
    return status != XP_OK;
}
