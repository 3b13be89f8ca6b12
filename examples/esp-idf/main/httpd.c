/* Connections that esp_http_server has accepted and upgraded, served by sansocket's loop.
 *
 * httpd keeps the session and its socket, and looks at neither until the loop gives them back. */
#include <stdlib.h>

#include "esp_err.h"
#include "esp_http_server.h"
#include "lwip/sockets.h"
#include "sansocket.h"

void start_httpd(struct sansocket *server);

struct adopted {
    httpd_req_t *request;
    int socket; /* httpd_req_to_sockfd answers in httpd's own task only */
};

static void look(void *unused) { (void)unused; }

/* The loop needs the socket no more. Once httpd has the session back, the number may soon be another connection's, and
 * httpd_sess_trigger_close would close that. So the socket is ended before: httpd reads that, and closes it, as it does
 * where a peer goes. */
static void give_back(void *context) {
    struct adopted *adopted = context;
    httpd_handle_t httpd = adopted->request->handle;
    lwip_shutdown(adopted->socket, SHUT_RDWR); /* fails where it has ended already */
    httpd_req_async_handler_complete(adopted->request);
    /* Completing does not wake httpd before 5.4.3, 5.5.2 and 6.0. Where this fails for a full queue, httpd is awake; where
     * for want of memory, it sees the end with the next thing that happens to it. */
    httpd_queue_work(httpd, look, NULL);
    free(adopted);
}

/* The 101 is sent, and no frame has come yet. */
static esp_err_t hand_over(httpd_req_t *request) {
    struct adopted *adopted = malloc(sizeof *adopted);
    if (adopted == NULL) return ESP_ERR_NO_MEM; /* httpd closes it */
    adopted->socket = httpd_req_to_sockfd(request);
    esp_err_t error = httpd_req_async_handler_begin(request, &adopted->request);
    if (error != ESP_OK) {
        free(adopted);
        return error;
    }
    sansocket_adopt(request->user_ctx, adopted->socket, give_back, adopted);
    return ESP_OK; /* give_back is called in any case */
}

#ifdef CONFIG_HTTPD_WS_POST_HANDSHAKE_CB_SUPPORT
/* Frames are not httpd's to read. */
static esp_err_t handler(httpd_req_t *request) {
    return request->method == HTTP_GET ? ESP_OK : ESP_FAIL;
}
#else
/* Where there is no such callback, httpd comes here behind the 101. */
static esp_err_t handler(httpd_req_t *request) {
    return request->method == HTTP_GET ? hand_over(request) : ESP_FAIL;
}
#endif

void start_httpd(struct sansocket *server) {
    httpd_handle_t httpd = NULL;
    httpd_config_t config = HTTPD_DEFAULT_CONFIG();
    config.server_port = CONFIG_ECHO_HTTPD_PORT;
    config.max_open_sockets = 4; /* those that are handed over included */
    ESP_ERROR_CHECK(httpd_start(&httpd, &config));
    const httpd_uri_t ws = {
        .uri = "/ws",
        .method = HTTP_GET,
        .handler = handler,
        .user_ctx = server,
        .is_websocket = true,
#ifdef CONFIG_HTTPD_WS_POST_HANDSHAKE_CB_SUPPORT
        .ws_post_handshake_cb = hand_over,
#endif
    };
    ESP_ERROR_CHECK(httpd_register_uri_handler(httpd, &ws));
}
