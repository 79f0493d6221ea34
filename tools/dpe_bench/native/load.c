/* The load generator: load JOB ARGUMENT PORT OWN ENDPOINTS FIRST RUNS WINDOW RATE SECONDS WAITING
 *
 * Does RUNS runs of a job (0: no limit) with the CoAP server at 127.0.0.1:PORT, for SECONDS at most, and prints one line
 * of JSON. Closed loop (RATE 0): WINDOW runs are always under way. Open loop: RATE runs a second begin as a Poisson
 * process, whether earlier ones are done or not, at most WINDOW at once; their time counts from when they were due.
 *
 * Run N, counted from FIRST, uses endpoint N modulo ENDPOINTS: an address of 127.0.0.0/8 and the port OWN, with message
 * IDs of its own. One socket sends from all of them (IP_PKTINFO). A response counts when sender, endpoint, message ID, CoAP token,
 * code, options and payload are right. What is not answered is sent again after 2, 6 and 14 s (the least times
 * of RFC 7252 section 4.2) and given up after 30 s, so a loss is a slow answer.
 *
 * WAITING is "spin" where the generator has a core to itself, else "sleep".
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "histogram.h"

#define MAX_WINDOW 8192
#define BATCH 64
#define SIZE_DATAGRAM (MAX_PAYLOAD + 64)
#define FIRST_ADDRESS 0x7f010000u /* 127.1.0.0 */
#define ACK_TIMEOUT 2000000000ll
#define MAX_RETRANSMIT 3
#define LOOK 50000000ll /* ns between looks for what must be sent again */

#define CON 0x40
#define NON 0x50
#define ACK 0x60
#define TYPE 0xf0
#define SIZE_TOKEN 4
#define CHANGED 0x44

#define SIZE_HEAD (4 + SIZE_TOKEN)

struct slot {
    struct run run;
    int busy, exchange, sent; /* exchange: of the run; sent: how often its request was */
    int64_t due, began, again; /* when the run was to begin; when the exchange did; when to send again */
    uint32_t endpoint;
    uint16_t generation; /* of the CoAP token; the exchange before had this less one */
    size_t size;
    uint8_t datagram[SIZE_DATAGRAM];
};

static const struct job *jobs[] = {&transport_job, &echo_job, &registration_job, &session_job};
static const struct job *job;
static struct slot *slots, **idle; /* idle: a stack of the slots without a run */
static int window, idle_count, socket_, spins;
static struct sockaddr_in server;
static uint64_t endpoints, next_run, began_runs, verified, wrong, duplicates, resent, separate, given_up;
static uint64_t in_time; /* runs that were done before the time was up */
static uint64_t refused, codes[256]; /* responses that are not 2.04, by code */
static struct histogram exchange_times[2], run_times;

static uint64_t state = 0x9e3779b97f4a7c15u;

