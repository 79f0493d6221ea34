/* The messages of the transport job.
 *
 * A request is the CBOR map {1: 16 bytes, 2: number, 23: MAC}; its answer {1: the same, 2: number + 1, 23: MAC}. Both are
 * encoded deterministically, so the MAC is the last 16 bytes and covers all before them. Numbers here are those that
 * take four bytes.
 */
#ifndef TRANSPORT_JOB_H
#define TRANSPORT_JOB_H

#include <stdint.h>
#include <string.h>

#define SIZE_NONCE 16
#define AT_NONCE 3
#define AT_NUMBER 21
#define AT_MAC 27
#define SIZE_MAC 16
#define SIZE_TRANSPORT 43

/* Every byte of a message but for nonce, number and MAC. */
static const uint8_t TRANSPORT[SIZE_TRANSPORT] = {
    [0] = 0xa3, 0x01, 0x50, [AT_NONCE + SIZE_NONCE] = 0x02, 0x1a, [AT_NUMBER + 4] = 0x17, 0x50};

static inline uint32_t get_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void put_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Write a message; its MAC is still to come. */
static inline void transport_write(const uint8_t *nonce, uint32_t number, uint8_t *message) {
    memcpy(message, TRANSPORT, SIZE_TRANSPORT);
    memcpy(message + AT_NONCE, nonce, SIZE_NONCE);
    put_u32(message + AT_NUMBER, number);
}

/* Say whether a received message is a map of the three fields; its MAC is still to be verified. */
static inline int transport_is_formed(const uint8_t *message, size_t size) {
    return size == SIZE_TRANSPORT && memcmp(message, TRANSPORT, AT_NONCE) == 0 &&
           memcmp(message + AT_NONCE + SIZE_NONCE, TRANSPORT + AT_NONCE + SIZE_NONCE, 2) == 0 &&
           memcmp(message + AT_NUMBER + 4, TRANSPORT + AT_NUMBER + 4, 2) == 0;
}

#endif
