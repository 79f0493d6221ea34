// What this board has beyond MicroPython's qemu port: a clock.
#include <mpconfigport.h>

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