uint64_t draw(void) { /* xorshift64* */
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

/* -- sending: what a turn of the loop has to say goes out in as few calls as it fits -- */

union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct outgoing {
    const uint8_t *datagram;
    size_t size;
    uint32_t endpoint;
};

static struct outgoing queue[BATCH];
static int queued;

static void flush(void) {
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static union control controls[BATCH];
    for (int i = 0; i < queued; i++) {
        struct msghdr *head = &messages[i].msg_hdr;
        parts[i] = (struct iovec){(void *)queue[i].datagram, queue[i].size};
        *head = (struct msghdr){&server, sizeof server, &parts[i], 1, controls[i].bytes, sizeof controls[i].bytes, 0};
        struct cmsghdr *info = CMSG_FIRSTHDR(head);
        info->cmsg_level = IPPROTO_IP;
        info->cmsg_type = IP_PKTINFO;
        info->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
        struct in_pktinfo *from = (struct in_pktinfo *)CMSG_DATA(info);
        memset(from, 0, sizeof *from);
        from->ipi_spec_dst.s_addr = htonl(FIRST_ADDRESS + queue[i].endpoint);
    }
    for (int sent = 0; sent < queued;) {
        int now = sendmmsg(socket_, messages + sent, (unsigned)(queued - sent), 0);
        sent += now > 0 ? now : 1; /* what the kernel refuses is lost like any other datagram */
    }
    queued = 0;
}

static void send_from(uint32_t endpoint, const uint8_t *datagram, size_t size) {
    if (queued == BATCH) flush();
    queue[queued++] = (struct outgoing){datagram, size, endpoint};
}

static void send_slot(struct slot *slot, int64_t now) {
    slot->again = now + (ACK_TIMEOUT << slot->sent++);
    send_from(slot->endpoint, slot->datagram, slot->size);
}

/* -- exchanges -- */

static void begin_exchange(struct slot *slot, int exchange, size_t size, int64_t now) {
    uint64_t pass = slot->run.number / endpoints;
    uint16_t message_id = (uint16_t)(pass * (uint64_t)job->exchanges + (uint64_t)exchange);
    uint16_t number = (uint16_t)(slot - slots);
    uint8_t *at = slot->datagram;
    slot->generation++;
    *at++ = CON | SIZE_TOKEN;
    *at++ = 0x02; /* POST */
    *at++ = (uint8_t)(message_id >> 8), *at++ = (uint8_t)message_id;
    memcpy(at, &number, 2), memcpy(at + 2, &slot->generation, 2);
    slot->size = SIZE_HEAD + size;
    slot->exchange = exchange;
    slot->began = now;
    slot->sent = 0;
    send_slot(slot, now);
}

static void begin_run(int64_t due, int64_t now) {
    struct slot *slot = idle[--idle_count];
    slot->busy = 1;
    slot->due = due;
    slot->run.number = next_run++;
    slot->endpoint = (uint32_t)(slot->run.number % endpoints);
    began_runs++;
    begin_exchange(slot, 0, job->begin(&slot->run, slot->datagram + SIZE_HEAD), now);
}

static void end_run(struct slot *slot) {
    slot->busy = 0;
    idle[idle_count++] = slot;
}

static void receive_one(const uint8_t *datagram, size_t size, uint32_t endpoint, int64_t now) {
    if (size < 4 || datagram[0] >> 6 != 1) {
        wrong++;
        return;
    }
    unsigned type = datagram[0] & 0xf0;
    if (size == 4 && type == ACK && datagram[1] == 0) { /* an empty acknowledgement: the response comes separately */
        for (int i = 0; i < window; i++)
            if (slots[i].busy && slots[i].endpoint == endpoint && memcmp(slots[i].datagram + 2, datagram + 2, 2) == 0) {
                slots[i].again = now + 30000000000ll;
                return;
            }
        duplicates++;
        return;
    }
    uint16_t number, generation;
    if (size < 4 + SIZE_TOKEN || (datagram[0] & 15) != SIZE_TOKEN) {
        wrong++;
        return;
    }
    memcpy(&number, datagram + 4, 2), memcpy(&generation, datagram + 6, 2);
    struct slot *slot = &slots[number < window ? number : 0];
    if (type == CON && number < window) { /* a separate response wants an acknowledgement */
        static uint8_t empty[BATCH][4];
        static unsigned next;
        uint8_t *reply = empty[next++ % BATCH];
        reply[0] = ACK, reply[1] = 0, reply[2] = datagram[2], reply[3] = datagram[3];
        send_from(endpoint, reply, 4);
    }
    if (number >= window || !slot->busy || generation != slot->generation || endpoint != slot->endpoint) {
        if (number < window && generation <= slot->generation) duplicates++; /* of an exchange that is over */
        else wrong++;
        return;
    }
    if (type == ACK ? memcmp(slot->datagram + 2, datagram + 2, 2) != 0 : type != CON && type != NON) {
        wrong++;
        return;
    }
    if (datagram[1] != CHANGED) {
        codes[datagram[1]]++;
        refused++;
        end_run(slot);
        return;
    }
    size_t next = 0;
    enum verdict verdict =
        job->answer(&slot->run, datagram + SIZE_HEAD, size - SIZE_HEAD, slot->datagram + SIZE_HEAD, &next);
    if (verdict == WRONG) {
        wrong++;
        end_run(slot);
        return;
    }
    if (type != ACK) separate++;
    verified++;
    histogram_add(&exchange_times[slot->exchange], now - (slot->exchange ? slot->began : slot->due));
    if (verdict == NEXT) {
        begin_exchange(slot, slot->exchange + 1, next, now);
    } else {
        histogram_add(&run_times, now - slot->due);
        end_run(slot);
    }
}

static int receive(void) {
    static uint8_t bytes[BATCH][SIZE_DATAGRAM];
    static struct sockaddr_in names[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    static union control controls[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){bytes[i], SIZE_DATAGRAM};
        messages[i].msg_hdr =
            (struct msghdr){&names[i], sizeof names[i], &parts[i], 1, controls[i].bytes, sizeof controls[i].bytes, 0};
    }
    int count = recvmmsg(socket_, messages, BATCH, MSG_DONTWAIT, NULL);
    int64_t now = now_ns();
    for (int i = 0; i < count; i++) {
        struct cmsghdr *info = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        if (names[i].sin_addr.s_addr != server.sin_addr.s_addr || names[i].sin_port != server.sin_port || !info ||
            info->cmsg_type != IP_PKTINFO) {
            wrong++;
            continue;
        }
        uint32_t to = ntohl(((struct in_pktinfo *)CMSG_DATA(info))->ipi_addr.s_addr);
        receive_one(bytes[i], messages[i].msg_len, to - FIRST_ADDRESS, now);
    }
    return count;
}

static void send_again(int64_t now) {
    for (int i = 0; i < window; i++) {
        struct slot *slot = &slots[i];
        if (!slot->busy || slot->again > now) continue;
        if (slot->sent > MAX_RETRANSMIT) {
            given_up++;
            end_run(slot);
        } else {
            resent++;
            send_slot(slot, now);
        }
    }
}

/* -- the whole -- */

static void open_socket(uint16_t port, uint16_t own) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(own)};
    int on = 1, size = 8 << 20;
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    if (socket_ < 0 || setsockopt(socket_, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0 ||
        bind(socket_, (struct sockaddr *)&any, sizeof any) < 0)
        die("cannot open a socket");
    if (setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
        setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* Sleep until something comes, but not longer than until then. */
static void wait_until(int64_t then, int64_t now) {
    struct pollfd readable = {.fd = socket_, .events = POLLIN};
    int64_t left = then - now < LOOK ? then - now : LOOK;
    struct timespec time = {0, left > 0 ? left : 0};
    ppoll(&readable, 1, &time, NULL);
}

/* Do it all; return for how many seconds there was load. */
static double run_all(uint64_t runs, double rate, double seconds) {
    int64_t began = now_ns(), end = began + (int64_t)(seconds * 1e9), now = began, next_look = began;
    double due = (double)began;
    int open = 1;
    while (open || idle_count < window) {
        while (open && idle_count && (rate == 0 || due <= (double)now)) {
            if (rate == 0) due = (double)now;
            open = (!runs || began_runs < runs) && due < (double)end;
            if (!open) break;
            begin_run((int64_t)due, now);
            if (rate > 0) due -= log(((double)(draw() >> 11) + 1) / 9007199254740993.0) * 1e9 / rate;
        }
        flush();
        if (!spins) wait_until(open && rate > 0 && idle_count ? (int64_t)due : now + LOOK, now);
        while (receive() == BATCH) continue;
        now = now_ns();
        if (now < end) in_time = run_times.count;
        if (now >= next_look) {
            send_again(now);
            next_look = now + LOOK;
        }
    }
    flush();
    return (double)((now < end ? now : end) - began) / 1e9;
}

static void print_times(const char *name, const struct histogram *times) {
    printf(", \"%s\": {\"count\": %llu", name, (unsigned long long)times->count);
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        printf(", \"%s\": %.1f", shares[i].name, histogram_quantile(times, shares[i].share));
    printf(", \"max\": %.1f}", (double)times->most / 1e3);
}

static void print_result(double seconds) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"runs\": %llu, \"in_time\": %llu, \"next\": %llu, \"verified\": %llu, \"wrong\": %llu, \"duplicates\": %llu, \"resent\": %llu, "
           "\"separate\": %llu, \"given_up\": %llu, \"refused\": %llu, \"seconds\": %.6f, \"codes\": {",
           (unsigned long long)run_times.count, (unsigned long long)in_time, (unsigned long long)next_run, (unsigned long long)verified,
           (unsigned long long)wrong, (unsigned long long)duplicates, (unsigned long long)resent,
           (unsigned long long)separate, (unsigned long long)given_up, (unsigned long long)refused, seconds);
    const char *comma = "";
    for (int i = 0; i < 256; i++)
        if (codes[i]) {
            printf("%s\"%d.%02d\": %llu", comma, i >> 5, i & 31, (unsigned long long)codes[i]);
            comma = ", ";
        }
    printf("}");
    print_times("run_us", &run_times);
    print_times("first_us", &exchange_times[0]);
    print_times("second_us", &exchange_times[1]);
    printf("}\n");
}

