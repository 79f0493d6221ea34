/* The load generator's HMAC-SHA-256 (RFC 2104): a key is hashed once and its state copied for every message, which is
 * several times faster than libcrypto's HMAC(), so that the generator is not the limit. */
#ifndef HMAC_H
#define HMAC_H

#define OPENSSL_SUPPRESS_DEPRECATED /* libcrypto has no other way to copy a state this cheaply */
#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIZE_MAC 16
#define SIZE_HASH 32

struct hmac_key {
    SHA256_CTX inner, outer;
};

/* Make a key of at most 64 bytes ready. */
static inline void hmac_key_set(struct hmac_key *key, const uint8_t *bytes, size_t size) {
    uint8_t block[64];
    memset(block, 0x36, sizeof block);
    for (size_t i = 0; i < size; i++) block[i] ^= bytes[i];
    SHA256_Init(&key->inner);
    SHA256_Update(&key->inner, block, sizeof block);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&key->outer);
    SHA256_Update(&key->outer, block, sizeof block);
}

static inline void hmac_sign(const struct hmac_key *key, const uint8_t *data, size_t size, uint8_t mac[SIZE_HASH]) {
    SHA256_CTX hash = key->inner;
    SHA256_Update(&hash, data, size);
    SHA256_Final(mac, &hash);
    hash = key->outer;
    SHA256_Update(&hash, mac, SIZE_HASH);
    SHA256_Final(mac, &hash);
}

/* Say whether the last 16 bytes of a message are the MAC of what is before them. */
static inline int hmac_ends(const struct hmac_key *key, const uint8_t *message, size_t size) {
    uint8_t mac[SIZE_HASH];
    if (size < SIZE_MAC) return 0;
    hmac_sign(key, message, size - SIZE_MAC, mac);
    return memcmp(mac, message + size - SIZE_MAC, SIZE_MAC) == 0;
}

#endif
