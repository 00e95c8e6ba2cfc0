/* An HTTP/1.1 load client for one server on 127.0.0.1: open loop (constant arrivals) or closed loop.
 *
 * In the open loop a request is due at an intended start that was fixed beforehand. It is sent then on a connection that
 * is free; if none is, it waits, and its time counts from the intended start all the same, so that a server that stalls
 * cannot slow the arrivals down and hide the stall. In the closed loop every connection sends its next request as soon
 * as the last one is answered.
 *
 * Free connections are a stack, as in most pools: the warmest goes first. One that the server closed while it was idle
 * is opened again when it is needed, and the request's time includes that. The rows written mirror window.py. */
#define _GNU_SOURCE
#include "answer.h"
#include "hiccup.h"
#include "pool.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

/* ---- requests ---- */

static void begin_closed(struct connection *c);

static void finish(struct connection *c, enum fault fault) {
    struct record *r = &records[c->record];
    r->done = now_ns();
    r->error = (uint8_t)fault;
    finished++;
}

/* The request of `c` cannot be answered on this connection any more. */
static void fail(struct connection *c, enum fault fault) {
    close_connection(c);
    finish(c, fault);
    if (!options.closed_loop)
        return;
    if (fault == CONNECT)
        retire(c); /* Nobody listens; to try on and on would only burn the CPU. */
    else if (now_ns() < end) {
        cold_count--;
        begin_closed(c);
    }
}

/* The connection ended. A reset without a byte of the answer means that the server's kernel still held unread bytes. */
static enum fault broken(struct connection *c, int error) {
    int pending = 0;
    socklen_t size = sizeof pending;
    if (c->received)
        return CUT;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &pending, &size); /* A reset after an orderly close reads as end of file. */
    return error || pending || c->send_failed ? RESET : CLOSED;
}

static void answered(struct connection *c, const struct answer *answer);

static void receive(struct connection *c) {
    struct answer answer;
    for (;;) {
        if (c->capacity < c->received + READ_SIZE + 1) {
            c->capacity = 2 * c->capacity + READ_SIZE + 1;
            c->buffer = checked(realloc(c->buffer, c->capacity));
        }
        size_t room = c->capacity - c->received - 1;
        ssize_t n = recv(c->fd, c->buffer + c->received, room, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR) && !c->send_failed)
            return;
        if (n <= 0) {
            fail(c, broken(c, n < 0));
            return;
        }
        c->received += (size_t)n;
        c->buffer[c->received] = '\0';
        enum parsed parsed = parse_answer(c->buffer, c->received, &answer);
        if (parsed == COMPLETE)
            answered(c, &answer);
        else if (parsed == MALFORMED_ANSWER)
            fail(c, MALFORMED);
        if (parsed != INCOMPLETE || (size_t)n < room)
            return;
    }
}

/* Send what is left of the request. */
static void push(struct connection *c) {
    struct record *r = &records[c->record];
    struct message *m = &messages[r->message];
    if (!c->written)
        r->sent = now_ns();
    while (c->written < m->length) {
        ssize_t n = send(c->fd, m->data + c->written, m->length - c->written, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) { /* The server may have refused early and closed; its answer can still be read. */
            c->send_failed = true;
            receive(c);
            return;
        }
        c->written += (size_t)n;
    }
    r->fully_sent = 1;
}

static void begin(struct connection *c, size_t record) {
    struct record *r = &records[record];
    c->record = record;
    c->written = c->received = 0;
    c->send_failed = false;
    r->connection = (uint32_t)(c - connections);
    r->fully_sent = 0;
    if (c->state == FREE) {
        c->state = BUSY;
        push(c);
    } else if (!open_connection(c))
        fail(c, CONNECT);
}

static size_t new_record(int64_t intended) {
    if (total == record_capacity) {
        record_capacity = record_capacity ? 2 * record_capacity : 1 << 16;
        records = checked(realloc(records, record_capacity * sizeof *records));
    }
    records[total] = (struct record){
        .intended = intended, .message = (uint32_t)(total % message_count), .body_offset = -1, .infer_ms = NAN};
    return total++;
}

static void begin_closed(struct connection *c) { begin(c, new_record(now_ns())); }

static void keep_body(struct record *r, const struct answer *answer) {
    r->body_length = (uint32_t)answer->length;
    if (!bodies)
        return;
    r->body_offset = bodies_written;
    if (fwrite(answer->body, 1, answer->length, bodies) != answer->length)
        die("--bodies: %s", strerror(errno));
    bodies_written += (int64_t)answer->length;
}

