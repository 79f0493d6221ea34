/* A server on libcoap, as its documentation shows one: a resource, a handler, a loop. */
#ifndef LIBCOAP_SERVE_H
#define LIBCOAP_SERVE_H

#include <arpa/inet.h>
#include <coap3/coap.h>
#include <stdio.h>
#include <stdlib.h>

/* Return a context that listens on a port of 127.0.0.1. Ends the program if there is none. */
static inline coap_context_t *libcoap_listen(const char *port) {
    coap_startup();
    coap_address_t own;
    coap_address_init(&own);
    own.addr.sin.sin_family = AF_INET;
    own.addr.sin.sin_port = htons((uint16_t)atoi(port));
    own.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    own.size = sizeof own.addr.sin;
    coap_context_t *context = coap_new_context(NULL);
    if (!context || !coap_new_endpoint(context, &own, COAP_PROTO_UDP)) {
        fputs("libcoap cannot bind\n", stderr);
        exit(1);
    }
    return context;
}

/* Let handle answer each POST to path; returns an exit status when that is impossible. */
static inline int libcoap_serve(coap_context_t *context, const char *path, int flags, coap_method_handler_t handle) {
    coap_resource_t *resource = coap_resource_init(coap_make_str_const(path), flags);
    coap_register_request_handler(resource, COAP_REQUEST_POST, handle);
    coap_add_resource(context, resource);
    puts("ready");
    fflush(stdout);
    while (coap_io_process(context, COAP_IO_WAIT) >= 0) continue;
    return 1;
}

#endif
