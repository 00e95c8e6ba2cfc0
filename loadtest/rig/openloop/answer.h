/* One HTTP/1.1 answer in a buffer: is it whole, and what does it say? Knows nothing about sockets. */
#ifndef ANSWER_H
#define ANSWER_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_HEAD = 1 << 16 };
enum parsed { INCOMPLETE, COMPLETE, MALFORMED_ANSWER };
enum list_kind { LIST_UNSAID, LIST_FULL, LIST_DEGRADED };

struct answer {
    int status;
    bool retry_after, problem, close;
    char *body, *end; /* the body, and where the answer ends in the buffer */
    size_t length;
};

struct head {
    bool chunked;
    long long length; /* -1: no Content-Length */
};

static bool has_name(const char *line, const char *name) { return strncasecmp(line, name, strlen(name)) == 0; }

/* Is `word` in the value of a header that ends at `end`? */
static bool has_word(const char *line, const char *end, const char *word) {
    size_t length = strlen(word);
    for (const char *p = line; p + length <= end; p++)
        if (strncasecmp(p, word, length) == 0)
            return true;
    return false;
}

static struct head read_headers(const char *line, const char *end, struct answer *answer) {
    struct head head = {false, -1};
    while (line < end) {
        const char *stop = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        if (has_name(line, "content-length:"))
            head.length = strtoll(line + 15, NULL, 10);
        else if (has_name(line, "transfer-encoding:"))
            head.chunked = has_word(line, stop, "chunked");
        else if (has_name(line, "retry-after:"))
            answer->retry_after = true;
        else if (has_name(line, "content-type:"))
            answer->problem = has_word(line, stop, "application/problem+json");
        else if (has_name(line, "connection:"))
            answer->close = has_word(line, stop, "close");
        line = stop + 2;
    }
    return head;
}

/* Walk the chunks from `body` on; once the last is there, move them together so that the body is in one piece. */
static enum parsed join_chunks(char *body, char *end, struct answer *answer) {
    for (int pass = 0; pass < 2; pass++) {
        char *p = body, *out = body;
        for (;;) {
            char *line_end = memmem(p, (size_t)(end - p), "\r\n", 2);
            if (!line_end)
                return INCOMPLETE;
            char *digits_end;
            unsigned long long size = strtoull(p, &digits_end, 16);
            if (digits_end == p)
                return MALFORMED_ANSWER;
            char *data = line_end + 2;
            if (size + 2 > (unsigned long long)(end - data))
                return INCOMPLETE;
            if (size == 0) { /* Trailers are not read: no server here sends any. */
                answer->end = data + 2;
                break;
            }
            if (pass == 1)
                memmove(out, data, size);
            out += size;
            p = data + size + 2;
        }
        answer->length = (size_t)(out - body);
    }
    return COMPLETE;
}

/* Read an answer from `length` bytes, which a NUL must follow. Interim (1xx) answers are skipped. */
static enum parsed parse_answer(char *buffer, size_t length, struct answer *answer) {
    char *end = buffer + length, *head_end = memmem(buffer, length, "\r\n\r\n", 4);
    if (!head_end)
        return length > LONGEST_HEAD ? MALFORMED_ANSWER : INCOMPLETE;
    if (length < 12 || memcmp(buffer, "HTTP/1.", 7) != 0)
        return MALFORMED_ANSWER;
    *answer = (struct answer){.status = atoi(buffer + 9), .body = head_end + 4, .close = buffer[7] == '0'};
    if (answer->status < 100 || answer->status > 599)
        return MALFORMED_ANSWER;
    if (answer->status < 200)
        return parse_answer(answer->body, (size_t)(end - answer->body), answer);
    struct head head = read_headers((char *)memmem(buffer, length, "\r\n", 2) + 2, head_end, answer);
    if (head.chunked)
        return join_chunks(answer->body, end, answer);
    if (head.length < 0 && answer->status != 204 && answer->status != 304)
        return MALFORMED_ANSWER;
    answer->length = head.length < 0 ? 0 : (size_t)head.length;
    answer->end = answer->body + answer->length;
    return (size_t)(end - answer->body) >= answer->length ? COMPLETE : INCOMPLETE;
}

/* The value of the first `"key":` in a body, blanks skipped, or NULL. `key` has its quotes. */
static const char *find_value(const struct answer *answer, const char *key) {
    const char *end = answer->body + answer->length;
    const char *p = memmem(answer->body, answer->length, key, strlen(key));
    if (!p)
        return NULL;
    for (p += strlen(key); p < end && (*p == ' ' || *p == ':'); p++) {
    }
    return p < end ? p : NULL;
}

static enum list_kind list_of(const struct answer *answer) {
    const char *value = find_value(answer, "\"degraded\"");
    if (!value)
        return LIST_UNSAID;
    return strncmp(value, "null", 4) == 0 ? LIST_FULL : LIST_DEGRADED;
}

/* Milliseconds of inference as the body states them, or NaN. */
static float infer_of(const struct answer *answer) {
    const char *value = find_value(answer, "\"infer\"");
    char *end = NULL;
    float ms = value ? strtof(value, &end) : NAN;
    return value && end != value ? ms : NAN;
}

#endif
