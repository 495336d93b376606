#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { LINE = 64 };

void mpigd_begin(mpigd_error *error) {
    if (error) {
        error->message[0] = 0;
    }
}

mpigd_status mpigd_fail(mpigd_error *error, mpigd_status status, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

mpigd_status mpigd_no_memory(mpigd_error *error) {
    return mpigd_fail(error, MPIGD_MEMORY, "there is not enough memory");
}

void *mpigd_zeros(int64_t count, size_t size) {
    if (count < 0 || (uint64_t)count > (SIZE_MAX / 2 - LINE) / size) {
        return NULL;
    }
    size_t bytes = ((size_t)count * size + LINE) / LINE * LINE;
    void *memory = aligned_alloc(LINE, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}
