//! What is true: flags checked against each other, files and names resolved. Nothing past this knows a flag's name.

use std::path::PathBuf;
use std::time::Duration;

use kit_run::Error;
use kit_tls::Policy;
use kit_tls::rustls::pki_types::ServerName;
use kit_units::ListenAddress;

use crate::access::{Access, Rules};
use crate::admission::{Flags, ServerIdentity, checked_access};
use crate::app_check::AppCheck;
use crate::args::{ClientArgs, Compat, DoorArgs, Excess, Mode, ProxyIn, ProxyOut, ServerArgs, StartTls, Switch};
use crate::http::{HttpArgs, HttpConfig};
use crate::journal::Hush;
use crate::jwt::block::Block;
use crate::jwt::{JwtArgs, JwtConfig};
use crate::limits::Limits;
use crate::own::{own, pair};
use crate::pairs::{Identity, Pair, Typed, pairs};
use crate::policy::policy;
use crate::proxy::Proxy;
use crate::proxy_protocol::Network;
use crate::target::Target;

/// What both directions have.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Where connections come from, and where those go.
    pub pairs: Vec<Pair>,
    /// For a handshake, and for a dial.
    pub connect_timeout: Duration,
    /// Without a byte, once one side has ended.
    pub close_timeout: Duration,
    /// Without a byte, while both sides are open.
    pub idle_timeout: Option<Duration>,
    /// Since the connection was accepted.
    pub max_lifetime: Option<Duration>,
    /// Connections at once.
    pub max_connections: Option<usize>,
    /// Whether connections beyond that are closed instead of waiting.
    pub reject_excess: bool,
    /// Connections of one client, and handshakes at once.
    pub limits: Limits,
    /// What is left out of the log.
    pub hush: Hush,
    /// The exit code of an orderly end after a signal.
    pub signal_code: u8,
    /// Whether ghostunnel's ways are followed where they differ.
    pub ghostunnel: bool,
    /// Whether targets that do not resolve are a reason not to start.
    pub resolve_first: bool,
    /// Between "not ready" and the end of accepting.
    pub shutdown_delay: Duration,
    /// Worker threads.
    pub threads: usize,
    /// Health and metrics.
    pub admin_listen: ListenAddress,
    /// Whether that speaks TLS.
    pub admin_tls: bool,
    /// The same on a unix socket.
    pub admin_socket: Option<PathBuf>,
    /// Whether `/quitquitquit` exists.
    pub quitquitquit: bool,
    /// Pause between two readings of all files, if any.
    pub timed_reload: Option<Duration>,
    /// Whether it shuts itself in.
    pub sandbox: bool,
}

/// A checked `server`.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Listeners and times.
    pub door: DoorConfig,
    /// What is inside TLS.
    pub mode: Mode,
    /// Certificates, and who is let in; each pair names one of them.
    pub identities: Vec<ServerIdentity>,
    /// Versions and key exchanges.
    pub policy: Policy,
    /// Whether clients that are asked for no certificate get session tickets.
    pub tickets: bool,
    /// Whether unknown server names are refused.
    pub strict_names: bool,
    /// What readiness asks of the app.
    pub app_check: AppCheck,
    /// What the target is told.
    pub proxy_out: ProxyOut,
    /// What is read before TLS.
    pub proxy_in: ProxyIn,
    /// From whom.
    pub trusted_proxies: Vec<Network>,
    /// What is true of http mode, in that mode.
    pub http: Option<crate::http::HttpConfig>,
}

/// A checked `client`.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Listeners and times.
    pub door: DoorConfig,
    /// What is shown and which servers are accepted; each pair names one of them.
    pub identities: Vec<ClientIdentity>,
    /// Versions and key exchanges.
    pub policy: Policy,
    /// The certificate of the local side, where that speaks TLS too.
    pub local: Option<(PathBuf, PathBuf)>,
    /// What readiness asks of the targets.
    pub app_check: AppCheck,
    /// On the way to the targets.
    pub proxy: Option<Proxy>,
    /// Sessions to each target that are open in advance.
    pub pool_warm: usize,
    /// The name to verify for each pair, in their order.
    pub server_names: Vec<ServerName<'static>>,
    /// Whether every target is tried before serving.
    pub test_connections: bool,
}

