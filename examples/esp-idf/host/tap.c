/* lwIP's network device: Ethernet over tap0, which run.sh has made.
 *
 * Debian's own tapif receives into pool buffers, which its memp.c makes smaller than its pbuf.c believes (its
 * netinet/tcp.h says TCP_MSS 512): every longer frame writes over the heap.
 *
 * lwIP answers a SYN for a connection in TIME-WAIT with an ACK and ignores the RST that follows, so that a client which
 * uses its port again cannot connect for two minutes. Linux does so: it chooses another range of ports every 10 seconds.
 * RFC 9293 §3.6.1 allows that the SYN opens a new connection, and here it does. */
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
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/tcp.h"
#include "lwip/tcpip.h"

#define FRAME 1514
#define ETHERNET 14

static int tap;

static err_t transmit(struct netif *netif, struct pbuf *frame) {
    static char bytes[FRAME]; /* one thread at a time is here: lwIP holds its lock */
    u16_t len = pbuf_copy_partial(frame, bytes, sizeof bytes, 0);
    (void)netif;
    return write(tap, bytes, len) == len ? ERR_OK : ERR_IF;
}

/* Forgets the connection in TIME-WAIT that a SYN opens anew. Each side has one address: ports tell connections apart. */
static void end_time_wait(const unsigned char *frame, size_t len) {
    const unsigned char *ip = frame + ETHERNET;
    int version = *ip >> 4, protocol = version == 4 ? ip[9] : version == 6 ? ip[6] : 0;
    size_t header = version == 4 ? (*ip & 15) * 4u : 40;
    struct tcp_hdr tcp;
    if (protocol != IP_PROTO_TCP || len < ETHERNET + header + sizeof tcp) return;
    memcpy(&tcp, ip + header, sizeof tcp);
    if ((TCPH_FLAGS(&tcp) & (TCP_SYN | TCP_ACK)) != TCP_SYN) return;
    u16_t remote = lwip_ntohs(tcp.src), local = lwip_ntohs(tcp.dest);
    LOCK_TCPIP_CORE();
    struct tcp_pcb *pcb = tcp_tw_pcbs;
    while (pcb != NULL && (pcb->remote_port != remote || pcb->local_port != local)) pcb = pcb->next;
    if (pcb != NULL) tcp_abort(pcb);
    UNLOCK_TCPIP_CORE();
}

static void *receive(void *netif) {
    unsigned char bytes[FRAME];
    for (ssize_t n; (n = read(tap, bytes, sizeof bytes)) > 0;) {
        end_time_wait(bytes, (size_t)n);
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
