/* sansocket's echo server for C: the application is rust/src/lib.rs and examples/echo/handler.rs.
 *
 * One task runs the loop; every other function may be called from any task, none of them from an interrupt, and none
 * of them waits for the loop. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sansocket_result {
    SANSOCKET_OK = 0,
    SANSOCKET_FULL = -1,    /* the loop's queue is full, nothing was done */
    SANSOCKET_STOPPED = -2, /* the loop has ended, nothing was done */
    SANSOCKET_INVALID = -3, /* a text that is no UTF-8, a code that cannot be sent, a socket that is no connection */
};

/* Times are seconds, 0 for ever. */
struct sansocket_settings {
    uint16_t port;               /* 0: there are only connections that are adopted */
    uint32_t connections;        /* at once */
    uint32_t waiting;            /* beyond them: answered with 503, so many at once */
    uint32_t head;               /* bytes for the heads of request and answer, while they are exchanged */
    uint32_t rx, tx;             /* bytes of a connection's buffers, from 140, while it is not idle */
    uint32_t commands;           /* calls of the functions below that may wait for the loop */
    uint32_t queue, queue_bytes; /* messages and bytes of sansocket_send and _broadcast that may wait for a connection */
    uint32_t handshake, ping, pong, close, write;
};

#define SANSOCKET_DEFAULTS \
    {.port = 80, .connections = 4, .waiting = 1, .head = 1024, .rx = 1024, .tx = 1024, .commands = 16, .queue = 8, \
     .queue_bytes = 4096, .handshake = 5, .ping = 20, .pong = 10, .close = 2, .write = 20}

/* Implemented by the application: a line of the log, in the loop's task or in that of sansocket_new. */
void sansocket_log(const char *line, size_t len);

struct sansocket;

/* A server that listens; one at a time. NULL where sockets or memory are short, the port is taken or a setting is wrong:
 * the log says which. */
struct sansocket *sansocket_new(const struct sansocket_settings *settings);

/* The loop: returns after sansocket_stop, when every connection has ended. Once for each server. */
void sansocket_run(struct sansocket *server);

/* When sansocket_run has returned, an esp_http_server that hands connections over is stopped (httpd_stop), and no task
 * calls in any more. */
void sansocket_free(struct sansocket *server);

/* Closes every connection with 1001, behind the texts that were sent to it before, and ends the loop. */
void sansocket_stop(struct sansocket *server);

/* A connection that somebody else has accepted and upgraded (the 101 is sent, nothing behind the request was read).
 * From here on nobody else reads, writes or closes the socket. `release` is called exactly once, when the socket is no
 * longer used and its owner may close it: in the loop's task, where this fails, in here, or where the server is freed
 * before it ran, in sansocket_free. */
int32_t sansocket_adopt(struct sansocket *server, int32_t socket, void (*release)(void *context), void *context);

/* A text to every open connection. It is copied. */
int32_t sansocket_broadcast(struct sansocket *server, const char *text, size_t len);

/* The ids of the sessions of now, as many as there is room for; returns how many there are. No id is used twice. */
uint32_t sansocket_clients(struct sansocket *server, uint64_t *ids, uint32_t room);

/* A text to one, behind those that were sent to it before. It is copied. One that is closing does not get it. */
int32_t sansocket_send(struct sansocket *server, uint64_t id, const char *text, size_t len);

/* Closes one, behind the texts that were sent to it before. */
int32_t sansocket_close(struct sansocket *server, uint64_t id, uint16_t code);

#ifdef __cplusplus
}
#endif
