// What the files of this board's firmware need of each other.
#include <stdint.h>

// The non-volatile memory: the first 2 kB for nonvolatile.c, then 32 bytes for urandom.c.
#define BOARD_MEMORY ((uint8_t *)0x21000000)
#define BOARD_SEED (BOARD_MEMORY + 0x800)

// Sleeps until an interrupt, or until the next millisecond.
void board_sleep(void);

// Brings the network up: lwIP on the Ethernet, with the address that QEMU's user network gives to its first host.
void lan9118_start(void);

// Takes in what has arrived, and does what is due. To be called often while somebody waits.
void lan9118_poll(void);

// Takes up the seed of the random numbers. To be called before anything is drawn.
void urandom_start(void);

// Draws 32 random bits.
uint32_t urandom_32(void);
