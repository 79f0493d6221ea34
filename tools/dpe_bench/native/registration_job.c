/* The device's side of DPE-1 registrations, suite 1 (docs/protocol.md): RESPONSE and CONFIRM are verified.
 *
 * The argument is "FILE:RESULTS:REALM". FILE has a record of 49 bytes for each device: its handle (17 bytes) and its
 * device key (32 bytes); run N is the device N, counted from the file's start over and over. RESULTS gets a record of
 * 11 bytes for each registration that CONFIRM proved: the device's number (4 bytes in the machine's order), its Client ID.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hmac.h"
#include "load.h"
#include "register.h"

#define SIZE_NONCE 16
#define SIZE_HANDLE 17
#define SIZE_KEY 32
#define SIZE_CLIENT_ID 7
#define SIZE_DEVICE (SIZE_HANDLE + SIZE_KEY)
#define SIZE_REQUEST 61
#define SIZE_RESPONSE 72
#define SIZE_SUCCESS 32
#define SIZE_CONFIRM 23
#define SIZE_LIFETIME 6 /* label 9 and a lifetime of 2^16 s or more, as a new server's policy has it */
#define LABEL "DPE-1/1 "

struct memory {
    uint32_t device;
    int confirming;
    uint8_t client_id[SIZE_CLIENT_ID], next_handle[SIZE_HANDLE];
    uint8_t th[SIZE_HASH];
    uint8_t k4[SIZE_HASH];
};
_Static_assert(sizeof(struct memory) <= sizeof ((struct run *)0)->memory, "a run's memory is too small");

static const uint8_t *devices;
static uint64_t device_count;
static uint8_t realm_hash[SIZE_HASH];
static FILE *results;

/* A message under construction, of bytes put behind each other. */
struct text {
    size_t size;
    uint8_t bytes[256];
};

static void put(struct text *text, const void *bytes, size_t size) {
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

static void hmac(const uint8_t *key, const void *message, size_t size, uint8_t mac[SIZE_HASH]) {
    struct hmac_key ready;
    hmac_key_set(&ready, key, SIZE_HASH);
    hmac_sign(&ready, message, size, mac);
}

static void labelled(const uint8_t *key, const char *label, const uint8_t *first, size_t first_size,
                     const uint8_t *second, size_t second_size, uint8_t mac[SIZE_HASH]) {
    struct text text = {0};
    put(&text, LABEL, 8);
    put(&text, label, strlen(label));
    if (first_size) put(&text, first, first_size);
    if (second_size) put(&text, second, second_size);
    hmac(key, text.bytes, text.size, mac);
}

/* HKDF-Expand (RFC 5869 section 2.3), its first block. */
static void expand(const uint8_t *key, const char *label, const uint8_t *info, size_t size, uint8_t out[SIZE_HASH]) {
    labelled(key, label, info, size, (const uint8_t *)"\x01", 1, out);
}

static void transcript(uint8_t th[SIZE_HASH], size_t before, const uint8_t *message, size_t size) {
    SHA256_CTX hash;
    SHA256_Init(&hash);
    SHA256_Update(&hash, th, before);
    SHA256_Update(&hash, message, size);
    SHA256_Final(th, &hash);
}

/* Put the MAC of prefix and message behind the message, which has room for it within its size. */
static void sign(const uint8_t *key, uint8_t *message, size_t size) {
    uint8_t mac[SIZE_HASH];
    hmac(key, message, size - SIZE_MAC, mac);
    memcpy(message + size - SIZE_MAC, mac, SIZE_MAC);
}

static const char *open_job(const char *argument) {
    static char text[1024];
    struct stat file;
    snprintf(text, sizeof text, "%s", argument);
    char *out = strchr(text, ':');
    char *realm = out ? strchr(out + 1, ':') : NULL;
    if (!realm) return "the argument is not FILE:RESULTS:REALM";
    *out++ = *realm++ = 0;
    int descriptor = open(text, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &file) < 0) return "the devices cannot be read";
    device_count = (uint64_t)file.st_size / SIZE_DEVICE;
    if (!device_count) return "there are no devices";
    devices = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, descriptor, 0);
    if (devices == MAP_FAILED) return "the devices cannot be read";
    results = fopen(out, "ab");
    if (!results) return "the results cannot be written";
    SHA256((const uint8_t *)realm, strlen(realm), realm_hash);
    return NULL;
}

static const uint8_t *device_key(const struct memory *memory) {
    return devices + (size_t)memory->device * SIZE_DEVICE + SIZE_HANDLE;
}

