/* Reports of a DPE session on libcoap's OSCORE.
 *
 *     libcoap_oscore_server CONFIGURATION PORT
 *
 * CONFIGURATION is a file as in coap-oscore-conf(5), with a recipient_id for each client. Nothing is kept: a report is
 * read by hand, the cheapest way there is, and answered 2.04.
 */
#include <string.h>

#include "libcoap_serve.h"

#define SIZE_REPORT 11
#define AT_ETAG 3
#define AT_PROPERTIES 7

/* Every byte of the report {0: etag, 1: {0: value}} but for etag and value. */
static const uint8_t REPORT[SIZE_REPORT] = {0xa2, 0x00, 0x44, [AT_PROPERTIES] = 0x01, 0xa1, 0x00};

static int is_report(const uint8_t *payload, size_t size) {
    return size == SIZE_REPORT && memcmp(payload, REPORT, AT_ETAG) == 0 &&
           memcmp(payload + AT_PROPERTIES, REPORT + AT_PROPERTIES, 3) == 0 && payload[SIZE_REPORT - 1] < 24;
}

static void handle(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response) {
    (void)resource, (void)session, (void)query;
    const uint8_t *payload;
    size_t size;
    int good = coap_get_data(request, &size, &payload) && is_report(payload, size);
    coap_pdu_set_code(response, good ? COAP_RESPONSE_CODE(204) : COAP_RESPONSE_CODE(400));
}

static coap_oscore_conf_t *configuration(const char *name) {
    static uint8_t text[1 << 16];
    FILE *file = fopen(name, "rb");
    if (!file) return NULL;
    coap_str_const_t read = {fread(text, 1, sizeof text, file), text};
    fclose(file);
    return read.length < sizeof text ? coap_new_oscore_conf(read, NULL, NULL, 0) : NULL;
}

int main(int argc, char **argv) {
    if (argc == 1) { /* for its version */
        puts(coap_package_version());
        return 0;
    }
    coap_context_t *context = libcoap_listen(argv[argc - 1]);
    coap_oscore_conf_t *known = configuration(argv[1]);
    if (!known || !coap_context_oscore_server(context, known)) {
        fputs("libcoap_oscore_server: the configuration cannot be read, or this libcoap has no OSCORE\n", stderr);
        return 1;
    }
    return libcoap_serve(context, "dpe", COAP_RESOURCE_FLAGS_OSCORE_ONLY, handle);
}
