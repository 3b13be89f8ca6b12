/* The component on a PC: main/main.c with Debian's lwIP on a tap device in place of ESP-IDF's on WiFi, and with orders
 * on stdin in place of other tasks. run.sh makes the tap device.
 *
 *   echo_lwip [NAME=VALUE...]    settings, named as in sansocket.h
 *
 * Port 81 is another server: it upgrades each client, and hands the connection over to the loop. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/netif.h"
#include "lwip/sockets.h"
#include "lwip/sys.h"
#include "lwip/tcpip.h"
#include "sansocket.h"

err_t tap_init(struct netif *netif);

#define STACK (64 * 1024)
#define PAINT 0xA5

static struct sansocket_settings settings = SANSOCKET_DEFAULTS;
static struct sansocket *server;
static unsigned char stack[STACK] __attribute__((aligned(4096)));
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int quiet;

void sansocket_log(const char *line, size_t len) {
    pthread_mutex_lock(&log_lock);
    if (!quiet) printf("ws_echo_server: %.*s\n", (int)len, line);
    pthread_mutex_unlock(&log_lock);
}

/* 127.0.0.1, as ESP-IDF has it (LWIP_HAVE_LOOPIF) and Debian has not. What goes to a device's own address needs no output. */
static err_t loop_init(struct netif *netif) {
    netif->flags = NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static void up(void *ready) {
    static struct netif netif, loop;
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, 127, 0, 0, 1);
    IP4_ADDR(&mask, 255, 0, 0, 0);
    if (netif_add(&loop, &address, &mask, &address, NULL, loop_init, tcpip_input) == NULL) abort();
    netif_set_up(&loop);
    IP4_ADDR(&address, 192, 0, 2, 2);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 192, 0, 2, 1);
    if (netif_add(&netif, &address, &mask, &gateway, NULL, tap_init, tcpip_input) == NULL) {
        puts("no device tap0: use run.sh");
        exit(1);
    }
    netif_set_default(&netif);
    netif_set_up(&netif);
    netif_create_ip6_linklocal_address(&netif, 1);
    ip6_addr_t v6;
    s8_t index;
    if (!ip6addr_aton("2001:db8::2", &v6) || netif_add_ip6_address(&netif, &v6, &index) != ERR_OK) abort();
    netif_ip6_addr_set_state(&netif, index, IP6_ADDR_PREFERRED);
    sys_sem_signal(ready);
}

static void *serve(void *unused) {
    sansocket_run(server);
    return unused;
}

static void start(pthread_t *thread) {
    server = sansocket_new(&settings);
    if (server == NULL) {
        puts("no server: the port is taken, or the settings make no sense");
        exit(1);
    }
    pthread_attr_t attributes;
    memset(stack, PAINT, STACK);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    if (pthread_create(thread, &attributes, serve, NULL) != 0) abort();
    printf("listening on 192.0.2.2:%d\n", settings.port);
}

static void released(void *socket) {
    lwip_close((int)(intptr_t)socket);
    puts("released");
}

/* The handshake of RFC 6455 §1.3, always with the same key, and the connection is handed over. */
static void *upgrade(void *arg) {
    int listener = (int)(intptr_t)arg;
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (;;) {
        int socket = lwip_accept(listener, NULL, NULL);
        char head[1024] = "";
        for (size_t n = 0; n < sizeof head - 1 && strstr(head, "\r\n\r\n") == NULL; n++) {
            if (lwip_recv(socket, head + n, 1, 0) != 1) break;
        }
        lwip_send(socket, answer, sizeof answer - 1, 0);
        printf("adopted %d\n", sansocket_adopt(server, socket, released, (void *)(intptr_t)socket));
    }
    return NULL;
}

/* broadcast TEXT, send ID TEXT, close ID CODE, clients, stop, start, memory, stack; hold lets the loop wait when it has
 * something to log, until resume. */
