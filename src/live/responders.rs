//! What the authorities' responders (RFC 6960) say of the certificates that were shown.
//!
//! Each certificate is asked about when it is first shown, and again from time to time; nobody waits for the answer.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{LAST_WORDS, MOST_NOTICES, NICE, Notice, StartError, unix_now};
use crate::credential::ocsp::{self, Answer, OcspError, Request, Status};
use crate::log::causes;
use crate::policy::certificate::{Certificate, CertificateId};
use crate::policy::device::UnixSeconds;
use crate::policy::revocation::Standing;

/// How many questions are under way at once.
const MOST_QUESTIONS: usize = 16;
/// How many certificates are asked about again and again; beyond it, those go that were shown longest ago.
const MOST_CERTIFICATES: usize = 100_000;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer has.
const MOST_BYTES: usize = 64 * 1024;
/// How long an answer is believed that does not say when there will be a newer one.
const MOST_AGE: Duration = Duration::from_hours(1);
/// How soon a question without answer is asked again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// However short an answer is good for, it is not asked again sooner.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// How responders are asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The responder for all, instead of the one that a certificate names.
    pub responder: Option<String>,
    /// The longest time between two questions about one certificate.
    pub refresh: Duration,
    /// Whether an answer must repeat the nonce of its question.
    pub require_nonce: bool,
}

