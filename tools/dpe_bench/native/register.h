/* A POST to the resource of registrations, and its response, without what is before the options. */
#ifndef REGISTER_H
#define REGISTER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What a request begins with: Uri-Path dpe, Uri-Path register, Content-Format 60, payload marker. */
static const uint8_t REGISTER[] = "\xb3" "dpe" "\x08" "register" "\x11\x3c\xff";
#define SIZE_REGISTER (sizeof REGISTER - 1)

/* Begin a request; return where its payload goes. */
static inline uint8_t *begin_register(uint8_t *request) {
    memcpy(request, REGISTER, SIZE_REGISTER);
    return request + SIZE_REGISTER;
}

/* Find the payload of a response and its size. NULL: it is not well formed, or its Content-Format is not 60. */
static inline const uint8_t *cbor_payload(const uint8_t *response, size_t received, size_t *size) {
    const uint8_t *at = response, *end = response + received;
    unsigned number = 0, format = 0xffff;
    while (at < end && *at != 0xff) {
        unsigned delta = *at >> 4, length = *at & 15;
        at++;
        if (delta == 13 && at < end) delta = 13u + *at++;
        if (length == 13 && at < end) length = 13u + *at++;
        if (delta >= 14 || length >= 14 || at + length > end) return NULL;
        number += delta;
        if (number == 12 && length == 1) format = *at;
        at += length;
    }
    if (at == end || format != 60) return NULL;
    *size = (size_t)(end - at - 1);
    return at + 1;
}

#endif