static void obey(char *order, pthread_t *loop) {
    char *rest = order + strcspn(order, " ");
    if (*rest == ' ') *rest++ = 0;
    if (strcmp(order, "broadcast") == 0) {
        printf("broadcast %d\n", sansocket_broadcast(server, rest, strlen(rest)));
    } else if (strcmp(order, "send") == 0) {
        uint64_t id = strtoull(rest, &rest, 10);
        rest += *rest == ' ';
        printf("send %d\n", sansocket_send(server, id, rest, strlen(rest)));
    } else if (strcmp(order, "close") == 0) {
        uint64_t id = strtoull(rest, &rest, 10);
        printf("close %d\n", sansocket_close(server, id, (uint16_t)atoi(rest)));
    } else if (strcmp(order, "clients") == 0) {
        uint64_t ids[64];
        uint32_t n = sansocket_clients(server, ids, 64);
        printf("clients");
        for (uint32_t i = 0; i < n && i < 64; i++) printf(" %llu", (unsigned long long)ids[i]);
        puts("");
    } else if (strcmp(order, "stop") == 0) {
        sansocket_stop(server);
        pthread_join(*loop, NULL);
        printf("stop %d\n", sansocket_broadcast(server, "", 0)); /* nobody is there */
        sansocket_free(server);
    } else if (strcmp(order, "start") == 0) {
        start(loop);
    } else if (strcmp(order, "hold") == 0) {
        pthread_mutex_lock(&log_lock);
        puts("hold");
    } else if (strcmp(order, "resume") == 0) {
        pthread_mutex_unlock(&log_lock);
        puts("resume");
    } else if (strcmp(order, "memory") == 0) {
        int next = lwip_socket(AF_INET, SOCK_STREAM, 0); /* the lowest number that is free */
        lwip_close(next);
        printf("memory %zu %d\n", mallinfo2().uordblks, next); /* of lwIP too: all of it is malloc's */
    } else if (strcmp(order, "stack") == 0) {
        size_t deep = 0;
        while (deep < STACK && stack[deep] == PAINT) deep++;
        printf("stack %zu\n", STACK - deep);
    }
}

int main(int argc, char **argv) {
    static const struct { const char *name; uint32_t *value; } numbers[] = {
        {"connections", &settings.connections}, {"waiting", &settings.waiting}, {"head", &settings.head},
        {"rx", &settings.rx}, {"tx", &settings.tx}, {"commands", &settings.commands}, {"queue", &settings.queue},
        {"queue_bytes", &settings.queue_bytes}, {"handshake", &settings.handshake}, {"ping", &settings.ping},
        {"pong", &settings.pong}, {"close", &settings.close}, {"write", &settings.write},
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        size_t known = 0, count = sizeof numbers / sizeof *numbers;
        if (value != NULL) *value++ = 0;
        while (known < count && strcmp(argv[i], numbers[known].name) != 0) known++;
        if (strcmp(argv[i], "quiet") == 0) {
            quiet = 1;
        } else if (value != NULL && known < count) {
            *numbers[known].value = (uint32_t)atoi(value);
        } else {
            fprintf(stderr, "no setting %s\n", argv[i]);
            return 2;
        }
    }

    sys_sem_t ready;
    if (sys_sem_new(&ready, 0) != ERR_OK) abort();
    tcpip_init(up, &ready);
    sys_arch_sem_wait(&ready, 0);

    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(81)};
    int listener = lwip_socket(AF_INET, SOCK_STREAM, 0);
    if (lwip_bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || lwip_listen(listener, 5) != 0) abort();

    pthread_t loop, other;
    start(&loop); /* says that it listens: by now both do */
    if (pthread_create(&other, NULL, upgrade, (void *)(intptr_t)listener) != 0) abort();
    static char order[65536];
    while (fgets(order, sizeof order, stdin) != NULL) {
        order[strcspn(order, "\n")] = 0;
        obey(order, &loop);
    }
    pthread_join(loop, NULL);
}
