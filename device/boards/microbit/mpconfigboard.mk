# QEMU's BBC micro:bit, with the processor of MicroPython's own board definition and a main function of ours.
include boards/MICROBIT/mpconfigboard.mk

# board.c has the main function; that of the port, which runs the prompt only, goes under another name and is left out.
$(BUILD)/main.o: CFLAGS += -Dmain=main_of_port

MICROPY_HEAP_SIZE ?= 196608
