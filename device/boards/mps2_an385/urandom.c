// os.urandom for a board without a random number generator: a hash generator over a secret seed in its non-volatile
// memory, where the factory puts it. Each start replaces the seed before anything is drawn, so no start repeats
// another's bytes, and a board that is opened later does not give away the earlier ones. The clock is mixed in.
// MicroPython's extmod/modos.c includes this file.

#include "board.h"
#include "lib/crypto-algorithms/sha256.h"
#include "py/mphal.h"

#define SIZE SHA256_BLOCK_SIZE

static uint8_t state[SIZE];
static bool has_seed;

static void hash(uint8_t *out, const char *label, const uint8_t *data) {
    CRYAL_SHA256_CTX sha256;
    mp_uint_t ticks = mp_hal_ticks_cpu();
    sha256_init(&sha256);
    sha256_update(&sha256, (const uint8_t *)label, strlen(label));
    sha256_update(&sha256, data, SIZE);
    sha256_update(&sha256, (const uint8_t *)&ticks, sizeof(ticks));
    sha256_final(&sha256, out);
}

static void draw(uint8_t *out, size_t size) {
    uint8_t drawn[SIZE];
    for (size_t at = 0; at < size; at += SIZE) {
        hash(drawn, "out", state);
        hash(state, "state", state);
        memcpy(out + at, drawn, MIN(SIZE, size - at));
    }
}

void urandom_start(void) {
    uint8_t next[SIZE];
    for (size_t at = 0; at < SIZE; at++) {
        has_seed |= BOARD_SEED[at] != 0;
    }
    hash(next, "next", BOARD_SEED);
    hash(state, "now", BOARD_SEED);
    if (has_seed) {
        memcpy(BOARD_SEED, next, SIZE); // if the power is cut here the seed is of both, and as secret
    }
}

uint32_t urandom_32(void) {
    uint32_t drawn;
    draw((uint8_t *)&drawn, sizeof(drawn));
    return drawn;
}

static mp_obj_t mp_os_urandom(mp_obj_t size_in) {
    if (!has_seed) {
        mp_raise_msg(&mp_type_OSError, MP_ERROR_TEXT("this board has no seed"));
    }
    vstr_t drawn;
    vstr_init_len(&drawn, mp_obj_get_int(size_in));
    draw((uint8_t *)drawn.buf, drawn.len);
    return mp_obj_new_bytes_from_vstr(&drawn);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mp_os_urandom_obj, mp_os_urandom);
