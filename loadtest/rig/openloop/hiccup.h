/* A thread that sleeps a millisecond again and again and notes by how much it overslept: what the client's own CPU did
 * to everybody on it. The samples are exact; percentiles are nearest rank. */
#ifndef HICCUP_H
#define HICCUP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HICCUP_SLEEP_NS = 1000000 };

struct meter {
    pthread_t thread;
    atomic_bool stop;
    uint32_t *samples; /* ns */
    size_t count, capacity;
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *run_meter(void *argument) {
    struct meter *meter = argument;
    while (!atomic_load(&meter->stop) && meter->count < meter->capacity) {
        int64_t target = now_ns() + HICCUP_SLEEP_NS;
        struct timespec t = {target / 1000000000, target % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        int64_t over = now_ns() - target;
        meter->samples[meter->count++] = over > UINT32_MAX ? UINT32_MAX : (uint32_t)(over < 0 ? 0 : over);
    }
    return NULL;
}

/* Start it with room for `seconds`. False if there is no memory or no thread. */
static int start_meter(struct meter *meter, double seconds) {
    meter->capacity = (size_t)(seconds * 1000) + 1000;
    meter->samples = malloc(meter->capacity * sizeof *meter->samples);
    return meter->samples && pthread_create(&meter->thread, NULL, run_meter, meter) == 0;
}

static void stop_meter(struct meter *meter) {
    atomic_store(&meter->stop, 1);
    pthread_join(meter->thread, NULL);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double rank_ms(const struct meter *meter, double share) {
    size_t rank = (size_t)(share * (double)meter->count + 0.999999);
    return meter->count ? meter->samples[(rank ? rank : 1) - 1] / 1e6 : 0.0;
}

/* As JSON members. */
static void print_meter(struct meter *meter) {
    qsort(meter->samples, meter->count, sizeof *meter->samples, by_size);
    printf("\"hiccups\":%zu,\"hiccup_p99_ms\":%.6f,\"hiccup_max_ms\":%.6f", meter->count, rank_ms(meter, 0.99),
           rank_ms(meter, 1.0));
}

#endif
