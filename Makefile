# What people repeat. `make` alone says what there is.

PACKAGES := build-essential pkg-config libclang-dev libssl-dev mosquitto mosquitto-clients mosquitto-dev \
            libmosquitto-dev openssl sqlite3 postgresql pgbouncer mariadb-server
DESTDIR ?=
PREFIX  ?= /usr
# all: `make test` fails unless it runs on every Mosquitto that is supported, not only on those it can get.
WARDEN_BROKERS ?=
FUZZ_SECONDS ?= 600
export WARDEN_BROKERS

.DEFAULT_GOAL := help
.PHONY: help deps build demo test lint bench guard fuzz install

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## Install the Debian packages that building and testing need
	@missing=; for package in $(PACKAGES) $(EXTRA_PACKAGES); do \
	    [ "$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	    echo "installing$$missing"; \
	    $$as_root apt-get -qq update && \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null || exit 1; \
	    if [ -d /run/systemd/system ]; then \
	        for service in mosquitto postgresql pgbouncer mariadb; do \
	            case "$$missing " in *" $$service "*|*" $$service-server "*) $$as_root systemctl disable --now $$service.service ;; esac; \
	        done; \
	    fi; \
	fi
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs says how to install it" >&2; exit 1; }

build: deps ## Build the plugin and the command, optimised: target/release/
	cargo build --release

demo: deps ## Watch a broker admit, refuse and throw off devices
	tests/demo.sh

test: deps ## Run all tests, on every Mosquitto that can be had, with servers of their own
	tests/brokers.sh $(if $(filter all,$(WARDEN_BROKERS)),--all)
	tests/databases.sh cargo test

lint: ## Check format, lints, licences and scripts
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then set -x; cargo deny --log-level error check bans licenses sources; \
	    else echo "not checked: licences (cargo install --locked cargo-deny)"; fi
	@if command -v shellcheck >/dev/null; then set -x; shellcheck tests/*.sh fuzz/fixtures/*.sh mosquitto-conf/docker/*.sh .ci/run; \
	    else echo "not checked: scripts (apt install shellcheck)"; fi
	@if docker compose version >/dev/null 2>&1; then set -x; docker compose --profile tools config --quiet; \
	    else echo "not checked: docker-compose.yml (docker compose is not installed)"; fi

bench: deps ## Measure what the design has a budget for
	tests/databases.sh cargo bench

guard: deps ## Count the instructions of each question, and fail if one takes a tenth more than benches/guard.txt says
	@command -v valgrind >/dev/null || { echo "valgrind is missing: apt install valgrind" >&2; exit 1; }
	cargo bench --bench guard

fuzz: ## Look for bytes that break the readers of certificates, FUZZ_SECONDS each
	@for target in certificate_identity revocation_input; do \
	    mkdir -p target/fuzz/$$target; set -x; \
	    cargo +nightly fuzz run $$target target/fuzz/$$target fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

install: ## Install what `make build` has built, below $(DESTDIR)$(PREFIX)
	@test -x target/release/warden || { echo "nothing is built yet: make build" >&2; exit 1; }
	install -D -m 644 target/release/libmosquitto_warden.so $(DESTDIR)$(PREFIX)/lib/mosquitto-warden/libmosquitto_warden.so
	install -D -m 755 target/release/warden $(DESTDIR)$(PREFIX)/bin/warden
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/mosquitto-warden $(wildcard README.md) $(wildcard mosquitto-conf/*.*) LICENSE-*
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	target/release/warden completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/warden
	target/release/warden completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_warden
	target/release/warden completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/warden.fish
