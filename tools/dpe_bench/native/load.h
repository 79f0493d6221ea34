/* The load generator: exchanges with one CoAP server from many endpoints, every answer verified. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>

#define MAX_PAYLOAD 256

/* What a job makes of a good CoAP response. */
enum verdict { WRONG, DONE, NEXT };

/* What a job remembers of one run between its exchanges. */
struct run {
    uint64_t number; /* of the run, from 0 on */
    uint8_t memory[256];
};

/* A run of a job is one exchange, or several one after the other. */
struct job {
    const char *name;
    int exchanges;
    /* Take the job's argument; return why it cannot be, or NULL. */
    const char *(*open)(const char *argument);
    /* Write the first request from its options on, and return the size. */
    size_t (*begin)(struct run *run, uint8_t *request);
    /* Verify a response, given from its options on; NEXT: the next request is in `request`, of `size` bytes. */
    enum verdict (*answer)(struct run *run, const uint8_t *response, size_t received, uint8_t *request, size_t *size);
    /* Write the results down; return why they could not be, or NULL. */
    const char *(*close)(void);
};

extern const struct job transport_job, echo_job, registration_job, session_job;

/* 64 fresh pseudo-random bits: nonces of a benchmark need to differ, not to be secret. */
uint64_t draw(void);

#endif
