/* The one file that bindgen reads. It includes the installed headers of the broker; none of them is copied here. */
#include <stddef.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

/*
 * Events that came with 2.1. One binary serves 2.0 and 2.1, whichever headers it was built with, so their numbers and
 * their one field in use are stated here; a broker that lacks them answers their registration with
 * MOSQ_ERR_NOT_SUPPORTED.
 */
enum warden_event_2_1 {
	WARDEN_EVT_CONNECT = 11,
	WARDEN_EVT_CLIENT_OFFLINE = 28,
};

struct warden_evt_client {
	void *future;
	struct mosquitto *client;
};
