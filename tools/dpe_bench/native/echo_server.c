/* The limit: answers every confirmable request with its own payload as 2.04, by recvmmsg and sendmmsg. echo_server PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 256
#define SIZE 512

int main(int argc, char **argv) {
    static uint8_t bytes[BATCH][SIZE];
    static struct sockaddr_in names[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? (uint16_t)atoi(argv[1]) : 0)};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket_ = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (socket_ < 0 || bind(socket_, (struct sockaddr *)&own, sizeof own) < 0) {
        perror("echo_server");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){bytes[i], SIZE};
            messages[i].msg_hdr = (struct msghdr){&names[i], sizeof names[i], &parts[i], 1, NULL, 0, 0};
        }
        int count = recvmmsg(socket_, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) {
            uint8_t *at = bytes[i];
            size_t head = 4 + (at[0] & 15);
            if (messages[i].msg_len < head) continue;
            uint8_t *payload = memchr(at + head, 0xff, messages[i].msg_len - head);
            if (!payload) payload = at + messages[i].msg_len;
            size_t size = (size_t)(at + messages[i].msg_len - payload);
            at[0] = 0x60 | (at[0] & 15); /* an acknowledgement of the same message ID and CoAP token */
            at[1] = 0x44;
            at[head] = 0xc1; /* Content-Format 60 */
            at[head + 1] = 60;
            memmove(at + head + 2, payload, size);
            parts[i].iov_len = head + 2 + size;
        }
        for (int sent = 0, now; sent < count; sent += now)
            if ((now = sendmmsg(socket_, messages + sent, (unsigned)(count - sent), 0)) < 0) break;
    }
}
