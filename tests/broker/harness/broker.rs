//! One running Mosquitto: started, watched through its log, stopped.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::log::Log;
use super::{Mosquitto, PATIENCE, eventually};

/// How long a start may take: a plugin that was not optimised may have a hundred thousand devices to read.
const MOST_OF_A_START: Duration = Duration::from_secs(90);

/// Which of a broker's listeners; the example configurations say what each is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Port 8883 of the examples.
    Certificates,
    /// Port 8884 of the examples.
    Psk,
    /// Port 8885, which [`with_websockets`] adds.
    WebSockets,
    /// Port 8886 of the examples.
    Passwords,
}

/// This configuration with one more listener: as that for certificates, for MQTT over WebSockets.
pub(crate) fn with_websockets(configuration: &str) -> String {
    let certificates = "\nlistener 8883\n";
    let start = configuration.find(certificates).expect("there is a listener for certificates");
    let options = &configuration[start + certificates.len()..];
    let options = &options[..options.find("\nlistener ").unwrap_or(options.len())];
    format!("{configuration}\nlistener 8885\nprotocol websockets\n{options}\n")
}

/// A broker that runs until it is dropped. Its log is shown when the test fails.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: Log,
    ports: [u16; 4],
}

/// A broker that did not start.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// What it exited with, if it exited by itself.
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Broker {
    /// Starts a broker with this configuration, in which the examples' ports become free ones on the loopback interface.
    /// It logs all that it can.
    pub(crate) fn start(mosquitto: &Mosquitto, directory: &Path, configuration: &str) -> Result<Self, NotStarted> {
        Self::start_within(MOST_OF_A_START, &["-v"], mosquitto, directory, configuration)
    }

    /// The same with no more than this time, and these arguments of the program.
    pub(crate) fn start_within(
        time: Duration,
        arguments: &[&str],
        mosquitto: &Mosquitto,
        directory: &Path,
        configuration: &str,
    ) -> Result<Self, NotStarted> {
        loop {
            match Self::start_once(time, arguments, mosquitto, directory, configuration) {
                // Somebody was faster to take a port that was free a moment ago.
                Err(failure) if failure.log.contains("Address already in use") => {}
                result => return result,
            }
        }
    }

    fn start_once(
        time: Duration,
        arguments: &[&str],
        mosquitto: &Mosquitto,
        directory: &Path,
        configuration: &str,
    ) -> Result<Self, NotStarted> {
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let configuration = configuration
            .replace("listener 8883", &format!("listener {} 127.0.0.1", ports[0]))
            .replace("listener 8884", &format!("listener {} 127.0.0.1", ports[1]))
            .replace("listener 8885", &format!("listener {} 127.0.0.1", ports[2]))
            .replace("listener 8886", &format!("listener {} 127.0.0.1", ports[3]));
        // Else each of many thousand connections waits 40 ms for an acknowledgement that TCP delays.
        let configuration = format!("set_tcp_nodelay true\n{configuration}");
        let file: PathBuf = directory.join(format!("mosquitto-{}.conf", ports[0]));
        fs::write(&file, configuration).unwrap();

        let log = Log::new().unwrap();
        let mut child = Command::new(&mosquitto.program)
            .args(arguments)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.writer().unwrap())
            .spawn()
            .unwrap();
        let running = format!("mosquitto version {} running", mosquitto.version());
        if log.wait_for(&running, time, || child.try_wait().unwrap().is_some()) {
            Ok(Self { child, log, ports })
        } else {
            // Either it has exited, or it hangs, which is as good as a failure.
            let _ = child.kill();
            let code = child.wait().unwrap().code();
            Err(NotStarted { code, log: log.text() })
        }
    }

    pub(crate) fn port(&self, listen: Listen) -> u16 {
        match listen {
            Listen::Certificates => self.ports[0],
            Listen::Psk => self.ports[1],
            Listen::WebSockets => self.ports[2],
            Listen::Passwords => self.ports[3],
        }
    }

    /// Everything that it has logged until now.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until the log has a line that contains this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        assert!(self.log.wait_for(text, PATIENCE, || false), "the log never said `{text}`; it says:\n{}", self.log());
    }

    /// How many lines of the log contain this text.
    pub(crate) fn count_in_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// SIGHUP: read the configuration again, soon.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGHUP, and the broker has heard it.
    pub(crate) fn reload(&self) {
        let before = self.count_in_log("Reloading config");
        self.hang_up();
        eventually("the broker reloads its configuration", || {
            (self.count_in_log("Reloading config") > before).then_some(())
        });
    }

    /// SIGSTOP: from now on it does nothing at all, and does not know it.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on where it was.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long it has kept processors busy, threads that have ended included, in ticks of the clock.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The second field, its name, may hold anything; behind it come the 3rd and so on (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = |number: usize| fields.split_whitespace().nth(number - 3).unwrap().parse::<u64>().unwrap();
        Duration::from_millis((ticks(14) + ticks(15)) * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// How long the threads that it has now have kept processors busy, to the nanosecond: for what takes little.
    pub(crate) fn time_of_threads(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let nanoseconds = |thread: fs::DirEntry| -> u64 {
            // A thread that ends meanwhile counts no longer.
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            schedstat.split_whitespace().next().map_or(0, |time| time.parse().unwrap())
        };
        Duration::from_nanos(threads.map(|thread| nanoseconds(thread.unwrap())).sum())
    }

    /// What the descriptors of its own thread stand for.
    pub(crate) fn descriptors(&self) -> Vec<PathBuf> {
        descriptors(Path::new(&format!("/proc/{0}/task/{0}", self.pid())))
    }

    /// What the descriptors of a thread that something else has started stand for.
    pub(crate) fn descriptors_of(&self, thread: &str) -> Vec<PathBuf> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let is_it = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == thread);
        let path = threads.map(|thread| thread.unwrap().path()).find(is_it);
        descriptors(&path.unwrap_or_else(|| panic!("there is no thread `{thread}`")))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM: ends it as an operator would, and says how it ended and all that it has logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let status = eventually("the broker ends", || self.child.try_wait().unwrap());
        assert_eq!(status.signal(), None, "the broker died of a signal; it says:\n{}", self.log());
        (status.code(), self.log())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn descriptors(thread: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(thread.join("fd")).unwrap();
    // One that is closed meanwhile stands for nothing.
    entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended_by_itself = self.child.try_wait().unwrap();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            if let Some(status) = ended_by_itself {
                eprintln!("the broker had ended before: {status}");
            }
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
            eprintln!("the broker's log ends:\n{}", tail.join("\n"));
        }
    }
}

/// A port that nobody listens on, below those that the system gives to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 1000 * 20;
    loop {
        let offset = (start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 20_000;
        let port = 10_000 + u16::try_from(offset).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