/// What a client shows and which servers it accepts at those of its listeners that name it.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Certificate and authorities.
    pub files: kit_tls::client::Files,
    /// Protocols to offer, best first.
    pub alpn: Vec<Vec<u8>>,
    /// Rules besides chain and name; empty: none. Pins among them alone decide, there are no others then.
    pub rules: Rules,
}

/// The library's public authorities file, from the variable that OpenSSL and Go know.
pub type SslCertFile = Option<PathBuf>;

impl TryFrom<(ServerArgs, SslCertFile)> for ServerConfig {
    type Error = Error;

    fn try_from((args, ssl_cert_file): (ServerArgs, SslCertFile)) -> Result<Self, Error> {
        let ServerArgs {
            mode,
            door,
            cert_dir,
            sni_strict,
            session_tickets,
            disable_authentication,
            allow_all,
            allow_cn,
            allow_ou,
            allow_dns,
            allow_uri,
            allow_ip,
            allow_spki_pin,
            client_auth,
            unsafe_target,
            proxy_protocol_mode,
            accept_proxy_protocol,
            trusted_proxy,
            app_check,
            http,
            jwt,
            issuers,
        } = args;
        let rules = Rules {
            cn: allow_cn,
            ou: allow_ou,
            dns: allow_dns,
            uri: allow_uri,
            ip: allow_ip,
            spki_pin: allow_spki_pin,
        };
        let mut requests = Requests::check(mode, &door, proxy_protocol_mode, http, (jwt, issuers))?;
        for jwt in requests.iter_mut().flat_map(|requests| &mut requests.jwt) {
            // As everywhere else: the flag, else what the machine says, else the public authorities.
            jwt.authorities = jwt.authorities.take().or_else(|| ssl_cert_file.clone());
        }
        let tokens = requests.as_ref().is_some_and(|requests| !requests.jwt.is_empty());
        let access = Access { everyone: disable_authentication, any_certificate: allow_all, rules, token: tokens };
        if door.route.is_empty() {
            // Before all else: routes may have rules of their own.
            checked_access(&access, client_auth, "")?;
        }
        if accept_proxy_protocol != ProxyIn::Off && trusted_proxy.is_empty() {
            return Err(Error::request("--accept-proxy-protocol needs --trusted-proxy")
                .hint("name the load balancer's network: anybody else could claim any address"));
        }
        let policy = policy(&door)?;
        let alpn = if mode == Mode::Http { crate::http::alpn(&door.alpn)? } else { alpn(&door) };
        let many_certificates = cert_dir.is_some();
        let (pair, password) = own(&door)?;
        let default = Identity {
            pair,
            password,
            authorities: door.cacert.clone(),
            revocations: door.crl.clone(),
            access,
            server_rules: Rules::default(),
            client_auth,
            alpn,
        };
        if let Some(route) = door.route.iter().find(|route| route.server_rules.is_some()) {
            return Err(Error::request(format!(
                "route {} has verify- rules, which are about a client's server",
                route.name
            ))
            .hint("a server lets clients in by allow- rules"));
        }
        let (door, found) = door_config(door, default.clone(), None)?;
        let pins_alone = door.ghostunnel && mode == Mode::Tcp;
        let flags = Flags { default, cert_dir, ssl_cert_file, sni_strict, session_tickets, tokens, pins_alone };
        let identities = flags.identities(found, &door.pairs)?;
        if proxy_protocol_mode == ProxyOut::TlsFull && identities.iter().any(|identity| !identity.pins.is_empty()) {
            return Err(Error::request("--proxy-protocol-mode tls-full tells names that nobody vouches for")
                .hint("--allow-spki-pin looks at the key alone; use --proxy-protocol-mode tls"));
        }
        check_server_pairs(&door.pairs, proxy_protocol_mode, unsafe_target)?;
        Ok(Self {
            mode,
            identities,
            policy,
            tickets: session_tickets != Some(Switch::Off),
            strict_names: sni_strict,
            app_check: AppCheck::new(app_check, door.pairs.iter().map(|pair| &pair.target))?,
            proxy_out: proxy_protocol_mode,
            proxy_in: accept_proxy_protocol,
            http: requests.map(|requests| requests.config(&door, &trusted_proxy, many_certificates)).transpose()?,
            door,
            trusted_proxies: trusted_proxy,
        })
    }
}