static void answered(struct connection *c, const struct answer *answer) {
    struct record *r = &records[c->record];
    finish(c, NONE);
    r->status = (uint16_t)answer->status;
    r->retry_after = answer->retry_after;
    r->problem = answer->problem;
    r->list = (uint8_t)list_of(answer);
    r->infer_ms = infer_of(answer);
    keep_body(r, answer);
    /* A refusal may come before the request is all sent; what follows an answer would be taken for the next one's. */
    if (answer->close || !r->fully_sent || answer->end != c->buffer + c->received)
        close_connection(c);
    else
        c->state = FREE;
    if (options.closed_loop && r->done < end) {
        cold_count -= c->state == COLD;
        begin_closed(c);
    } else if (c->state == FREE)
        idle[idle_count++] = (size_t)(c - connections);
}

/* ---- the loop ---- */

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_in peer;
    socklen_t peer_size = sizeof peer;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(c, CONNECT);
        return;
    }
    if (getpeername(c->fd, (struct sockaddr *)&peer, &peer_size) != 0)
        return; /* an event of the socket that this connection had before */
    c->state = BUSY;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    push(c);
}

static void handle(struct connection *c, uint32_t mask) {
    if (c->state == CONNECTING)
        connected(c);
    else if (c->state == FREE && !is_open(c)) {
        forget_idle(c);
        close_connection(c);
    } else if (c->state == BUSY) {
        if (mask & EPOLLOUT && !records[c->record].fully_sent) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
            push(c);
        }
        if (c->state == BUSY && mask & ~(uint32_t)EPOLLOUT)
            receive(c);
    }
}

/* Give every request that is due a connection, in the order of their arrival, as far as there are any. */
static void dispatch(void) {
    struct connection *c;
    int64_t now = now_ns();
    while (due < total && records[due].intended <= now)
        due++;
    while (next < due && (c = take_connection()))
        begin(c, next++);
}

static void wake_at(int64_t time) {
    struct itimerspec timer = {.it_value = {time / 1000000000, time % 1000000000}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

/* When something happens next that no socket tells of. */
static int64_t next_time(void) {
    if (!options.closed_loop && due < total)
        return records[due].intended;
    return options.closed_loop && now_ns() < end ? end : end + (int64_t)(options.drain * 1e9);
}

static bool is_over(void) {
    int64_t now = now_ns();
    if (now >= end + (int64_t)(options.drain * 1e9) || retired == options.connections)
        return true;
    return finished == total && (!options.closed_loop || now >= end);
}

static void run(void) {
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t expirations;
    for (size_t i = 0; options.closed_loop && i < options.connections; i++)
        begin_closed(take_connection());
    while (!is_over()) {
        if (!options.closed_loop)
            dispatch();
        wake_at(next_time());
        int n = epoll_wait(events_fd, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 != TIMER)
                handle(&connections[events[i].data.u64], events[i].events);
            else if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
                die("timer: %s", strerror(errno));
        }
    }
    for (size_t i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        if (c->state == BUSY || c->state == CONNECTING)
            finish(c, c->state == BUSY ? TIMEOUT : CONNECT);
    }
    for (; !options.closed_loop && next < total; next++)
        records[next].error = UNSENT;
}

/* ---- before and after ---- */

static void plan_arrivals(void) {
    double begin = 0;
    for (size_t k = 0; k < options.stretch_count; k++) {
        struct stretch stretch = options.stretches[k];
        for (size_t i = 0; (double)i / stretch.rate < stretch.seconds; i++)
            new_record((int64_t)((begin + (double)i / stretch.rate) * 1e9));
        begin += stretch.seconds;
    }
}

static double thread_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void write_records(void) {
    FILE *out = fopen(options.out, "wb");
    if (!out || fwrite(records, sizeof *records, total, out) != total || fclose(out) != 0)
        die("--out %s: %s", options.out, strerror(errno));
    if (bodies && fclose(bodies) != 0)
        die("--bodies %s: %s", options.bodies, strerror(errno));
}

int main(int argc, char **argv) {
    static struct meter meter;
    read_options(argc, argv);
    pin(options.cpu);
    prctl(PR_SET_TIMERSLACK, 1);
    read_messages(options.messages);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (options.bodies && !(bodies = fopen(options.bodies, "wb")))
        die("--bodies %s: %s", options.bodies, strerror(errno));
    events_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event timer = {.events = EPOLLIN, .data.u64 = TIMER};
    epoll_ctl(events_fd, EPOLL_CTL_ADD, timer_fd, &timer);
    open_all();
    if (!options.closed_loop)
        plan_arrivals();
    if (!start_meter(&meter, options.seconds + options.drain))
        die("cannot start the hiccup meter");
    start = now_ns() + LEAD_NS;
    end = start + (int64_t)(options.seconds * 1e9);
    for (size_t i = 0; i < total; i++)
        records[i].intended += start;
    printf("{\"start_ns\":%lld}\n", (long long)start);
    fflush(stdout);
    double before = thread_cpu_seconds();
    run();
    double loop = thread_cpu_seconds() - before;
    stop_meter(&meter);
    write_records();
    printf("{\"requests\":%zu,\"seconds\":%.9f,\"loop_cpu_seconds\":%.6f,", total, options.seconds, loop);
    print_meter(&meter);
    printf("}\n");
    return 0;
}
