/* The transport job on libcoap.
 *
 *     libcoap_server [IDLE] PORT KEY
 *
 * IDLE is the most idle sessions that it keeps; without it there is no limit, as libcoap comes.
 * The CBOR is read and written by hand, the cheapest way there is. The HMAC is libcrypto's HMAC(), as with its peers.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "libcoap_serve.h"
#include "transport_job.h"

static uint8_t key[32];

static void sign(const uint8_t *message, uint8_t *mac) {
    unsigned size;
    HMAC(EVP_sha256(), key, sizeof key, message, AT_MAC, mac, &size);
}

static void handle(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response) {
    (void)resource, (void)session, (void)query;
    const uint8_t *payload;
    size_t size;
    uint8_t answer[SIZE_TRANSPORT], format[2], mac[EVP_MAX_MD_SIZE];
    if (!coap_get_data(request, &size, &payload) || !transport_is_formed(payload, size)) {
        coap_pdu_set_code(response, COAP_RESPONSE_CODE(400));
        return;
    }
    sign(payload, mac);
    if (CRYPTO_memcmp(mac, payload + AT_MAC, SIZE_MAC) != 0) {
        coap_pdu_set_code(response, COAP_RESPONSE_CODE(401));
        return;
    }
    transport_write(payload + AT_NONCE, get_u32(payload + AT_NUMBER) + 1, answer);
    sign(answer, mac);
    memcpy(answer + AT_MAC, mac, SIZE_MAC);
    coap_pdu_set_code(response, COAP_RESPONSE_CODE(204));
    coap_add_option(response, COAP_OPTION_CONTENT_FORMAT, coap_encode_var_safe(format, sizeof format, 60), format);
    coap_add_data(response, sizeof answer, answer);
}

int main(int argc, char **argv) {
    if (argc == 1) { /* for its version */
        puts(coap_package_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof key; i++)
        if (sscanf(argv[argc - 1] + 2 * i, "%2hhx", key + i) != 1) return 2;
    coap_context_t *context = libcoap_listen(argv[argc - 2]);
    if (argc == 4) coap_context_set_max_idle_sessions(context, (unsigned)atoi(argv[1]));
    return libcoap_serve(context, "dpe/register", 0, handle);
}
