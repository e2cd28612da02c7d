//! Whether the app behind the door is well, where readiness is to depend on it.
//!
//! Off unless asked for: the app has a probe of its own, and a door that is not ready because its app is busy takes the pod
//! out of service twice. `--target-status URL` asks the app's own page, as ghostunnel does; `--ready-check-target` only
//! asks whether the targets take connections. Either is asked once a second and has 5 s to answer.
//!
//! ```text
//! GET /healthz -> 2xx: well. Anything else, or nothing: /readyz says 503 and why.
//! ```

use std::time::Duration;

use kit_admin::{Admin, Condition};
use kit_http::{GetError, Limits, Request, Url};
use kit_run::Error;

use crate::config::DoorConfig;
use crate::proxy::Proxy;
use crate::target::Target;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `server`'s flags about its app.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Readiness")]
pub struct AppCheckArgs {
    /// Not ready unless a GET of this page of the app is answered with 2xx, e.g. http://127.0.0.1:9201/healthz; asked every second
    #[arg(long, value_name = "URL")]
    pub target_status: Option<Url>,

    /// Not ready unless every --target takes a connection; tried every second
    #[arg(long)]
    pub ready_check_target: bool,
}

/// What is asked of the app; nothing unless one of the two is there.
#[derive(Debug, Clone, Default)]
pub struct AppCheck {
    /// A page that must be well.
    pub page: Option<Url>,
    /// Addresses that must take connections.
    pub targets: Vec<Target>,
    /// On the way to them.
    pub proxy: Option<Proxy>,
}

impl AppCheck {
    /// Checks what was typed; `targets` are those of all listeners.
    ///
    /// # Errors
    /// A page over https: the app behind the door listens in plain text.
    pub fn new<'a>(args: AppCheckArgs, targets: impl IntoIterator<Item = &'a Target>) -> Result<AppCheck, Error> {
        let AppCheckArgs { target_status, ready_check_target } = args;
        if let Some(page) = target_status.as_ref().filter(|page| page.secure) {
            return Err(Error::request(format!("--target-status {page} is not a page in plain text"))
                .hint("the app behind the door speaks plain HTTP; write http://"));
        }
        let targets = if ready_check_target { targets.into_iter().cloned().collect() } else { Vec::new() };
        Ok(AppCheck { page: target_status, targets, proxy: None })
    }

    /// What ghostunnel's status page asks whenever it is asked itself: whether each target takes a connection. Nothing where
    /// readiness asks already.
    #[must_use]
    pub fn of_status_page(&self, door: &DoorConfig, proxy: Option<&Proxy>) -> AppCheck {
        if !door.ghostunnel || !self.is_off() {
            return AppCheck::default();
        }
        let targets = door.pairs.iter().map(|pair| pair.target.clone()).collect();
        AppCheck { page: None, targets, proxy: proxy.cloned() }
    }

    /// Readiness does not depend on the app.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.page.is_none() && self.targets.is_empty()
    }

    /// Asks everything once.
    ///
    /// # Errors
    /// What is wrong, on one line.
    pub async fn ask(&self) -> Result<(), String> {
        if let Some(page) = &self.page {
            ask_page(page).await.map_err(|reason| format!("{page} {reason}"))?;
        }
        self.dial().await
    }

    /// Whether every target takes a connection.
    ///
    /// # Errors
    /// The first that does not, on one line.
    pub async fn dial(&self) -> Result<(), String> {
        for target in &self.targets {
            let dialled = target.dial_through(self.proxy.as_ref(), PATIENCE).await;
            dialled.map_err(|error| format!("{target} takes no connection: {error}"))?;
        }
        Ok(())
    }
}

async fn ask_page(page: &Url) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect((page.host.as_str(), page.port));
    // Its body may be long, and says nothing that the status does not.
    let answer = kit_http::get(connecting, &Request::to(page), Limits { deadline: PATIENCE, body: None }).await;
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("answers {}", answer.status)),
        Err(GetError::Connect(error)) => Err(format!("takes no connection: {error}")),
        Err(error) => Err(format!("does not answer: {error}")),
    }
}

/// Asks again and again until it is dropped. Readiness depends on the answers from the moment this is made.
pub fn follow(check: AppCheck, admin: &Admin) -> impl Future<Output = ()> + use<> {
    let ready = (!check.is_off()).then(|| admin.condition("app"));
    async move {
        match ready {
            Some(ready) => keep_asking(&check, &ready).await,
            None => std::future::pending().await,
        }
    }
}

async fn keep_asking(check: &AppCheck, ready: &Condition) {
    let mut last = None;
    loop {
        let result = check.ask().await;
        match &result {
            Ok(()) => ready.met(),
            Err(reason) => ready.unmet(reason.clone()),
        }
        // Said when it changes, not every second.
        if last.as_ref() != Some(&result) {
            match &result {
                Ok(()) => tracing::info!("the app is well"),
                Err(reason) => tracing::warn!(reason, "the app is not well: not ready"),
            }
            last = Some(result);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn check(page: &str) -> Result<AppCheck, Error> {
        AppCheck::new(AppCheckArgs { target_status: Some(page.parse().unwrap()), ready_check_target: false }, [])
    }

    #[test]
    fn a_page_over_tls_is_refused() {
        let error = check("https://127.0.0.1:9201/x").unwrap_err();
        assert_eq!(error.to_string(), "--target-status https://127.0.0.1:9201/x is not a page in plain text");
        assert!(AppCheck::new(AppCheckArgs::default(), []).unwrap().is_off());
    }

    #[tokio::test]
    async fn only_an_answer_of_2xx_is_well() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}/status?x=1", listener.local_addr().unwrap());
        let checked = check(&page).unwrap();
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", Err("answers 302")),
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Err("answers 503")),
            ("SSH-2.0-x\r\n\r\n", Err("does not answer: invalid response head")),
            ("", Err("does not answer: it answered with less than a whole response")),
        ] {
            let app = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let count = socket.read(&mut asked).await.unwrap();
                assert!(asked[..count].starts_with(b"GET /status?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
                socket.write_all(answer.as_bytes()).await.unwrap();
            };
            let (result, ()) = tokio::join!(checked.ask(), app);
            assert_eq!(result, expected.map_err(|reason| format!("{page} {reason}")));
        }
        drop(listener);
        assert!(checked.ask().await.unwrap_err().starts_with(&format!("{page} takes no connection: ")));
    }
}
