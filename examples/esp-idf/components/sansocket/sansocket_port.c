/* sansocket_port.h over lwIP's sockets: those of ESP-IDF, and on a PC those of any other lwIP (see host/).
 * Only names that every lwIP has: what is tested on the PC is what runs on the chip. */
#include "sansocket_port.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "lwip/sockets.h"
#include "lwip/sys.h"

#define LONGEST_WAIT 1000 /* milliseconds: so late can a wake-up come whose datagram found no memory */

static sys_mutex_t mutex;
static int waker = -1; /* a UDP socket that is its own peer: what is sent to it ends lwip_poll */

/* EINPROGRESS: another thread is inside a call on this socket. */
static int32_t failure(void) {
    bool again = errno == EWOULDBLOCK || errno == EINPROGRESS || errno == ENOMEM || errno == ENOBUFS;
    return again ? SANSOCKET_AGAIN : SANSOCKET_FAILED;
}

static void set(int socket, int level, int option, int n) { lwip_setsockopt(socket, level, option, &n, sizeof n); }

static bool unblock(int socket) {
    return lwip_fcntl(socket, F_SETFL, lwip_fcntl(socket, F_GETFL, 0) | O_NONBLOCK) == 0;
}

/* Throws away what is there, at most 64 KiB, which is a window: 0 if the peer's end was behind it, above if more may be. */
static ssize_t drain(int socket) {
    char bytes[256];
    ssize_t n = 1;
    for (int i = 0; i < 256 && n > 0; i++) n = lwip_recv(socket, bytes, sizeof bytes, 0);
    return n;
}

int32_t sansocket_port_start(void) {
    if (waker >= 0) return 0; /* what an earlier start has made is kept */
    if (sys_mutex_new(&mutex) != ERR_OK) return SANSOCKET_FAILED;
    struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof self;
    int made = lwip_socket(AF_INET, SOCK_DGRAM, 0);
    if (made >= 0 && lwip_bind(made, (struct sockaddr *)&self, len) == 0 &&
        lwip_getsockname(made, (struct sockaddr *)&self, &len) == 0 &&
        lwip_connect(made, (struct sockaddr *)&self, len) == 0 && unblock(made) &&
        lwip_send(made, "", 1, 0) == 1) return waker = made, 0; /* it has woken once: there is a loopback */
    lwip_close(made);
    sys_mutex_free(&mutex);
    return SANSOCKET_FAILED;
}

int32_t sansocket_port_listen(uint16_t port, uint32_t backlog) {
#if LWIP_IPV6 /* takes IPv4 too */
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int socket = lwip_socket(AF_INET6, SOCK_STREAM, 0);
#else
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int socket = lwip_socket(AF_INET, SOCK_STREAM, 0);
#endif
    /* Fails where it is not configured: then a restart waits for what TCP still remembers of the port. */
    set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (socket >= 0 && lwip_bind(socket, (struct sockaddr *)&any, sizeof any) == 0 &&
        lwip_listen(socket, backlog < 255 ? (int)backlog : 255) == 0 && unblock(socket)) return socket;
    lwip_close(socket);
    return SANSOCKET_FAILED;
}

int32_t sansocket_port_accept(int32_t listener, uint8_t address[16], uint16_t *port) {
    for (int socket;;) {
        while ((socket = lwip_accept(listener, NULL, NULL)) < 0 && errno == ECONNABORTED) continue;
        if (socket < 0) return errno == EWOULDBLOCK ? SANSOCKET_AGAIN : SANSOCKET_FAILED;
        if (sansocket_port_adopt(socket, address, port) == 0) return socket;
        lwip_close(socket); /* gone already: the next */
    }
}

int32_t sansocket_port_adopt(int32_t socket, uint8_t address[16], uint16_t *port) {
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    if (!unblock(socket) || lwip_getpeername(socket, (struct sockaddr *)&peer, &len) != 0) return SANSOCKET_FAILED;
    set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(socket, IPPROTO_TCP, TCP_KEEPIDLE, 10); /* seconds of silence before TCP asks the peer */
    set(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5); /* between questions */
    set(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);   /* questions, before it is given up */
    const struct sockaddr_in *v4 = (struct sockaddr_in *)&peer;
    *port = ntohs(v4->sin_port); /* stands in the same place for IPv6 */
    memcpy(address, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    memcpy(address + 12, &v4->sin_addr, 4);
#if LWIP_IPV6
    if (peer.ss_family == AF_INET6) memcpy(address, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
#endif
    return 0;
}

int32_t sansocket_port_recv(int32_t socket, uint8_t *into, uint32_t len) {
    ssize_t n = lwip_recv(socket, into, len, 0);
    return n >= 0 ? (int32_t)n : errno == ENOTCONN ? 0 : failure(); /* the end, once more */
}
int32_t sansocket_port_send(int32_t socket, const uint8_t *from, uint32_t len) {
    ssize_t n = lwip_send(socket, from, len, 0);
    return n >= 0 ? (int32_t)n : failure();
}

/* lwIP 2.1 frees a connection under its socket when the peer's end, which was there before our FIN, is read behind it.
 * So it is read before, or else lwIP lets go of the connection by SHUT_RDWR. The rest of the input is of no use. */
int32_t sansocket_port_shutdown(int32_t socket) {
    bool ended = drain(socket) == 0;
    if (lwip_shutdown(socket, SHUT_WR) != 0) return SANSOCKET_FAILED;
    if (!ended && drain(socket) >= 0) lwip_shutdown(socket, SHUT_RDWR);
    return 0;
}

void sansocket_port_close(int32_t socket) { lwip_close(socket); }

int32_t sansocket_port_wait(struct sansocket_interest *sockets, uint32_t count, int64_t timeout) {
    struct pollfd polled[count + 1];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t wants = sockets[i].wants;
        int events = (wants & SANSOCKET_READ ? POLLIN : 0) | (wants & SANSOCKET_WRITE ? POLLOUT : 0);
        polled[i] = (struct pollfd){.fd = sockets[i].socket, .events = (short)events};
    }
    polled[count] = (struct pollfd){.fd = waker, .events = POLLIN};
    int64_t milliseconds = timeout / 1000 + (timeout % 1000 > 0); /* a deadline that ended the wait has passed */
    if (timeout < 0 || milliseconds > LONGEST_WAIT) milliseconds = LONGEST_WAIT;
    /* Without memory to wait with, all that is left is to look again a little later. */
    if (lwip_poll(polled, count + 1, (int)milliseconds) < 0) sys_msleep(10);
    for (uint32_t i = 0; i < count; i++) {
        int events = polled[i].revents & ~(POLLIN | POLLOUT) ? POLLIN | POLLOUT : polled[i].revents;
        sockets[i].ready = (events & POLLIN ? SANSOCKET_READ : 0) | (events & POLLOUT ? SANSOCKET_WRITE : 0);
    }
    for (char byte; lwip_recv(waker, &byte, 1, 0) >= 0;) continue;
    return 0;
}

/* Each call sends: the task of another call may be preempted before it does. */
void sansocket_port_wake(void) { lwip_send(waker, "", 1, 0); }
void sansocket_port_lock(void) { sys_mutex_lock(&mutex); }
void sansocket_port_unlock(void) { sys_mutex_unlock(&mutex); }

uint64_t sansocket_port_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
