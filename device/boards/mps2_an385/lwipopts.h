// lwIP without an operating system, for one Ethernet and UDP; with what MicroPython's socket module cannot do without.
#include "board.h"
#include "py/mpconfig.h"
#include "py/mphal.h"

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
#define LWIP_DNS 1
#define DNS_TABLE_SIZE 1
#define LWIP_IGMP 1
#define LWIP_RAND() urandom_32()
#define IP_FRAG 0
#define IP_REASSEMBLY 0
#define TCP_LISTEN_BACKLOG 1

#define MEM_ALIGNMENT 4
#define MEM_SIZE 2048 // bytes for what is sent
#define PBUF_POOL_SIZE 4 // buffers for what is received,
#define PBUF_POOL_BUFSIZE 384 // each for a message of the client in one; longer frames take several
#define MEMP_NUM_TCP_PCB 1 // TCP cannot be left out, but is not used
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1

#define sys_now mp_hal_ticks_ms
