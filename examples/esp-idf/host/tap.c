/* lwIP's network device: Ethernet over tap0, which run.sh has made.
 *
 * Debian's own tapif receives into pool buffers, which its memp.c makes smaller than its pbuf.c believes (its
 * netinet/tcp.h says TCP_MSS 512): every longer frame writes over the heap. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"

#define FRAME 1514

static int tap;

static err_t transmit(struct netif *netif, struct pbuf *frame) {
    static char bytes[FRAME]; /* one thread at a time is here: lwIP holds its lock */
    u16_t len = pbuf_copy_partial(frame, bytes, sizeof bytes, 0);
    (void)netif;
    return write(tap, bytes, len) == len ? ERR_OK : ERR_IF;
}

static void *receive(void *netif) {
    char bytes[FRAME];
    for (ssize_t n; (n = read(tap, bytes, sizeof bytes)) > 0;) {
        struct pbuf *frame = pbuf_alloc(PBUF_RAW, (u16_t)n, PBUF_RAM);
        if (frame == NULL) continue;
        pbuf_take(frame, bytes, (u16_t)n);
        if (((struct netif *)netif)->input(frame, netif) != ERR_OK) pbuf_free(frame);
    }
    return NULL;
}

err_t tap_init(struct netif *netif) {
    static const u8_t address[] = {0x02, 0, 0, 0, 0, 2};
    struct ifreq request = {.ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI};
    pthread_t thread;
    if (if_nametoindex("tap0") == 0) return ERR_IF; /* it would be made, in whatever network this is */
    tap = open("/dev/net/tun", O_RDWR);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0) return ERR_IF;
    memcpy(netif->name, "tp", 2);
    memcpy(netif->hwaddr, address, netif->hwaddr_len = sizeof address);
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP | NETIF_FLAG_MLD6;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = transmit;
    return pthread_create(&thread, NULL, receive, netif) == 0 ? ERR_OK : ERR_MEM;
}