/// A certificate that was shown in a handshake.
#[derive(Debug)]
pub struct Shown {
    pub certificate: Arc<Certificate>,
    /// The same, and that of its issuer, in DER.
    pub leaf: Vec<u8>,
    pub issuer: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("it cannot be reached")]
    Http(#[from] reqwest::Error),
    #[error("it answers with HTTP status {0}")]
    Status(reqwest::StatusCode),
    #[error("its answer is too long")]
    TooLong,
    #[error("its answer is not believed: {0}")]
    Ocsp(#[from] OcspError),
}

/// A certificate that is asked about.
#[derive(Debug)]
struct Asked {
    shown: Arc<Shown>,
    responder: Arc<str>,
    /// When it was last shown, as a number that grows.
    shown_at: u64,
    due: Instant,
    pause: Duration,
    revoked: bool,
}

/// Asks, for as long as somebody shows certificates.
#[derive(Debug)]
pub(super) struct Responders {
    asking: Asking,
    client: reqwest::Client,
    notices: mpsc::Sender<Notice>,
    asked: HashMap<CertificateId, Asked, foldhash::quality::RandomState>,
    due: BTreeSet<(Instant, CertificateId)>,
    by_age: BTreeSet<(u64, CertificateId)>,
    shows: u64,
    under_way: JoinSet<(CertificateId, Result<Answer, NoAnswer>)>,
    /// The responders that gave no answer when last asked, and why.
    trouble: HashMap<Arc<str>, String, foldhash::quality::RandomState>,
}

impl Responders {
    /// Starts to ask, on a thread of its own. It ends when the sender is dropped that it is told with what is shown.
    pub(super) fn start(
        asking: Asking,
        notices: mpsc::Sender<Notice>,
    ) -> Result<(mpsc::Sender<Shown>, JoinHandle<()>), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let responders = Self::new(asking, notices).map_err(StartError::Responders)?;
        let (sender, shown) = mpsc::channel(MOST_NOTICES);
        let thread = std::thread::Builder::new()
            .name("warden-ocsp".to_owned())
            .spawn(move || {
                // On Linux this is the thread's own, whatever POSIX says. Without it all works too.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::debug!(%error, "the thread that asks responders has the same priority as the broker");
                }
                if catch_unwind(AssertUnwindSafe(|| runtime.block_on(responders.run(shown)))).is_err() {
                    tracing::error!("the thread that asks responders panicked; restart the broker");
                }
                // The broker does not wait for a name server.
                runtime.shutdown_timeout(LAST_WORDS);
            })
            .map_err(StartError::Thread)?;
        Ok((sender, thread))
    }

    fn new(asking: Asking, notices: mpsc::Sender<Notice>) -> Result<Self, reqwest::Error> {
        // An answer is signed: where it comes from does not matter, only that nobody is sent anywhere else for it.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()?;
        Ok(Self {
            asking,
            client,
            notices,
            asked: HashMap::default(),
            due: BTreeSet::new(),
            by_age: BTreeSet::new(),
            shows: 0,
            under_way: JoinSet::new(),
            trouble: HashMap::default(),
        })
    }

    async fn run(mut self, mut shown: mpsc::Receiver<Shown>) {
        loop {
            self.ask_those_due();
            let room = self.under_way.len() < MOST_QUESTIONS;
            let next = self.due.first().map(|(due, _)| *due).filter(|_| room);
            let wait = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                one = shown.recv() => match one {
                    Some(one) => self.show(one).await,
                    None => return,
                },
                Some(answer) = self.under_way.join_next() => {
                    if let Ok((id, answer)) = answer {
                        self.hear(id, answer).await;
                    }
                }
                () = wait => {}
            }
        }
    }

    /// A certificate was shown: for the first time it is asked about at once.
    async fn show(&mut self, shown: Shown) {
        let id = shown.certificate.id;
        self.shows += 1;
        if let Some(asked) = self.asked.get_mut(&id) {
            self.by_age.remove(&(asked.shown_at, id));
            asked.shown_at = self.shows;
            self.by_age.insert((self.shows, id));
            return;
        }
        let Some(responder) = self.asking.responder.clone().or_else(|| ocsp::responder(&shown.leaf)) else { return };
        let due = Instant::now();
        let asked = Asked {
            shown: Arc::new(shown),
            responder: responder.into(),
            shown_at: self.shows,
            due,
            pause: FIRST_PAUSE,
            revoked: false,
        };
        self.asked.insert(id, asked);
        self.due.insert((due, id));
        self.by_age.insert((self.shows, id));
        if self.asked.len() > MOST_CERTIFICATES
            && let Some((_, oldest)) = self.by_age.pop_first()
            && let Some(asked) = self.asked.remove(&oldest)
        {
            self.due.remove(&(asked.due, oldest));
            // What is revoked is not forgotten.
            if !asked.revoked {
                self.tell(oldest, None).await;
            }
        }
    }

    fn ask_those_due(&mut self) {
        let now = Instant::now();
        while self.under_way.len() < MOST_QUESTIONS && self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else { return };
            let Some(asked) = self.asked.get(&id) else { continue };
            let (client, shown, responder) =
                (self.client.clone(), Arc::clone(&asked.shown), Arc::clone(&asked.responder));
            let require_nonce = self.asking.require_nonce;
            self.under_way.spawn(async move { (id, ask(&client, &shown, &responder, require_nonce).await) });
        }
    }

    /// A question was answered, or not.
    async fn hear(&mut self, id: CertificateId, answer: Result<Answer, NoAnswer>) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let now = unix_now();
        let responder = Arc::clone(&asked.responder);
        let (standing, pause) = match answer {
            Ok(answer) => {
                asked.pause = FIRST_PAUSE;
                if self.trouble.remove(&responder).is_some() {
                    tracing::info!(%responder, "responder answers again");
                }
                let until = believed_until(&answer);
                let half = Duration::from_secs(u64::try_from(until.saturating_sub(now) / 2).unwrap_or(0));
                let identity = asked.shown.certificate.identity.escape_debug();
                let standing = match answer.status {
                    Status::Good => {
                        asked.revoked = false;
                        Some(Some(Standing::Good { until }))
                    }
                    Status::Revoked => {
                        if !asked.revoked {
                            tracing::warn!(%responder, %identity, "responder says that this certificate is revoked");
                        }
                        asked.revoked = true;
                        Some(Some(Standing::Revoked))
                    }
                    Status::Unknown => {
                        tracing::warn!(%responder, %identity, "responder does not know this certificate");
                        // Whoever was revoked stays so until somebody says that all is good.
                        (!asked.revoked).then_some(None)
                    }
                };
                (standing, half.min(self.asking.refresh))
            }
            Err(error) => {
                let pause = asked.pause;
                asked.pause = (pause * 2).min(LONGEST_PAUSE);
                let error = causes(&error);
                if self.trouble.get(&responder) != Some(&error) {
                    tracing::warn!(%responder, %error, "responder gives no answer");
                    self.trouble.insert(Arc::clone(&responder), error);
                }
                (None, pause.min(self.asking.refresh))
            }
        };
        asked.due = Instant::now() + pause.max(LEAST_PAUSE);
        self.due.insert((asked.due, id));
        if let Some(standing) = standing {
            self.tell(id, standing).await;
        }
    }

    async fn tell(&self, id: CertificateId, standing: Option<Standing>) {
        // Who hears it ends together with us.
        let _ = self.notices.send(Notice::Standing(id, standing)).await;
    }
}

fn believed_until(answer: &Answer) -> UnixSeconds {
    let most = UnixSeconds::try_from(MOST_AGE.as_secs()).unwrap_or(0);
    answer.next_update.unwrap_or_else(|| answer.this_update.saturating_add(most))
}

async fn ask(
    client: &reqwest::Client,
    shown: &Shown,
    responder: &str,
    require_nonce: bool,
) -> Result<Answer, NoAnswer> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(NoAnswer::Random)?;
    let request = Request::new(&shown.leaf, &shown.issuer, nonce)?;
    let post = client.post(responder).header(reqwest::header::CONTENT_TYPE, "application/ocsp-request");
    let mut response = post.body(request.der().to_vec()).send().await?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(NoAnswer::Status(response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(NoAnswer::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(request.check(&bytes, unix_now(), MOST_AGE, require_nonce)?)
}
