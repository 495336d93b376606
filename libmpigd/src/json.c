/* As much of JSON as the checksum of a model needs: to sort the keys of objects that json.dumps of Python wrote. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { DEEPEST = 64 };

/* The end of a value, or NULL where there is none. */
static const char *skip(const char *at, int depth);

static const char *after_spaces(const char *at) { return at + strspn(at, " \t\r\n"); }

static const char *skip_string(const char *at) {
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\' && !*++at) {
            return NULL;
        }
    }
    return *at ? at + 1 : NULL;
}

/* One member of an object or an element of an array: its key, or NULL, and its value, as text. */
typedef struct {
    const char *key, *key_end, *value, *value_end;
} member;

/* Read a member; *at goes after it. */
static bool read_member(const char **at, bool keyed, int depth, member *found) {
    const char *here = after_spaces(*at);
    *found = (member){0};
    if (keyed) {
        if (*here != '"' || !(found->key_end = skip_string(here))) {
            return false;
        }
        found->key = here;
        here = after_spaces(found->key_end);
        if (*here++ != ':') {
            return false;
        }
        here = after_spaces(here);
    }
    found->value = here;
    found->value_end = *at = skip(here, depth);
    return *at != NULL;
}

/* Members of the object or array at `at`: how many, -1 where it is damaged; written to `members` unless that is NULL. */
static long members_of(const char *at, int depth, member *members, const char **end) {
    bool keyed = *at == '{';
    char close = keyed ? '}' : ']';
    long count = 0;
    at = after_spaces(at + 1);
    if (*at == close) {
        *end = at + 1;
        return 0;
    }
    for (;;) {
        member found;
        if (!read_member(&at, keyed, depth + 1, &found)) {
            return -1;
        }
        if (members) {
            members[count] = found;
        }
        count++;
        at = after_spaces(at);
        if (*at == close) {
            *end = at + 1;
            return count;
        }
        if (*at++ != ',') {
            return -1;
        }
    }
}

static const char *skip(const char *at, int depth) {
    const char *end = NULL;
    if (depth > DEEPEST) {
        return NULL;
    }
    if (*at == '"') {
        return skip_string(at);
    }
    if (*at == '{' || *at == '[') {
        return members_of(at, depth, NULL, &end) < 0 ? NULL : end;
    }
    size_t length = strcspn(at, ",]} \t\r\n");
    return length ? at + length : NULL;
}

static int by_key(const void *a, const void *b) {
    const member *one = a, *other = b;
    size_t n = (size_t)(one->key_end - one->key) - 1, m = (size_t)(other->key_end - other->key) - 1; /* without the " */
    int order = memcmp(one->key, other->key, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static char *put(char *out, const char *text, const char *end) {
    memcpy(out, text, (size_t)(end - text));
    return out + (end - text);
}

/* Write a value with sorted keys; NULL where there is no memory. Never longer than three times the text. */
static char *write_sorted(const char *value, const char *value_end, char *out) {
    if (*value != '{' && *value != '[') {
        return put(out, value, value_end);
    }
    const char *end;
    long count = members_of(value, 0, NULL, &end);
    member *members = mpigd_zeros(count, sizeof *members);
    if (!members) {
        return NULL;
    }
    members_of(value, 0, members, &end);
    if (*value == '{') {
        qsort(members, (size_t)count, sizeof *members, by_key);
    }
    *out++ = *value;
    for (long i = 0; out && i < count; i++) {
        if (i) {
            *out++ = ',';
            *out++ = ' ';
        }
        if (members[i].key) {
            out = put(out, members[i].key, members[i].key_end);
            *out++ = ':';
            *out++ = ' ';
        }
        out = write_sorted(members[i].value, members[i].value_end, out);
    }
    if (out) {
        *out++ = *value == '{' ? '}' : ']';
    }
    free(members);
    return out;
}

char *mpigd_json_sorted(const char *text) {
    text = after_spaces(text);
    const char *end = skip(text, 0);
    if (!end || *after_spaces(end)) {
        return NULL;
    }
    char *sorted = mpigd_zeros((int64_t)(3 * strlen(text) + 1), 1);
    char *last = sorted ? write_sorted(text, end, sorted) : NULL;
    if (!last) {
        free(sorted);
        return NULL;
    }
    *last = 0;
    return sorted;
}

double mpigd_json_number(const char *text, const char *key) {
    text = after_spaces(text);
    const char *end;
    long count = *text == '{' ? members_of(text, 0, NULL, &end) : -1;
    member *members = count > 0 ? mpigd_zeros(count, sizeof *members) : NULL;
    double found = NAN;
    if (members) {
        members_of(text, 0, members, &end);
        for (long i = 0; i < count; i++) {
            size_t length = (size_t)(members[i].key_end - members[i].key) - 2;
            if (length == strlen(key) && memcmp(members[i].key + 1, key, length) == 0) {
                char *stop;
                double value = strtod(members[i].value, &stop);
                found = stop == members[i].value ? NAN : value;
            }
        }
    }
    free(members);
    return found;
}
