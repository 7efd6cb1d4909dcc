//! The callbacks, driven by the fake broker over a real database.

mod faults;
mod gates;
mod heartbeat;
mod hostile;
mod kicks;
mod logins;
mod starts;

use std::ffi::{CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::entry::{mosquitto_plugin_cleanup, mosquitto_plugin_version, start};
use super::fake_broker::{
    FakeClient, during_kick, fire, functions, kicked, log_lines, published, refuse_registration, registered,
    share_callbacks,
};
use super::sys;
use crate::credential::password;
use crate::credential::psk::{Psk, SealingKey};
use crate::key_file;
use crate::log;
use crate::store::Store;

const ALLOWED: c_int = sys::MOSQ_ERR_SUCCESS;
const DENIED: c_int = sys::MOSQ_ERR_ACL_DENIED;
const NOT_AUTHENTICATED: c_int = sys::MOSQ_ERR_AUTH;
const DEFERRED: c_int = sys::MOSQ_ERR_PLUGIN_DEFER;

/// A database and a key file, and the plugin started on them.
struct Plugin {
    directory: tempfile::TempDir,
    key: SealingKey,
    user_data: *mut c_void,
    _alone: MutexGuard<'static, ()>,
}

/// The log queue is one for the process, as in a broker, so that one test at a time has a plugin.
static ALONE: Mutex<()> = Mutex::new(());

impl Plugin {
    /// With two devices of one role: `cert-1` with a certificate, `psk-1` with a key, and both bound to client ids that
    /// begin with their name.
    fn start(options: &[(&str, &str)]) -> Self {
        let mut plugin = Self::prepare();
        assert_eq!(plugin.run(options), ALLOWED, "{:?}", log_lines());
        plugin
    }

    fn prepare() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        drop(log::take(usize::MAX));
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("warden.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            Store::create(&database.as_path().into(), None).await.unwrap().0.close().await.unwrap();
        });
        let key = key_file::create(&database.with_extension("key"), None).unwrap();
        let plugin = Self { directory, key, user_data: std::ptr::null_mut(), _alone: alone };
        let psk = psk();
        plugin.sql(&format!(
            "INSERT INTO devices (id, name) VALUES (1, 'cert-1'), (2, 'psk-1');
             INSERT INTO roles (id, name, client_id) VALUES (1, 'sensor', '%u*');
             INSERT INTO rules (role_id, effect, action, topic) VALUES
                 (1, 'allow', 'publish', 'devices/%u/#'), (1, 'allow', 'read', 'devices/%u/cmd');
             INSERT INTO device_roles VALUES (1, 1), (2, 1);
             INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'cert-1');
             INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                 VALUES (2, 'psk', 'psk-1', '{}', '{}');",
            plugin.key.seal("psk-1", &psk).unwrap(),
            plugin.key.digest(&psk)
        ));
        plugin
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("warden.db")
    }

    fn run(&mut self, options: &[(&str, &str)]) -> c_int {
        let database = self.database();
        let named = options.iter().any(|(key, _)| *key == "database");
        let database = (!named).then_some(("database", database.to_str().unwrap()));
        let texts: Vec<(CString, CString)> = database
            .into_iter()
            .chain(options.iter().copied())
            .map(|(key, value)| (CString::new(key).unwrap(), CString::new(value).unwrap()))
            .collect();
        let mut options: Vec<sys::mosquitto_opt> = texts
            .iter()
            .map(|(key, value)| sys::mosquitto_opt { key: key.as_ptr().cast_mut(), value: value.as_ptr().cast_mut() })
            .collect();
        let count = options.len().try_into().unwrap();
        // SAFETY: as the broker calls it; the options outlive the call.
        unsafe { start(functions(), std::ptr::null_mut(), &raw mut self.user_data, options.as_mut_ptr(), count) }
    }

    fn sql(&self, statement: &str) -> String {
        sql(&self.database(), statement)
    }

    fn select(&self, statement: &str) -> String {
        sql(&self.database(), statement)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // SAFETY: what init gave, given back once.
        assert_eq!(unsafe { mosquitto_plugin_cleanup(self.user_data, std::ptr::null_mut(), 0) }, ALLOWED);
    }
}

/// The key of `psk-1`.
fn psk() -> Psk {
    Psk::from_hex("9f3ac61e77b04d2285d1e60a4bc8f913").unwrap()
}

