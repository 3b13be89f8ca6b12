/* The echo server on ESP-IDF: the network, and a task with the server's loop in it. */
#include <stdlib.h>

#include "esp_err.h"
#include "esp_event.h"
#include "esp_log.h"
#include "esp_netif.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "nvs_flash.h"
#include "protocol_examples_common.h"
#include "sansocket.h"

void start_httpd(struct sansocket *server);

static const char *TAG = "ws_echo_server";

void sansocket_log(const char *line, size_t len) {
    ESP_LOGI(TAG, "%.*s", (int)len, line);
}

static void serve(void *server) {
    sansocket_run(server); /* until sansocket_stop(server) */
    /* Others hold the server still. Who ends it: behind this httpd_stop, and when no task calls in any more, sansocket_free. */
    vTaskDelete(NULL);
}

void app_main(void) {
    ESP_ERROR_CHECK(nvs_flash_init());
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    ESP_ERROR_CHECK(example_connect()); /* WiFi or Ethernet, as menuconfig says */

    struct sansocket_settings settings = SANSOCKET_DEFAULTS;
    settings.port = CONFIG_ECHO_PORT;
    settings.connections = CONFIG_ECHO_CONNECTIONS;
    settings.rx = settings.tx = CONFIG_ECHO_BUFFER;
    ESP_LOGI(TAG, "Starting server on port: '%d'", CONFIG_ECHO_PORT);
    struct sansocket *server = sansocket_new(&settings);
    if (server == NULL || xTaskCreate(serve, "sansocket", CONFIG_ECHO_STACK, server, 5, NULL) != pdPASS) {
        ESP_LOGE(TAG, "no memory, no socket, or the port is taken");
        abort();
    }
    start_httpd(server);
}
