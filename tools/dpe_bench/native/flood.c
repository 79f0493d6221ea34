/* A flood: flood PORT RATE SECONDS SOURCES FIRST RECORDED DEVICES REALM WEIGHTS
 *
 * Sends RATE datagrams a second for SECONDS to the CoAP server at 127.0.0.1:PORT, each a confirmable POST to
 * /dpe/register from one of SOURCES addresses of 127.0.0.0/8, FIRST and up; what comes back is never read. WEIGHTS are five
 * numbers, the shares of: REQUESTs with a forged handle; recorded REQUESTs with a forged MAC; recorded REQUESTs; recorded
 * SUCCESSes; and fresh, valid REQUESTs of the DEVICES (a file as registration_job.c has it), which are never confirmed.
 * RECORDED is a file of REQUESTs (61 bytes) and SUCCESSes (32 bytes), each behind a byte with its size.
 *
 * Ends early with SIGTERM. Prints one line of JSON: what was sent, of each kind, in how many seconds.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define KINDS 5
#define MAX_RECORDED 4096
#define SIZE_REQUEST 61
#define SIZE_SUCCESS 32
#define AT_HANDLE 6 /* behind the handle key's number */
#define SIZE_BLOCK 16
#define SIZE_MAC 16

static const uint8_t OPTIONS[] = "\xb3" "dpe" "\x08" "register" "\x11\x3c\xff";
#define SIZE_TOKEN 2
#define SIZE_HEAD (4 + SIZE_TOKEN + sizeof OPTIONS - 1)

static const char *NAMES[KINDS] = {"forged handle", "forged MAC", "replayed REQUEST", "replayed SUCCESS", "valid REQUEST"};
static uint8_t requests[MAX_RECORDED][SIZE_REQUEST], successes[MAX_RECORDED][SIZE_SUCCESS];
static size_t request_count, success_count;
static uint64_t sent[KINDS], runs, state = 0x9e3779b97f4a7c15u;
static unsigned upto[KINDS]; /* the weights, added up */
static volatile sig_atomic_t over;

uint64_t draw(void) { /* xorshift64* */
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static void die(const char *what) {
    fprintf(stderr, "flood: %s\n", what);
    exit(1);
}

static void scramble(uint8_t *at, size_t size) {
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t bits = draw();
        memcpy(at, &bits, 8);
    }
}

static void read_recorded(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die("what was recorded cannot be read");
    for (int size; (size = fgetc(file)) != EOF;) {
        uint8_t *to = NULL;
        if (size == SIZE_REQUEST && request_count < MAX_RECORDED) to = requests[request_count++];
        if (size == SIZE_SUCCESS && success_count < MAX_RECORDED) to = successes[success_count++];
        if (!to || fread(to, 1, (size_t)size, file) != (size_t)size) die("what was recorded is not as it must be");
    }
    fclose(file);
    if (!request_count || !success_count) die("nothing was recorded");
}

static size_t write_payload(uint8_t *payload) {
    unsigned kind = 0, drawn = (unsigned)(draw() % upto[KINDS - 1]);
    while (drawn >= upto[kind]) kind++;
    sent[kind]++;
    if (kind == 4) {
        struct run run = {.number = runs++};
        return registration_job.begin(&run, payload);
    }
    if (kind == 3) {
        memcpy(payload, successes[draw() % success_count], SIZE_SUCCESS);
        return SIZE_SUCCESS;
    }
    memcpy(payload, requests[draw() % request_count], SIZE_REQUEST);
    if (kind == 0) scramble(payload + AT_HANDLE, SIZE_BLOCK);
    if (kind == 1) scramble(payload + SIZE_REQUEST - SIZE_MAC, SIZE_MAC);
    return SIZE_REQUEST;
}

static size_t write_datagram(uint8_t *at) {
    uint64_t bits = draw();
    at[0] = 0x40 | SIZE_TOKEN, at[1] = 0x02; /* CON POST */
    memcpy(at + 2, &bits, 2 + SIZE_TOKEN);
    memcpy(at + 4 + SIZE_TOKEN, OPTIONS, sizeof OPTIONS - 1);
    return SIZE_HEAD + write_payload(at + SIZE_HEAD);
}

union control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int open_socket(void) {
    struct sockaddr_in any = {.sin_family = AF_INET};
    int on = 1, least = 1, opened = socket(AF_INET, SOCK_DGRAM, 0);
    if (opened < 0 || setsockopt(opened, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0 ||
        bind(opened, (struct sockaddr *)&any, sizeof any) < 0)
        die("cannot open a socket");
    setsockopt(opened, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    return opened;
}

static void send_batch(int opened, struct sockaddr_in *server, uint32_t first, uint64_t sources) {
    static uint8_t datagrams[BATCH][SIZE_HEAD + MAX_PAYLOAD];
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static union control controls[BATCH];
    for (int i = 0; i < BATCH; i++) {
        struct msghdr *head = &messages[i].msg_hdr;
        parts[i] = (struct iovec){datagrams[i], write_datagram(datagrams[i])};
        *head = (struct msghdr){server, sizeof *server, &parts[i], 1, controls[i].bytes, sizeof controls[i].bytes, 0};
        struct cmsghdr *info = CMSG_FIRSTHDR(head);
        info->cmsg_level = IPPROTO_IP;
        info->cmsg_type = IP_PKTINFO;
        info->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
        struct in_pktinfo *from = (struct in_pktinfo *)CMSG_DATA(info);
        memset(from, 0, sizeof *from);
        from->ipi_spec_dst.s_addr = htonl(first + (uint32_t)(draw() % sources));
    }
    for (int done = 0; done < BATCH;) {
        int now = sendmmsg(opened, messages + done, (unsigned)(BATCH - done), 0);
        done += now > 0 ? now : 1; /* what the kernel refuses is lost like any other datagram */
    }
}

static void end_it(int number) { over = number; }

int main(int argc, char **argv) {
    if (argc != 9 + KINDS) die("usage: flood PORT RATE SECONDS SOURCES FIRST RECORDED DEVICES REALM WEIGHTS");
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    uint64_t sources = strtoull(argv[4], NULL, 10);
    uint32_t first = ntohl(inet_addr(argv[5]));
    char job[1024];
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (rate <= 0 || seconds <= 0 || sources < 1 || first >> 24 != 127) die("a number is not as it must be");
    read_recorded(argv[6]);
    snprintf(job, sizeof job, "%s:/dev/null:%s", argv[7], argv[8]);
    const char *fault = registration_job.open(job);
    if (fault) die(fault);
    for (int i = 0; i < KINDS; i++) upto[i] = (i ? upto[i - 1] : 0) + (unsigned)atoi(argv[9 + i]);
    if (!upto[KINDS - 1]) die("all weights are 0");
    state += (uint64_t)now_ns();

    signal(SIGTERM, end_it);
    int opened = open_socket();
    int64_t began = now_ns(), end = began + (int64_t)(seconds * 1e9), now;
    double due = (double)began;
    while ((now = now_ns()) < end && !over) {
        if ((double)now < due) {
            struct timespec rest = {0, (long)(due - (double)now) % 1000000000};
            nanosleep(&rest, NULL);
            continue;
        }
        send_batch(opened, &server, first, sources);
        due += BATCH * 1e9 / rate;
        if ((double)now - due > 1e8) due = (double)now; /* a rate that cannot be had is not caught up with */
    }
    printf("{\"seconds\": %.3f", (double)(now - began) / 1e9);
    for (int i = 0; i < KINDS; i++) printf(", \"%s\": %llu", NAMES[i], (unsigned long long)sent[i]);
    printf("}\n");
    return 0;
}
