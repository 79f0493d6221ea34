/* The device's side of a DPE session: reports under OSCORE (RFC 8613), whose protected answers are verified.
 *
 * The argument is "FILE:PLAINTEXT". FILE has a record of 52 bytes for each session: its Client ID (7 bytes), the client's
 * and the server's sender key (16 bytes each) and the Common IV (13 bytes). PLAINTEXT is what is protected, in hex: a CoAP
 * code, options and payload (section 5.3). Its last byte, a number of 0 to 23 in CBOR, is another with each report.
 * Run N is a report of session N, counted from the file's start over and over, under the sequence number of its round,
 * from 1 on. A good answer is an empty 2.04.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "load.h"

#define SIZE_CLIENT_ID 7
#define SIZE_KEY 16
#define SIZE_IV 13
#define SIZE_TAG 8
#define SIZE_PARTIAL_IV 5
#define SIZE_SESSION (SIZE_CLIENT_ID + 2 * SIZE_KEY + SIZE_IV)
#define AT_CLIENT_KEY SIZE_CLIENT_ID
#define AT_SERVER_KEY (AT_CLIENT_KEY + SIZE_KEY)
#define AT_IV (AT_SERVER_KEY + SIZE_KEY)
#define CHANGED 0x44
#define KID 0x08
#define OSCORE 0x90 /* option 9 as the first, without its length */

struct memory {
    uint32_t session;
    uint8_t nonce[SIZE_IV];
    uint8_t aad[48];
    int aad_size;
};
_Static_assert(sizeof(struct memory) <= sizeof ((struct run *)0)->memory, "a run's memory is too small");

static const uint8_t *sessions;
static uint64_t session_count;
static uint8_t plaintext[MAX_PAYLOAD - 32];
static int plaintext_size;
static EVP_CIPHER_CTX *sealing, *opening;

static EVP_CIPHER_CTX *cipher(int seals) {
    EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
    return made && EVP_CipherInit_ex(made, EVP_aes_128_ccm(), NULL, NULL, NULL, seals) == 1 &&
                   EVP_CIPHER_CTX_ctrl(made, EVP_CTRL_AEAD_SET_IVLEN, SIZE_IV, NULL) == 1
               ? made
               : NULL;
}

static const char *open_job(const char *argument) {
    static char text[1024];
    struct stat file;
    snprintf(text, sizeof text, "%s", argument);
    char *hex = strrchr(text, ':');
    if (!hex) return "the argument is not FILE:PLAINTEXT";
    *hex++ = 0;
    for (; hex[0] && hex[1]; hex += 2)
        if (plaintext_size == sizeof plaintext || sscanf(hex, "%2hhx", plaintext + plaintext_size++) != 1)
            return "the plaintext is too long, or not in hex";
    if (!plaintext_size) return "there is no plaintext";
    int descriptor = open(text, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &file) < 0) return "the sessions cannot be read";
    session_count = (uint64_t)file.st_size / SIZE_SESSION;
    if (!session_count) return "there are no sessions";
    sessions = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, descriptor, 0);
    if (sessions == MAP_FAILED) return "the sessions cannot be read";
    sealing = cipher(1), opening = cipher(0);
    return sealing && opening ? NULL : "libcrypto has no AES-CCM";
}

/* Write a sequence number without leading zeros (section 6.1); return its size. */
static int partial_iv(uint64_t number, uint8_t *at) {
    int size = 1;
    while (size < SIZE_PARTIAL_IV && number >> 8 * size) size++;
    for (int i = 0; i < size; i++) at[i] = (uint8_t)(number >> 8 * (size - 1 - i));
    return size;
}