int main(int argc, char **argv) {
    if (argc != 12) die("usage: load JOB ARGUMENT PORT OWN ENDPOINTS FIRST RUNS WINDOW RATE SECONDS WAITING");
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        if (strcmp(argv[1], jobs[i]->name) == 0) job = jobs[i];
    if (!job) die("no such job");
    endpoints = strtoull(argv[5], NULL, 10);
    next_run = strtoull(argv[6], NULL, 10);
    window = atoi(argv[8]);
    if (window < 1 || window > MAX_WINDOW) die("the window is 1 to 8192");
    if (endpoints < 1 || endpoints > 0xfe0000) die("there are 1 to 16646144 endpoints");
    spins = strcmp(argv[11], "spin") == 0;
    state += (uint64_t)now_ns();
    const char *fault = job->open(argv[2]);
    if (fault) die(fault);
    slots = calloc((size_t)window, sizeof *slots);
    idle = calloc((size_t)window, sizeof *idle);
    for (idle_count = 0; idle_count < window; idle_count++) idle[idle_count] = &slots[window - 1 - idle_count];
    open_socket((uint16_t)atoi(argv[3]), (uint16_t)atoi(argv[4]));
    double seconds = run_all(strtoull(argv[7], NULL, 10), atof(argv[9]), atof(argv[10]));
    if ((fault = job->close())) die(fault);
    print_result(seconds);
    return 0;
}
