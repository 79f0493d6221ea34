// Starts the board: a heap, a clock, the network, and the frozen main.py. When that ends, so does the emulation.

#include <stdint.h>
#include <stdlib.h>

#include "board.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "shared/runtime/pyexec.h"

#define STACK_SIZE (10240)

// A 25 MHz counter with a prescaler, here to microseconds (Arm application note AN385, FPGA system control).
#define FPGAIO_COUNTER (*(volatile uint32_t *)0x40028018)
#define FPGAIO_PRESCALE (*(volatile uint32_t *)0x4002801c)

// The processor's timer and its pending exception (ARMv7-M Architecture Reference Manual, B3.2.4 and B3.3).
#define ICSR (*(volatile uint32_t *)0xe000ed04)
#define ICSR_PENDSTCLR (1 << 25)
#define SYST_CSR (*(volatile uint32_t *)0xe000e010)
#define SYST_CSR_ENABLE_INT_CPU_CLOCK (7)
#define SYST_RVR (*(volatile uint32_t *)0xe000e014)

// The emulator may put another size of the heap here: -device loader,addr=0x20000000,data=BYTES,data-len=4.
#define WANTED_HEAP_SIZE (*(volatile uint32_t *)0x20000000)
#define MAX_HEAP_SIZE (2 * 1024 * 1024) // to see what the processor does without collections of garbage

static uint32_t heap[MAX_HEAP_SIZE / sizeof(uint32_t)];

int main(int argc, char **argv) {
    FPGAIO_PRESCALE = 25 - 1;
    __asm volatile ("cpsid i");
    SYST_RVR = 25000 - 1;
    SYST_CSR = SYST_CSR_ENABLE_INT_CPU_CLOCK;
    urandom_start();
    lan9118_start();
    mp_stack_ctrl_init();
    mp_stack_set_limit(STACK_SIZE);
    size_t heap_size = WANTED_HEAP_SIZE ? MIN(WANTED_HEAP_SIZE, MAX_HEAP_SIZE) : MICROPY_HEAP_SIZE;
    gc_init(heap, (char *)heap + heap_size);
    mp_init();
    exit(pyexec_frozen_module("main.py", false) == 1 ? 0 : 1);
}

mp_uint_t mp_hal_ticks_us(void) {
    return FPGAIO_COUNTER;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return FPGAIO_COUNTER;
}

// The counter wraps after 71 minutes, and is then read too late: whoever waits reads it more often.
mp_uint_t mp_hal_ticks_ms(void) {
    static uint32_t ms, counted_us;
    uint32_t more_ms = (FPGAIO_COUNTER - counted_us) / 1000;
    counted_us += more_ms * 1000;
    ms += more_ms;
    return ms;
}

uint64_t mp_hal_time_ns(void) {
    return (uint64_t)mp_hal_ticks_ms() * 1000000;
}

void mp_hal_delay_us(mp_uint_t us) {
    for (mp_uint_t start = mp_hal_ticks_us(); mp_hal_ticks_us() - start < us;) {
    }
}

// The timer's exception ends the sleep, is masked, and so needs no handler.
void board_sleep(void) {
    ICSR = ICSR_PENDSTCLR;
    __asm volatile ("wfi");
}

void mp_hal_delay_ms(mp_uint_t ms) {
    for (mp_uint_t start = mp_hal_ticks_ms(); mp_hal_ticks_ms() - start < ms;) {
        mp_event_wait_ms(1);
    }
}