fn check_server_pairs(pairs: &[Pair], proxy_out: ProxyOut, unsafe_target: bool) -> Result<(), Error> {
    for pair in pairs {
        match pair.starttls {
            StartTls::PostgresDirect => {
                return Err(Error::request("--starttls postgres-direct is for clients")
                    .hint("a server with --starttls postgres takes both forms"));
            }
            StartTls::Ldap | StartTls::Smtp | StartTls::Imap => {
                return Err(Error::request("--starttls ldap, smtp and imap are for clients")
                    .hint("a server takes TLS from the first byte, or speaks postgres or mysql"));
            }
            StartTls::Mysql if matches!(proxy_out, ProxyOut::Tls | ProxyOut::TlsFull) => {
                return Err(Error::request("--proxy-protocol-mode tells of TLS before --starttls mysql has any")
                    .hint("a MySQL server greets first, so only v1 and conn are possible"));
            }
            _ => {}
        }
        if let Some(name) = &pair.server_name {
            return Err(Error::request(format!("server-name={name} is about a client's server"))
                .hint("take it away: a server shows the names of its certificate"));
        }
        if !pair.target.is_local() && !unsafe_target {
            let far = &pair.target;
            return Err(Error::request(format!(
                "--target {far} is not in this pod: the plain bytes would cross the network"
            ))
            .hint("use 127.0.0.1:PORT or unix:PATH, or say --unsafe-target"));
        }
    }
    Ok(())
}

/// What http mode was told, before the flags of both modes are checked.
struct Requests {
    args: HttpArgs,
    /// One for each issuer.
    jwt: Vec<JwtConfig>,
}

impl Requests {
    /// None in tcp mode.
    fn check(
        mode: Mode,
        door: &DoorArgs,
        proxy_out: ProxyOut,
        args: HttpArgs,
        (jwt, issuers): (JwtArgs, Vec<Block>),
    ) -> Result<Option<Self>, Error> {
        if mode == Mode::Tcp {
            let issuer = (!issuers.is_empty()).then_some("--jwt");
            return match args.first_given().or(jwt.first_given()).or(issuer) {
                None => Ok(None),
                Some(flag) => Err(Error::request(format!("{flag} is about requests, and --mode tcp sees none"))
                    .hint("add --mode http, or take the flag away")),
            };
        }
        let databases = door.route.iter().filter_map(|route| route.starttls).chain([door.starttls]);
        if databases.into_iter().any(|protocol| protocol != StartTls::None) {
            return Err(Error::request("--starttls is for databases, which --mode http does not speak")
                .hint("take one of them away"));
        }
        if let Some(route) = door.route.iter().find(|route| !route.alpn.is_empty()) {
            return Err(Error::request(format!("route {} has alpn=, and --mode http chooses it itself", route.name))
                .hint("take alpn= away; --alpn http/1.1 leaves out HTTP/2 for all listeners"));
        }
        if proxy_out != ProxyOut::Off {
            return Err(Error::request(
                "--proxy-protocol-mode tells of one client, and --mode http mixes many on one connection",
            )
            .hint("the app finds the client's address in X-Forwarded-For"));
        }
        let mut configs: Vec<JwtConfig> = JwtConfig::from_args(jwt)?.into_iter().collect();
        for Block(issuer) in issuers {
            let config = JwtConfig::from_args(issuer)?;
            configs.push(
                config.ok_or_else(|| Error::request("--jwt names no issuer").hint("give issuer=URL or preset=NAME"))?,
            );
        }
        Ok(Some(Self { args, jwt: configs }))
    }

    fn config(self, door: &DoorConfig, trusted: &[Network], many_certificates: bool) -> Result<HttpConfig, Error> {
        let shared = crate::http::config::Shared {
            idle_timeout: door.idle_timeout,
            connect_timeout: door.connect_timeout,
            trusted: trusted.to_vec(),
            many_certificates,
            jwt: self.jwt,
        };
        HttpConfig::new(self.args, shared)
    }
}

impl TryFrom<(ClientArgs, SslCertFile)> for ClientConfig {
    type Error = Error;

