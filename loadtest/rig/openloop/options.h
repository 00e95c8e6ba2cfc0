/* What the command line and the message file say. `client.py` is the only caller, and checks the values. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message {
    const char *data;
    size_t length;
};

enum { MOST_STRETCHES = 16 };

/* So many seconds at one rate. */
struct stretch {
    double rate, seconds;
};

static struct {
    int port, cpu;
    bool closed_loop;
    double rate, seconds, drain; /* seconds: of all stretches together, once the options have been read */
    struct stretch stretches[MOST_STRETCHES];
    size_t connections, stretch_count;
    const char *messages, *out, *bodies;
} options = {.cpu = -1, .seconds = 4, .drain = 2, .connections = 256};

static struct message *messages;
static size_t message_count;

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "openloop: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(2);
}

static void *checked(void *memory) {
    if (!memory)
        die("out of memory");
    return memory;
}

static void add_stretch(double rate, double seconds) {
    if (options.stretch_count == MOST_STRETCHES)
        die("--then: there can be no more than %d", MOST_STRETCHES - 1);
    options.stretches[options.stretch_count++] = (struct stretch){rate, seconds};
}

/* RATE:SECONDS */
static void read_stretch(const char *text) {
    double rate, seconds;
    if (sscanf(text, "%lf:%lf", &rate, &seconds) != 2)
        die("--then: %s is not RATE:SECONDS", text);
    add_stretch(rate, seconds);
}

static void set_option(int letter, const char *text) {
    switch (letter) {
    case 'p': options.port = atoi(text); break;
    case 'u': options.cpu = atoi(text); break;
    case 'r': options.rate = atof(text); break;
    case 's': options.seconds = atof(text); break;
    case 'd': options.drain = atof(text); break;
    case 'c': options.connections = (size_t)atol(text); break;
    case 'm': options.messages = text; break;
    case 'o': options.out = text; break;
    case 'b': options.bodies = text; break;
    case 'n': read_stretch(text); break;
    case 'l': options.closed_loop = true; break;
    default: die("unknown option");
    }
}

static void read_options(int argc, char **argv) {
    static const struct option names[] = {
        {"port", required_argument, 0, 'p'},    {"cpu", required_argument, 0, 'u'},
        {"rate", required_argument, 0, 'r'},    {"seconds", required_argument, 0, 's'},
        {"drain", required_argument, 0, 'd'},   {"connections", required_argument, 0, 'c'},
        {"then", required_argument, 0, 'n'},    {"messages", required_argument, 0, 'm'},
        {"out", required_argument, 0, 'o'},     {"bodies", required_argument, 0, 'b'},
        {"closed-loop", no_argument, 0, 'l'},   {0, 0, 0, 0},
    };
    int letter;
    add_stretch(0, 0); /* The first is what --rate and --seconds say, wherever they stand. */
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        set_option(letter, optarg);
    options.stretches[0] = (struct stretch){options.rate, options.seconds};
    for (size_t i = 1; i < options.stretch_count; i++)
        options.seconds += options.stretches[i].seconds;
}

/* Length (32 bits, little endian) and bytes, again and again. */
static void read_messages(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t length;
    if (!file)
        die("--messages %s: %s", path, strerror(errno));
    while (fread(&length, sizeof length, 1, file) == 1) {
        char *data = checked(malloc(length));
        if (fread(data, 1, length, file) != length)
            die("--messages %s: message %zu is cut short", path, message_count);
        messages = checked(realloc(messages, (message_count + 1) * sizeof *messages));
        messages[message_count++] = (struct message){data, length};
    }
    fclose(file);
    if (!message_count)
        die("--messages %s: holds no message", path);
}

static void pin(int cpu) {
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("--cpu %d: %s", cpu, strerror(errno));
}

#endif
