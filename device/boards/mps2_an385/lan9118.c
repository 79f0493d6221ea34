// The SMSC LAN9118 Ethernet controller, polled, as lwIP's network interface. Registers are those of its data sheet.

#include "py/mphal.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/timeouts.h"

#include "board.h"

#define REGISTER(offset) (*(volatile uint32_t *)(0x40200000 + (offset)))
#define RX_DATA REGISTER(0x00)
#define TX_DATA REGISTER(0x20)
#define RX_STATUS REGISTER(0x40)
#define RX_STATUS_ERROR (0x8000)
#define RX_STATUS_LENGTH(status) ((status) >> 16 & 0x3fff) // with the CRC
#define TX_CFG REGISTER(0x70)
#define TX_CFG_ON (2)
#define HW_CFG REGISTER(0x74)
#define HW_CFG_RESET (1)
#define HW_CFG_TX_FIFO_5K (0x150000) // with the bit that must be one
#define RX_FIFO_INF REGISTER(0x7c)
#define RX_FIFO_INF_FRAMES(info) ((info) >> 16 & 0xff)
#define MAC_COMMAND REGISTER(0xa4)
#define MAC_WRITE(number) (0x80000000 | (number))
#define MAC_READ(number) (0xc0000000 | (number))
#define MAC_DATA REGISTER(0xa8)

// The controller's inner registers.
#define MAC_CR (1)
#define MAC_CR_TX_RX_ON (0xc)
#define MAC_ADDRH (2)
#define MAC_ADDRL (3)

#define FIRST_AND_LAST (0x3000) // of a frame's buffers
#define CRC_LENGTH (4)

int mp_mod_network_prefer_dns_use_ip_version = 4; // what MicroPython's socket module wants of a `network` module

static struct netif ethernet;

static uint32_t read_mac(uint32_t number) {
    MAC_COMMAND = MAC_READ(number);
    return MAC_DATA;
}

static err_t send_frame(struct netif *netif, struct pbuf *frame) {
    TX_DATA = FIRST_AND_LAST | frame->tot_len;
    TX_DATA = frame->tot_len;
    for (u16_t at = 0; at < frame->tot_len; at += 4) {
        uint32_t word = 0;
        pbuf_copy_partial(frame, &word, 4, at);
        TX_DATA = word;
    }
    return ERR_OK;
}

// Takes a frame out of the controller; NULL if it is damaged or there is no room for it.
static struct pbuf *receive_frame(void) {
    uint32_t status = RX_STATUS;
    u16_t length = RX_STATUS_LENGTH(status);
    struct pbuf *frame = status & RX_STATUS_ERROR ? NULL : pbuf_alloc(PBUF_RAW, length, PBUF_POOL);
    for (u16_t at = 0; at < length; at += 4) {
        uint32_t word = RX_DATA;
        if (frame) {
            pbuf_take_at(frame, &word, LWIP_MIN(4, length - at), at);
        }
    }
    if (frame) {
        pbuf_realloc(frame, length - CRC_LENGTH);
    }
    return frame;
}

static err_t init_interface(struct netif *netif) {
    HW_CFG = HW_CFG_RESET;
    while (HW_CFG & HW_CFG_RESET) {
    }
    HW_CFG = HW_CFG_TX_FIFO_5K;
    TX_CFG = TX_CFG_ON;
    MAC_DATA = MAC_CR_TX_RX_ON;
    MAC_COMMAND = MAC_WRITE(MAC_CR);
    uint32_t low = read_mac(MAC_ADDRL), high = read_mac(MAC_ADDRH);
    memcpy(netif->hwaddr, &low, 4);
    memcpy(netif->hwaddr + 4, &high, 2);
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    return ERR_OK;
}

void lan9118_start(void) {
    // As QEMU's user network has it.
    ip4_addr_t address, netmask, gateway;
    IP4_ADDR(&address, 10, 0, 2, 15);
    IP4_ADDR(&netmask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 0, 2, 2);
    lwip_init();
    netif_add(&ethernet, &address, &netmask, &gateway, NULL, init_interface, netif_input);
    netif_set_default(&ethernet);
    netif_set_up(&ethernet);
}

void lan9118_poll(void) {
    while (RX_FIFO_INF_FRAMES(RX_FIFO_INF)) {
        struct pbuf *frame = receive_frame();
        if (frame && ethernet.input(frame, &ethernet) != ERR_OK) {
            pbuf_free(frame);
        }
    }
    sys_check_timeouts();
}