/* Make the nonce (section 5.2) and the additional data (section 5.4) of a request, which its response has too. */
static void make_ready(struct memory *memory, const uint8_t *session, const uint8_t *iv, int iv_size) {
    uint8_t *at = memory->aad;
    memset(memory->nonce, 0, SIZE_IV);
    memory->nonce[0] = SIZE_CLIENT_ID;
    memcpy(memory->nonce + 1, session, SIZE_CLIENT_ID);
    memcpy(memory->nonce + SIZE_IV - iv_size, iv, (size_t)iv_size);
    for (int i = 0; i < SIZE_IV; i++) memory->nonce[i] ^= session[AT_IV + i];

    memcpy(at, "\x83\x68" "Encrypt0\x40", 11); /* around what follows as a byte string of less than 24 bytes */
    at += 11;
    *at++ = (uint8_t)(0x40 | (4 + 1 + SIZE_CLIENT_ID + 1 + iv_size + 1));
    memcpy(at, "\x85\x01\x81\x0a", 4); /* version 1, [AES-CCM-16-64-128] */
    at += 4;
    *at++ = 0x40 | SIZE_CLIENT_ID;
    memcpy(at, session, SIZE_CLIENT_ID);
    at += SIZE_CLIENT_ID;
    *at++ = (uint8_t)(0x40 | iv_size);
    memcpy(at, iv, (size_t)iv_size);
    at += iv_size;
    *at++ = 0x40;
    memory->aad_size = (int)(at - memory->aad);
}

static size_t begin(struct run *run, uint8_t *request) {
    struct memory *memory = (struct memory *)run->memory;
    uint64_t number = run->number / session_count + 1;
    uint8_t iv[SIZE_PARTIAL_IV], *at = request;
    int iv_size = partial_iv(number, iv), size;
    memory->session = (uint32_t)(run->number % session_count);
    const uint8_t *session = sessions + (size_t)memory->session * SIZE_SESSION;
    make_ready(memory, session, iv, iv_size);

    *at++ = (uint8_t)(OSCORE | (1 + iv_size + SIZE_CLIENT_ID)); /* a value of at most 13 bytes, ... */
    if ((request[0] & 15) == 13) *at++ = 0;                     /* ... whose length is then told by one byte more */
    *at++ = (uint8_t)(KID | iv_size);
    memcpy(at, iv, (size_t)iv_size);
    at += iv_size;
    memcpy(at, session, SIZE_CLIENT_ID);
    at += SIZE_CLIENT_ID;
    *at++ = 0xff;

    plaintext[plaintext_size - 1] = (uint8_t)(number % 24);
    EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_SET_TAG, SIZE_TAG, NULL);
    EVP_EncryptInit_ex(sealing, NULL, NULL, session + AT_CLIENT_KEY, memory->nonce);
    EVP_EncryptUpdate(sealing, NULL, &size, NULL, plaintext_size);
    EVP_EncryptUpdate(sealing, NULL, &size, memory->aad, memory->aad_size);
    EVP_EncryptUpdate(sealing, at, &size, plaintext, plaintext_size);
    at += size;
    EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_GET_TAG, SIZE_TAG, at);
    return (size_t)(at + SIZE_TAG - request);
}

/* Say whether a response is one byte under the server's key, 2.04, with the empty OSCORE option and no other. */
static enum verdict answer(struct run *run, const uint8_t *response, size_t received, uint8_t *request, size_t *size) {
    (void)request, (void)size;
    struct memory *memory = (struct memory *)run->memory;
    const uint8_t *session = sessions + (size_t)memory->session * SIZE_SESSION;
    uint8_t tag[SIZE_TAG], code = 0;
    int told;
    if (received != 2 + 1 + SIZE_TAG || response[0] != OSCORE || response[1] != 0xff) return WRONG;
    memcpy(tag, response + 3, SIZE_TAG);
    EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, SIZE_TAG, tag);
    EVP_DecryptInit_ex(opening, NULL, NULL, session + AT_SERVER_KEY, memory->nonce);
    EVP_DecryptUpdate(opening, NULL, &told, NULL, 1);
    EVP_DecryptUpdate(opening, NULL, &told, memory->aad, memory->aad_size);
    return EVP_DecryptUpdate(opening, &code, &told, response + 2, 1) == 1 && code == CHANGED ? DONE : WRONG;
}

static const char *close_job(void) { return NULL; }

const struct job session_job = {"session", 1, open_job, begin, answer, close_job};
