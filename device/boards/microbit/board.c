// Starts the board: a heap and the frozen main.py. When that ends, so does the emulation.

#include <stdlib.h>

#include "py/gc.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "shared/runtime/pyexec.h"

#define STACK_SIZE (10240)

static uint32_t heap[MICROPY_HEAP_SIZE / sizeof(uint32_t)];

int main(int argc, char **argv) {
    mp_stack_ctrl_init();
    mp_stack_set_limit(STACK_SIZE);
    gc_init(heap, (char *)heap + sizeof(heap));
    mp_init();
    exit(pyexec_frozen_module("main.py", false) == 1 ? 0 : 1);
}
