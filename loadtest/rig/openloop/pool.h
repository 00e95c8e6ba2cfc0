/* The connections: those that are free, those that are closed, and the rows of the requests on them. */
#ifndef POOL_H
#define POOL_H

#include "options.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 14, EVENTS_AT_ONCE = 64, LEAD_NS = 20000000 };
#define TIMER UINT64_MAX
enum fault { NONE, CONNECT, RESET, CLOSED, CUT, TIMEOUT, MALFORMED, UNSENT };
enum state { COLD, CONNECTING, FREE, BUSY, RETIRED };

struct record {
    int64_t intended, sent, done, body_offset;
    uint32_t body_length, message;
    float infer_ms;
    uint32_t connection;
    uint16_t status;
    uint8_t list, retry_after, error, fully_sent, problem;
};
_Static_assert(sizeof(struct record) == 56, "window.py reads rows of 56 bytes");

struct connection {
    int fd;
    enum state state;
    size_t record, written, received, capacity;
    char *buffer;
    bool send_failed;
};

static struct record *records;
static size_t total, record_capacity, due, next, finished; /* due: have arrived; next: the first without a connection */
static struct connection *connections;
static size_t *idle, idle_count, *cold, cold_count, retired;
static int events_fd, timer_fd;
static int64_t start, end;
static FILE *bodies;
static int64_t bodies_written;
static struct sockaddr_in server;

static void watch(struct connection *c, int operation, uint32_t mask) {
    struct epoll_event event = {.events = mask, .data.u64 = (uint64_t)(c - connections)};
    if (epoll_ctl(events_fd, operation, c->fd, &event) != 0)
        die("epoll: %s", strerror(errno));
}

/* Begin to connect. False if it failed at once, as it does when nobody listens. */
static bool open_connection(struct connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    c->state = CONNECTING;
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    return true;
}

static void close_connection(struct connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = COLD;
    cold[cold_count++] = (size_t)(c - connections);
}

static void retire(struct connection *c) {
    cold_count--; /* It was closed just now, so it is on top. */
    c->state = RETIRED;
    retired++;
}

static void forget_idle(struct connection *c) {
    for (size_t i = 0; i < idle_count; i++)
        if (idle[i] == (size_t)(c - connections)) {
            memmove(idle + i, idle + i + 1, (idle_count - i - 1) * sizeof *idle);
            idle_count--;
            return;
        }
}

/* Has the server closed an idle connection already? On loopback its FIN is here as soon as it has closed. */
static bool is_open(struct connection *c) {
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static struct connection *take_connection(void) {
    while (idle_count) {
        struct connection *c = &connections[idle[--idle_count]];
        if (is_open(c))
            return c;
        close_connection(c);
    }
    return cold_count ? &connections[cold[--cold_count]] : NULL;
}

static void open_all(void) {
    connections = checked(calloc(options.connections, sizeof *connections));
    idle = checked(calloc(options.connections, sizeof *idle));
    cold = checked(calloc(options.connections, sizeof *cold));
    for (size_t i = options.connections; i-- > 0;) {
        struct connection *c = &connections[i];
        int on = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0)
            die("port %d: cannot connect: %s", options.port, strerror(errno));
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->capacity = 4 * READ_SIZE;
        c->buffer = checked(malloc(c->capacity));
        c->state = FREE;
        idle[idle_count++] = i;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

#endif
