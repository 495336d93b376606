/* Which kernels this processor is given. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "targets.h" /* written by CMake: a line X(tag, name) for each target, the best first */

#define X(tag, name)                                            \
    extern const mpigd_kernel_entry mpigd_kernels_##tag[];      \
    extern const size_t mpigd_kernels_##tag##_count;
MPIGD_TARGETS
#undef X

typedef struct {
    const char *name;
    const mpigd_kernel_entry *kernels;
    const size_t *count;
} target_of;

#define X(tag, name) {name, mpigd_kernels_##tag, &mpigd_kernels_##tag##_count},
static const target_of targets[] = {MPIGD_TARGETS};
#undef X

/* Chosen once, then never changed. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const target_of *chosen;

static bool runs(const char *name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#define HAS(feature) __builtin_cpu_supports(feature)
    bool v2 = HAS("sse4.2") && HAS("ssse3") && HAS("popcnt");
    bool v3 = v2 && HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2") && HAS("f16c") && HAS("lzcnt") && HAS("movbe");
    bool v4 = v3 && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
#undef HAS
    return strcmp(name, "x86-64-v4") == 0 ? v4 : strcmp(name, "x86-64-v3") == 0 ? v3 : strcmp(name, "x86-64-v2") == 0 && v2;
#elif defined(__aarch64__)
    return strcmp(name, "aarch64") == 0;
#else
    (void)name;
    return false;
#endif
}

static void choose(void) {
    const char *asked = getenv("MPIGD_TARGET");
    const target_of *best = NULL;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (runs(targets[i].name)) {
            best = best ? best : targets + i;
            if (asked && strcmp(asked, targets[i].name) == 0) {
                best = targets + i;
                break;
            }
        }
    }
    chosen = best;
}

static const target_of *target(void) {
    pthread_once(&once, choose);
    return chosen;
}

const char *mpigd_version(void) { return MPIGD_VERSION; }

const char *mpigd_target(void) { return target() ? target()->name : "none"; }

static int by_name(const void *name, const void *entry) {
    return strcmp(name, ((const mpigd_kernel_entry *)entry)->name);
}

/* For Python, which takes kernels from here (see kernels/prebuilt.py): exported, but not in the header. */
MPIGD_API void *mpigd_kernel(const char *name);
MPIGD_API const char *mpigd_kernel_sources(void);

void *mpigd_kernel(const char *name) {
    const target_of *own = target();
    const mpigd_kernel_entry *found =
        own ? bsearch(name, own->kernels, *own->count, sizeof *own->kernels, by_name) : NULL;
    return found ? (void *)(uintptr_t)found->function : NULL;
}

const char *mpigd_kernel_sources(void) { return mpigd_sources; }

void (*mpigd_find(mpigd_error *error, const char *format, ...))(void) {
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    void *found = mpigd_kernel(name);
    if (!found) {
        if (target()) {
            mpigd_fail(error, MPIGD_USAGE,
                       "this build of libmpigd has no kernel '%s'; build it with this type of X and this loss", name);
        } else {
            mpigd_fail(error, MPIGD_USAGE, "this build of libmpigd has no kernels for this processor");
        }
    }
    return (void (*)(void))(uintptr_t)found;
}

static const struct {
    const char *name;
    size_t size;
} types[] = {{"float64", 8}, {"float32", 4}, {"float16", 2}, {"int8", 1}, {"uint8", 1}};

const char *mpigd_type_name(mpigd_type type) {
    return (unsigned)type < sizeof types / sizeof *types ? types[type].name : NULL;
}

size_t mpigd_type_size(mpigd_type type) { return types[type].size; }

static double of_half(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    double fraction = bits & 1023, value;
    if (exponent == 31) {
        value = fraction ? (double)__builtin_nanf("") : (double)__builtin_inff();
    } else {
        value = exponent ? (fraction + 1024) * 0x1p-25 * (double)(1ull << exponent) : fraction * 0x1p-24;
    }
    return bits >> 15 ? -value : value;
}

double mpigd_number(mpigd_type type, const void *x, int64_t index) {
    switch (type) {
    case MPIGD_FLOAT64: return ((const double *)x)[index];
    case MPIGD_FLOAT32: return (double)((const float *)x)[index];
    case MPIGD_FLOAT16: return of_half(((const uint16_t *)x)[index]);
    case MPIGD_INT8: return ((const int8_t *)x)[index];
    default: return ((const uint8_t *)x)[index];
    }
}