/// Ticks until this holds.
fn tick_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        tick();
        if holds() {
            return;
        }
        assert!(Instant::now() < deadline, "never: {what}; log {:?}", log_lines());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// What the sqlite3 shell answers to this.
fn sql(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3").args(["-cmd", ".timeout 5000"]).arg(database).arg(statement).output();
    let output = output.expect("the sqlite3 shell is needed: apt-get install sqlite3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn tick() {
    let mut nothing = 0u64;
    assert_eq!(fire(sys::MOSQ_EVT_TICK, &mut nothing), ALLOWED);
}

fn check(client: &mut FakeClient, access: u32, topic: &[u8]) -> c_int {
    let topic = CString::new(topic).unwrap();
    check_raw(client.raw(), access.try_into().unwrap(), topic.as_ptr())
}

fn check_raw(client: *mut sys::mosquitto, access: c_int, topic: *const std::ffi::c_char) -> c_int {
    // SAFETY: an event of zeros is one of NULLs and no flags.
    let mut event: sys::mosquitto_evt_acl_check = unsafe { std::mem::zeroed() };
    event.client = client;
    event.topic = topic;
    event.access = access;
    fire(sys::MOSQ_EVT_ACL_CHECK, &mut event)
}

fn publish(client: &mut FakeClient, topic: &str) -> c_int {
    check(client, sys::MOSQ_ACL_WRITE, topic.as_bytes())
}

/// The answer, and the key that was written.
fn psk_key(client: &mut FakeClient, identity: &[u8], room: usize) -> (c_int, String) {
    let identity = CString::new(identity).unwrap();
    let mut buffer = vec![0u8; room + 1];
    // SAFETY: as above.
    let mut event: sys::mosquitto_evt_psk_key = unsafe { std::mem::zeroed() };
    event.client = client.raw();
    event.identity = identity.as_ptr();
    event.key = buffer.as_mut_ptr().cast();
    event.max_key_len = room.try_into().unwrap();
    let code = fire(sys::MOSQ_EVT_PSK_KEY, &mut event);
    assert_eq!(buffer[room], 0, "the last byte is the broker's");
    let length = buffer.iter().position(|byte| *byte == 0).unwrap();
    (code, String::from_utf8(buffer[..length].to_vec()).unwrap())
}

fn basic_auth(client: &mut FakeClient) -> c_int {
    basic_auth_with(client, None)
}

/// As [`basic_auth`], with this password, as far as a C string has it.
fn basic_auth_with(client: &mut FakeClient, password: Option<&[u8]>) -> c_int {
    let password = password.map(|password| CString::new(password).unwrap());
    // SAFETY: as above.
    let mut event: sys::mosquitto_evt_basic_auth = unsafe { std::mem::zeroed() };
    event.client = client.raw();
    event.password = password.as_ref().map_or(std::ptr::null_mut(), |password| password.as_ptr().cast_mut());
    event.username = client.user_name.as_ref().map_or(std::ptr::null_mut(), |name| name.as_ptr().cast_mut());
    fire(sys::MOSQ_EVT_BASIC_AUTH, &mut event)
}

fn about(client: &mut FakeClient, event: u32) {
    let mut data = sys::warden_evt_client { future: std::ptr::null_mut(), client: client.raw() };
    assert_eq!(fire(event, &mut data), ALLOWED);
}

/// A certificate with this subject, by the real openssl.
fn certificate(subject: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-outform", "DER"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-utf8", "-subj", subject, "-keyout"])
        .arg(&key)
        .output()
        .expect("openssl is needed: apt-get install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A client on a PSK listener that has shown its key.
///
/// Boxed: a client's record stays where it is for as long as the client is connected.
#[expect(clippy::unnecessary_box_returns, reason = "its address must not change")]
fn psk_client(id: &str) -> Box<FakeClient> {
    let mut client = Box::new(FakeClient { id: None, user_name: None, ..FakeClient::new(b"", b"") });
    assert_eq!(psk_key(&mut client, b"psk-1", 1024).0, ALLOWED);
    client.user_name = CString::new("psk-1").ok();
    client.id = CString::new(id).ok();
    client
}

fn certificate_client(id: &str) -> FakeClient {
    FakeClient { certificate: Some(certificate("/CN=cert-1")), ..FakeClient::new(id.as_bytes(), b"cert-1") }
}
