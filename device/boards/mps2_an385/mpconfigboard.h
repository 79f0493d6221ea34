// What this board has beyond MicroPython's qemu port: a clock, a network and random numbers.
#include <mpconfigport.h>

#include "board.h"

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_OS_INCLUDEFILE "urandom.c"
#define MICROPY_INTERNAL_EVENT_HOOK lan9118_poll()
#define MICROPY_INTERNAL_WFE(timeout_ms) board_sleep()