static size_t begin(struct run *run, uint8_t *request) {
    struct memory *memory = (struct memory *)run->memory;
    uint8_t k1[SIZE_HASH];
    uint64_t nonce[2] = {draw(), draw()};
    struct text text = {0};
    memory->device = (uint32_t)(run->number % device_count);
    memory->confirming = 0;
    put(&text, "\xa4\x00\x01\x01\x51", 5);
    put(&text, devices + (size_t)memory->device * SIZE_DEVICE, SIZE_HANDLE);
    put(&text, "\x02\x82\x01\x00\x17\x58\x20", 7);
    put(&text, nonce, SIZE_NONCE);
    text.size += SIZE_MAC;
    expand(device_key(memory), "m1", realm_hash, sizeof realm_hash, k1);
    sign(k1, text.bytes, text.size);
    transcript(memory->th, 0, text.bytes, text.size);
    memcpy(begin_register(request), text.bytes, text.size);
    return SIZE_REGISTER + text.size;
}

static enum verdict answer_response(struct memory *memory, const uint8_t *response, size_t received, uint8_t *request,
                                    size_t *size) {
    uint8_t prk2[SIZE_HASH], key[SIZE_HASH], prk3[SIZE_HASH];
    struct hmac_key k2;
    if (received != SIZE_RESPONSE || memcmp(response, "\xa6\x00\x02\x02\x82\x01\x00\x03\x47", 9) ||
        memcmp(response + 16, "\x04\x00\x05\x51", 4) || memcmp(response + 37, "\x17\x58\x20", 3))
        return WRONG;
    labelled(device_key(memory), "prk2", memory->th, SIZE_HASH, response + 40, SIZE_NONCE, prk2);
    expand(prk2, "m2", NULL, 0, key);
    hmac_key_set(&k2, key, SIZE_HASH);
    if (!hmac_ends(&k2, response, received)) return WRONG;
    memcpy(memory->client_id, response + 9, SIZE_CLIENT_ID);
    expand(prk2, "seal", NULL, 0, key);
    for (int i = 0; i < SIZE_HANDLE; i++) memory->next_handle[i] = response[20 + i] ^ key[i];
    transcript(memory->th, SIZE_HASH, response, received);
    labelled(prk2, "prk3", memory->th, SIZE_HASH, NULL, 0, prk3);
    expand(prk3, "m4", NULL, 0, memory->k4);
    expand(prk3, "m3", NULL, 0, key);

    struct text text = {0};
    put(&text, "\xa4\x00\x03\x03\x47", 5);
    put(&text, memory->client_id, SIZE_CLIENT_ID);
    put(&text, "\x04\x00\x17\x50", 4);
    text.size += SIZE_MAC;
    sign(key, text.bytes, text.size);
    transcript(memory->th, SIZE_HASH, text.bytes, text.size);
    memcpy(begin_register(request), text.bytes, text.size);
    *size = SIZE_REGISTER + text.size;
    memory->confirming = 1;
    return NEXT;
}

/* Say whether a message is a CONFIRM, with or without a lifetime; its security token is still to be verified. */
static int is_confirm(const uint8_t *message, size_t size) {
    if (size == SIZE_CONFIRM) return memcmp(message, "\xa3\x00\x04\x04\x00\x17\x50", 7) == 0;
    return size == SIZE_CONFIRM + SIZE_LIFETIME && memcmp(message, "\xa4\x00\x04\x04\x00\x09\x1a", 7) == 0 &&
           memcmp(message + 5 + SIZE_LIFETIME, "\x17\x50", 2) == 0;
}

static enum verdict answer_confirm(const struct memory *memory, const uint8_t *confirm, size_t received) {
    struct text text = {0};
    uint8_t mac[SIZE_HASH];
    if (!is_confirm(confirm, received)) return WRONG;
    put(&text, memory->th, SIZE_HASH);
    put(&text, confirm, received - SIZE_MAC);
    hmac(memory->k4, text.bytes, text.size, mac);
    if (memcmp(mac, confirm + received - SIZE_MAC, SIZE_MAC)) return WRONG;
    fwrite(&memory->device, 4, 1, results);
    fwrite(memory->client_id, SIZE_CLIENT_ID, 1, results);
    return DONE;
}

static enum verdict answer(struct run *run, const uint8_t *response, size_t received, uint8_t *request, size_t *size) {
    struct memory *memory = (struct memory *)run->memory;
    size_t told = 0;
    const uint8_t *message = cbor_payload(response, received, &told);
    if (!message) return WRONG;
    return memory->confirming ? answer_confirm(memory, message, told)
                              : answer_response(memory, message, told, request, size);
}

static const char *close_job(void) { return fclose(results) ? "the results cannot be written" : NULL; }

const struct job registration_job = {"registration", 2, open_job, begin, answer, close_job};
