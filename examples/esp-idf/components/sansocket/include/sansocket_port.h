/* What sansocket asks of the system: sockets, a wake-up, a lock and a clock.
 *
 * The library (hub::EspIdfServer) calls these functions and no others; sansocket_port.c implements them with the
 * headers of the IDF version at hand. Integers of fixed width only: no struct, constant or errno of lwIP
 * crosses this line. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results below zero. */
#define SANSOCKET_AGAIN (-1)  /* nothing now: wait for the socket */
#define SANSOCKET_FAILED (-2) /* the socket is of no use any more */

/* Bits of sansocket_interest. */
#define SANSOCKET_READ 1u
#define SANSOCKET_WRITE 2u

/* A socket in sansocket_port_wait: `wants` in, `ready` out. */
struct sansocket_interest {
    int32_t socket;
    uint32_t wants;
    uint32_t ready;
};

/* Prepares the wake-up and the lock, before anything else; 0, or SANSOCKET_FAILED. After a 0, again: nothing happens. Not
 * from two tasks at once: the library lets one server in at a time. */
int32_t sansocket_port_start(void);

/* A listening socket on every address of the device, or SANSOCKET_FAILED. */
int32_t sansocket_port_listen(uint16_t port, uint32_t backlog);

/* The next connection, non-blocking and with TCP_NODELAY and keep-alive set, or SANSOCKET_AGAIN or _FAILED (out of
 * sockets or memory: the listener stays of use). `address` takes the peer's IPv6 or IPv4-mapped address, in network order. */
int32_t sansocket_port_accept(int32_t listener, uint8_t address[16], uint16_t *port);

/* Makes a connection that was accepted by somebody else ready for the loop, as sansocket_port_accept does: non-blocking,
 * TCP_NODELAY, keep-alive; and says who the peer is. It is still for its owner to close. 0, or SANSOCKET_FAILED. */
int32_t sansocket_port_adopt(int32_t socket, uint8_t address[16], uint16_t *port);

/* Bytes that were read or written, 0 at the end of the stream (recv), SANSOCKET_AGAIN or SANSOCKET_FAILED. */
int32_t sansocket_port_recv(int32_t socket, uint8_t *into, uint32_t len);
int32_t sansocket_port_send(int32_t socket, const uint8_t *from, uint32_t len);

/* Shuts the writing side down: FIN. Input that waits may be thrown away, but not the end of the stream. 0, or
 * SANSOCKET_FAILED. */
int32_t sansocket_port_shutdown(int32_t socket);

void sansocket_port_close(int32_t socket);

/* Waits until one of the sockets is ready for what it wants (an error counts as ready for both, wanted or not), or
 * sansocket_port_wake was called, or the time has passed: microseconds, below 0 for ever. It may return earlier for no
 * reason. 0, or SANSOCKET_FAILED where it could not wait. */
int32_t sansocket_port_wait(struct sansocket_interest *sockets, uint32_t count, int64_t timeout);

/* Ends the wait at hand, or the next one. From any task, by several at once, never from an interrupt, and never with the
 * lock held. Each call has to do so by itself, not count on another that has begun. */
void sansocket_port_wake(void);

/* One lock for all that tasks share with the loop; held for a moment only. Not recursive. */
void sansocket_port_lock(void);
void sansocket_port_unlock(void);

/* Microseconds of a monotonic clock. */
uint64_t sansocket_port_now(void);

#ifdef __cplusplus
}
#endif
