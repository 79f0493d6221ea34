/* The transport job from the client's side, and the echo that is compared with it. The argument is the key in hex. */
#include "transport_job.h"

#include <stdio.h>

#include "hmac.h"
#include "load.h"
#include "register.h"

static struct hmac_key key;

static const char *open_job(const char *argument) {
    uint8_t bytes[32];
    if (strlen(argument) != 2 * sizeof bytes) return "the key is not 64 hex digits";
    for (size_t i = 0; i < sizeof bytes; i++)
        if (sscanf(argument + 2 * i, "%2hhx", bytes + i) != 1) return "the key is not 64 hex digits";
    hmac_key_set(&key, bytes, sizeof bytes);
    return NULL;
}

static size_t begin(struct run *run, uint8_t *request) {
    uint64_t nonce[2] = {draw(), draw()};
    /* from 2^16 on, so that it and its successor have four bytes */
    uint32_t number = 0x10000 + (uint32_t)(run->number % 0xf0000000u);
    uint8_t mac[SIZE_HASH], *message = begin_register(request);
    transport_write((const uint8_t *)nonce, number, message);
    hmac_sign(&key, message, AT_MAC, mac);
    memcpy(message + AT_MAC, mac, SIZE_MAC);
    memcpy(run->memory, message, SIZE_TRANSPORT);
    return SIZE_REGISTER + SIZE_TRANSPORT;
}

static enum verdict answer(struct run *run, const uint8_t *response, size_t received, uint8_t *request, size_t *size) {
    (void)request, (void)size;
    size_t told = 0;
    const uint8_t *message = cbor_payload(response, received, &told);
    return message && transport_is_formed(message, told) && hmac_ends(&key, message, told) &&
                   memcmp(message + AT_NONCE, run->memory + AT_NONCE, SIZE_NONCE) == 0 &&
                   get_u32(message + AT_NUMBER) == get_u32(run->memory + AT_NUMBER) + 1
               ? DONE
               : WRONG;
}

static enum verdict echoed(struct run *run, const uint8_t *response, size_t received, uint8_t *request, size_t *size) {
    (void)request, (void)size;
    size_t told = 0;
    const uint8_t *message = cbor_payload(response, received, &told);
    return message && told == SIZE_TRANSPORT && memcmp(message, run->memory, SIZE_TRANSPORT) == 0 ? DONE : WRONG;
}

static const char *close_job(void) { return NULL; }

const struct job transport_job = {"transport", 1, open_job, begin, answer, close_job};
const struct job echo_job = {"echo", 1, open_job, begin, echoed, close_job};
