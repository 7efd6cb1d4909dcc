# What docker-compose.yml runs: `broker` is Mosquitto with the plugin, `tools` the command and what setting up needs.
ARG DEBIAN=trixie-20251229-slim
ARG RUST=1.94-slim-trixie

FROM rust:${RUST} AS build
RUN apt-get update && \
    apt-get install -y --no-install-recommends libclang-dev libmosquitto-dev libssl-dev mosquitto-dev pkg-config && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked && \
    install -D -m 644 target/release/libmosquitto_warden.so /built/usr/lib/mosquitto-warden/libmosquitto_warden.so && \
    install -D -m 755 target/release/warden /built/usr/bin/warden && \
    install -D -m 755 -t /built/usr/lib/mosquitto-warden mosquitto-conf/docker/*.sh && \
    install -D -m 644 mosquitto-conf/docker/mosquitto.conf /built/etc/mosquitto/mosquitto.conf && \
    install -D -m 644 mosquitto-conf/fleet.conf /built/etc/mosquitto/conf.d/fleet.conf

FROM debian:${DEBIAN} AS broker
# A number that does not change: volumes remember it.
RUN groupadd --gid 1883 mosquitto && \
    useradd --uid 1883 --gid mosquitto --no-create-home --home-dir /var/lib/mosquitto --shell /usr/sbin/nologin mosquitto && \
    apt-get update && apt-get install -y --no-install-recommends ca-certificates mosquitto mosquitto-clients openssl && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o mosquitto -g mosquitto -m 700 /etc/mosquitto/warden /var/lib/mosquitto
COPY --from=build /built /
USER 1883:1883
EXPOSE 8883 8884
STOPSIGNAL SIGTERM
CMD ["mosquitto", "-c", "/etc/mosquitto/mosquitto.conf"]

FROM broker AS tools
USER 0:0
# The database's own user reads its password by this group.
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/* && \
    install -d -o mosquitto -g mosquitto -m 700 /run/warden/authority /run/warden/devices && \
    install -d -o mosquitto -g mosquitto -m 750 /run/warden/secrets
USER 1883:1883
CMD ["warden", "--help"]