    fn try_from((args, ssl_cert_file): (ClientArgs, SslCertFile)) -> Result<Self, Error> {
        let ClientArgs {
            door,
            override_server_name,
            disable_authentication,
            ready_check_target,
            verify_cn,
            verify_ou,
            verify_dns,
            verify_uri,
            verify_ip,
            verify_spki_pin,
            unsafe_listen,
            run_connection_test,
            proxy,
            local_cert,
            local_key,
            unix_socket,
            pool_warm,
        } = args;
        let (pair_shown, password) = own(&door)?;
        let local = pair(["--local-cert", "--local-key"], local_cert, local_key)?;
        if disable_authentication
            && (pair_shown.is_some() || door.route.iter().any(|route| route.cert.is_some() || route.keystore.is_some()))
        {
            return Err(Error::request("--disable-authentication contradicts --cert").hint("keep one of them"));
        }
        let rules = Rules {
            cn: verify_cn,
            ou: verify_ou,
            dns: verify_dns,
            uri: verify_uri,
            ip: verify_ip,
            spki_pin: verify_spki_pin,
        };
        check_server_rules(&rules, "")?;
        for route in &door.route {
            check_server_rules(route.server_rules.as_ref().unwrap_or(&rules), &format!("route {}: ", route.name))?;
        }
        let policy = policy(&door)?;
        if let Some(route) = door.route.iter().find(|route| route.access.is_some() || route.client_auth.is_some()) {
            return Err(Error::request(format!("route {} says who is let in, which is for servers", route.name)).hint(
                "take allow- and client-auth= away; servers are checked by --cacert, their name and --verify-...",
            ));
        }
        let default = Identity {
            pair: pair_shown,
            password,
            authorities: door.cacert.clone(),
            revocations: door.crl.clone(),
            alpn: alpn(&door),
            server_rules: rules,
            ..Identity::default()
        };
        let (door, identities) = door_config(door, default, unix_socket)?;
        check_client_pairs(&door.pairs, pool_warm > 0)?;
        if let Some(open) =
            door.pairs.iter().map(|pair| &pair.listen).find(|listen| !listen.is_local() && !unsafe_listen)
        {
            let how = if local.is_some() { "by everybody" } else { "in plain text" };
            return Err(Error::request(format!("--listen {open} is reachable from outside of this pod, {how}"))
                .hint("use 127.0.0.1:PORT or unix:PATH, or say --unsafe-listen"));
        }
        let names = door
            .pairs
            .iter()
            .map(|pair| server_name(pair.server_name.as_deref().or(override_server_name.as_deref()), &pair.target));
        let server_names = names.collect::<Result<_, _>>()?;
        let files = |identity: Identity| {
            let Identity { pair, password, authorities, revocations, alpn, server_rules: rules, .. } = identity;
            let authorities = authorities.or_else(|| ssl_cert_file.clone());
            ClientIdentity { files: kit_tls::client::Files { pair, password, authorities, revocations }, alpn, rules }
        };
        Ok(Self {
            identities: identities.into_iter().map(files).collect(),
            policy,
            local,
            app_check: AppCheck {
                page: None,
                targets: door.pairs.iter().filter(|_| ready_check_target).map(|pair| pair.target.clone()).collect(),
                proxy: proxy.clone(),
            },
            proxy,
            pool_warm: usize::from(pool_warm),
            door,
            server_names,
            test_connections: run_connection_test,
        })
    }
}

/// A pin leaves nothing to other rules; `of` begins the error.
fn check_server_rules(rules: &Rules, of: &str) -> Result<(), Error> {
    let Rules { cn, ou, dns, uri, ip, spki_pin } = rules;
    let others = !(cn.is_empty() && ou.is_empty() && dns.is_empty() && uri.is_empty() && ip.is_empty());
    if !spki_pin.is_empty() && others {
        let (dashes, rules) = if of.is_empty() { ("--", "--verify rules") } else { ("", "verify- rules") };
        return Err(Error::request(format!(
            "{of}{dashes}verify-spki-pin alone decides, so other {rules} would not count"
        ))
        .hint("keep the pin, or the rules"));
    }
    Ok(())
}

fn check_client_pairs(pairs: &[Pair], warm: bool) -> Result<(), Error> {
    let speaks = |protocol: StartTls| pairs.iter().any(|pair| pair.starttls == protocol);
    if warm && speaks(StartTls::Mysql) {
        return Err(Error::request(
            "--pool-warm cannot open MySQL sessions in advance: their TLS begins with the login",
        )
        .hint("take --pool-warm away"));
    }
    Ok(())
}

