# QEMU's MPS2-AN385: an Arm Cortex-M3 with 25 MHz, Ethernet, and memory that a file can back. For MicroPython's qemu port:
# make -C ports/qemu BOARD=MPS2_AN385 BOARD_DIR=... USER_C_MODULES=... FROZEN_MANIFEST=... (see tools/build_board).
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an385

CFLAGS += -mthumb -mcpu=cortex-m3 -mfloat-abi=soft
CFLAGS += -DQEMU_SOC_MPS2
CFLAGS += -DMICROPY_HW_MCU_NAME='"Cortex-M3"'
CFLAGS += -I$(BOARD_DIR) -DMP_CONFIGFILE='<mpconfigboard.h>'

# board.c has the main function; that of the port, which runs the prompt only, goes under another name and is left out.
$(BUILD)/main.o: CFLAGS += -Dmain=main_of_port

LDSCRIPT = $(BOARD_DIR)/board.ld
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o
MPY_CROSS_FLAGS += -march=armv7m

# MicroPython's cryptolib on the AES of Mbed TLS. The digests stay MicroPython's own: no other file knows of Mbed TLS.
CFLAGS += -DMICROPY_PY_CRYPTOLIB=1 -I$(TOP)/lib/mbedtls/include -DMBEDTLS_CONFIG_FILE='<aes_config.h>'
SRC_THIRDPARTY_C += lib/mbedtls/library/aes.c lib/mbedtls/library/platform_util.c
$(BUILD)/extmod/modcryptolib.o: CFLAGS += -DMICROPY_SSL_MBEDTLS=1

MICROPY_HEAP_SIZE = 8192
MICROPY_PY_LWIP = 1
