//! Turns the installed Mosquitto headers into Rust types (`include/wrapper.h`); functions are looked up at run time.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

const HEADERS: [&str; 3] = ["mosquitto.h", "mosquitto_broker.h", "mosquitto_plugin.h"];

const CALLED_BY_PLUGINS: &str = "benches/plugins/called-by-plugins.list";

fn main() {
    println!("cargo::rerun-if-changed=include/wrapper.h");
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=MOSQUITTO_INCLUDE_DIR");
    // The broker unloads a plugin on exit, when OpenSSL or a signal may still know of our functions.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // One bench is a broker to the plugins that it loads. These are in no other.
    println!("cargo::rerun-if-changed={CALLED_BY_PLUGINS}");
    println!(
        "cargo::rustc-link-arg-benches=-Wl,--dynamic-list={}",
        Path::new(env!("CARGO_MANIFEST_DIR")).join(CALLED_BY_PLUGINS).display()
    );

    let include = env::var_os("MOSQUITTO_INCLUDE_DIR").map_or_else(|| PathBuf::from("/usr/include"), PathBuf::from);
    for header in HEADERS {
        if !include.join(header).exists() {
            fail(&format!(
                "{header} is not in {}: install the packages mosquitto-dev and libmosquitto-dev \
                 (`make deps`, or `apt-get install mosquitto-dev libmosquitto-dev`), \
                 or name the directory in MOSQUITTO_INCLUDE_DIR",
                include.display()
            ));
        }
    }

    let bindings = bindgen::Builder::default()
        .header("include/wrapper.h")
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_type("mosquitto_evt_(acl_check|basic_auth|psk_key)")
        .allowlist_type("mosquitto_(opt|plugin_id_t|plugin_event)")
        .allowlist_type("MOSQ_FUNC_generic_callback")
        .allowlist_type("mosq_err_t")
        .allowlist_type("warden_.*")
        .allowlist_var("MOSQ_(ACL|LOG)_.*")
        .allowlist_function("mosquitto_broker_publish_copy")
        .allowlist_function("mosquitto_callback_(un)?register")
        .allowlist_function("mosquitto_client_(address|certificate|id|username)")
        .allowlist_function("mosquitto_kick_client_by_(clientid|username)")
        .allowlist_function("mosquitto_log_printf")
        .allowlist_function("mosquitto_set_username")
        .dynamic_library_name("Functions")
        .dynamic_link_require_all(false)
        .prepend_enum_name(false)
        .layout_tests(false)
        .formatter(bindgen::Formatter::None)
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!("the broker's headers could not be read (is libclang-dev installed?): {error}")),
    };
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    if let Err(error) = bindings.write_to_file(Path::new(&out).join("broker.rs")) {
        fail(&format!("the bindings could not be written: {error}"));
    }
}

/// Ends the build with one plain line instead of a backtrace.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