fn server_name(overridden: Option<&str>, target: &Target) -> Result<ServerName<'static>, Error> {
    let name = match (overridden, target) {
        (Some(name), _) => name,
        (None, Target::Tcp { host, .. }) => host.as_str(),
        (None, Target::Unix(_)) => {
            return Err(Error::request(format!("--target {target} has no server name to verify"))
                .hint("give --override-server-name"));
        }
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::request(format!("{name:?} is no server name")).hint("give a DNS name or an IP address"))
}

fn alpn(door: &DoorArgs) -> Vec<Vec<u8>> {
    door.alpn.iter().map(|name| name.clone().into_bytes()).collect()
}

/// The exit code of a process that SIGTERM ends.
const TERMINATED: u8 = 128 + 15;

/// What both directions have, and the identities that its pairs name.
fn door_config(
    args: DoorArgs,
    identity: Identity,
    unix_socket: Option<PathBuf>,
) -> Result<(DoorConfig, Vec<Identity>), Error> {
    let DoorArgs {
        listen,
        target,
        route,
        // Taken in before the command line was read.
        config: _,
        cert: _,
        key: _,
        keystore: _,
        storepass_file: _,
        storepass: _,
        cacert: _,
        crl: _,
        min_tls_version: _,
        max_tls_version: _,
        cipher_suites: _,
        tls_groups: _,
        require_pq: _,
        alpn: _,
        starttls,
        connect_timeout,
        close_timeout,
        idle_timeout,
        max_conn_lifetime,
        max_concurrent_conns,
        max_conns_action,
        max_conns_per_ip,
        max_handshakes,
        shutdown_delay,
        exit_zero_on_sigterm,
        quiet,
        skip_resolve,
        compat,
        threads,
        admin_listen,
        admin_tls,
        admin_socket,
        quitquitquit,
        timed_reload,
        disable_sandbox,
    } = args;
    if listen.is_empty() && target.is_empty() && route.is_empty() {
        return Err(Error::request("there is nothing to listen on").hint("give --listen and --target, or --route"));
    }
    if connect_timeout.is_zero() {
        return Err(Error::request("--connect-timeout is 0s: every handshake would be too slow")
            .hint("every wait has an end here; give a long time instead, e.g. 24h"));
    }
    let (pairs, identities) = pairs(Typed { listen, target, route, unix_socket, starttls, identity })?;
    let unless_zero = |duration: Duration| (!duration.is_zero()).then_some(duration);
    let ghostunnel = compat == Some(Compat::Ghostunnel);
    let door = DoorConfig {
        pairs,
        connect_timeout,
        close_timeout,
        idle_timeout: unless_zero(idle_timeout),
        max_lifetime: unless_zero(max_conn_lifetime),
        max_connections: usize::try_from(max_concurrent_conns).ok().filter(|most| *most > 0),
        reject_excess: max_conns_action == Excess::Reject,
        limits: Limits { per_client: max_conns_per_ip, handshakes: max_handshakes },
        hush: Hush::new(&quiet),
        signal_code: if exit_zero_on_sigterm { 0 } else { TERMINATED },
        ghostunnel,
        resolve_first: ghostunnel && !skip_resolve,
        shutdown_delay,
        threads: threads.map_or_else(default_threads, |threads| usize::from(threads.get())),
        admin_listen,
        admin_tls,
        admin_socket,
        quitquitquit,
        timed_reload: unless_zero(timed_reload),
        sandbox: !disable_sandbox,
    };
    Ok((door, identities))
}

/// The CPUs of the cgroup's quota or the affinity mask, whichever is less; more than four gain nothing in a sidecar.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(4))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn the_keys_server_is_trusted_by_the_flag_else_by_the_environment() {
        let line = "x server --mode http --listen :9200 --target 127.0.0.1:9201 --cert a --key b --jwt-issuer https://i.example \
                    --jwt-audience app --jwt-jwks-url https://k.example/keys";
        let authorities = |more: &[&str]| {
            let args = Args::try_parse_from(line.split_whitespace().chain(more.iter().copied())).unwrap();
            let Command::Server(args) = args.command else { panic!("a server was asked for") };
            let config = ServerConfig::try_from((*args, Some("/machine.pem".into()))).unwrap();
            config.http.unwrap().jwt.remove(0).authorities
        };
        assert_eq!(authorities(&[]), Some(PathBuf::from("/machine.pem")));
        assert_eq!(authorities(&["--jwt-ca-file", "/own.pem"]), Some(PathBuf::from("/own.pem")));
    }
}
