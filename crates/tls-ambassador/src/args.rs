//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use kit_tls::rustls::{CipherSuite, NamedGroup};
use kit_units::{ListenAddress, duration};

use crate::access::{UriPattern, spki_pin};
use crate::listen::Listen;
use crate::proxy::Proxy;
use crate::route::Route;
use crate::target::Target;

/// The pod's TLS door: TLS in front of a plain local port, or a plain local port in front of TLS.
#[derive(Debug, Clone, Parser)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Accept TLS and hand the plain bytes to an app in this pod
    Server(Box<ServerArgs>),
    /// Accept plain connections from this pod and carry them to a TLS server
    Client(Box<ClientArgs>),
    /// Read the flags and files of a server or client, say what is wrong with them, open nothing
    #[command(subcommand)]
    Check(CheckCommand),
    /// Wait until the ambassador of this pod is ready; exit 124 when it does not become so
    Wait(WaitArgs),
    /// Ask the ambassador of this pod once, for exec probes
    Healthcheck(ProbeArgs),
    /// Tell the ambassador of this pod to finish and exit 0; it needs --quitquitquit
    Shutdown(ShutdownArgs),
    /// Print the version
    Version,
}

/// What to check.
#[derive(Debug, Clone, Subcommand)]
pub enum CheckCommand {
    /// The flags of `server`
    Server(Box<ServerArgs>),
    /// The flags of `client`
    Client(Box<ClientArgs>),
}

/// `wait`
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    /// Where the running ambassador answers, as given to it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9091")]
    pub admin_listen: ListenAddress,

    /// Whether it speaks TLS there
    #[command(flatten)]
    pub tls: AdminTlsArgs,

    /// Give up after this time
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub max: Duration,
}

/// `healthcheck`
#[derive(Debug, Clone, clap::Args)]
pub struct ProbeArgs {
    /// What to ask
    #[command(flatten)]
    pub question: kit_admin::HealthcheckArgs,

    /// Whether it speaks TLS there
    #[command(flatten)]
    pub tls: AdminTlsArgs,
}

/// `shutdown`
#[derive(Debug, Clone, clap::Args)]
pub struct ShutdownArgs {
    /// Where the running ambassador answers, as given to it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9091")]
    pub admin_listen: ListenAddress,

    /// Whether it speaks TLS there
    #[command(flatten)]
    pub tls: AdminTlsArgs,
}

/// How a running ambassador is known that was given --admin-tls.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminTlsArgs {
    /// Ask over TLS, of an ambassador with --admin-tls; it must show the public key of --cert or --keystore
    #[arg(long)]
    pub admin_tls: bool,

    /// The running ambassador's --cert, or its --local-cert; the key is not needed
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// The running ambassador's --keystore
    #[arg(long, value_name = "FILE")]
    pub keystore: Option<PathBuf>,

    /// File whose first line is the password of that
    #[arg(long, value_name = "FILE")]
    pub storepass_file: Option<PathBuf>,
}

/// What both directions have.
#[derive(Debug, Clone, clap::Args)]
pub struct DoorArgs {
    /// Accept here, e.g. :9200, 127.0.0.1:5432 or unix:/run/s.sock[,mode=0660]; repeatable, each needs its --target
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<Listen>,

    /// Connect there, HOST:PORT or unix:PATH; the first --target belongs to the first --listen, and so on
    #[arg(long, value_name = "ADDR")]
    pub target: Vec<Target>,

    /// A listener with values of its own, NAME:listen=ADDR,target=ADDR and more keys: mode, starttls, cert, key, keystore, storepass-file, cacert, crl,
    /// alpn, server-name, client-auth, disable-authentication, allow-all, allow-token, allow-cn and its kind, verify-cn and its kind; commas in "..."; repeatable
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<Route>,

    /// Take flags from this TOML file: the same names without dashes, a route table for each route; variables and typed flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Own certificate chain in PEM, leaf first; reloaded when it changes
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// Private key of --cert in PEM
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Certificate and key in one file, PKCS#12 or PEM, instead of --cert and --key
    #[arg(long, value_name = "FILE")]
    pub keystore: Option<PathBuf>,

    /// File whose first line is the password of PKCS#12 keystores; followed too
    #[arg(long, value_name = "FILE")]
    pub storepass_file: Option<PathBuf>,

    /// The password itself; typed, everybody sees it in the list of processes, so prefer --storepass-file
    #[arg(long, value_name = "TEXT")]
    pub storepass: Option<Secret>,

    /// Authorities whose certificates are trusted, in PEM; a client without it trusts the public ones
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Revocation lists in PEM; a peer whose issuer has none in it is refused
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,

    /// Oldest version of TLS that is spoken
    #[arg(long, value_name = "VERSION", default_value = "TLS1.2")]
    pub min_tls_version: TlsVersion,

    /// Newest version of TLS that is spoken
    #[arg(long, value_name = "VERSION", default_value = "TLS1.3")]
    pub max_tls_version: TlsVersion,

    /// Cipher suites to speak, best first: rustls' or IANA's names, AES and CHACHA for all of a cipher; separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = suites)]
    pub cipher_suites: Vec<Suites>,

    /// Key exchanges to speak, best first, separated by commas; unless given X25519MLKEM768,X25519,P-256,P-384
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = kit_tls::group)]
    pub tls_groups: Vec<NamedGroup>,

    /// Refuse peers without the post-quantum key exchange X25519MLKEM768
    #[arg(long)]
    pub require_pq: bool,

    /// Protocols to offer in TLS (ALPN), best first; repeatable, or separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = protocol)]
    pub alpn: Vec<String>,

    /// Talk the database's own greeting before TLS; a peer that declines TLS is disconnected
    #[arg(long, value_name = "PROTOCOL", default_value = "none")]
    pub starttls: StartTls,

    /// Time for a TLS handshake, and for reaching the target
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Time without any byte after one side has ended, then the other is closed too
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub close_timeout: Duration,

    /// Close connections without any byte for this long; 0s keeps them
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Close connections that are older than this; 0s keeps them
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub max_conn_lifetime: Duration,

    /// Accept no more connections than this at once; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_concurrent_conns: u32,

    /// What becomes of connections beyond --max-concurrent-conns
    #[arg(long, value_name = "ACTION", default_value = "wait")]
    pub max_conns_action: Excess,

    /// Close further connections of a client address (IPv6: of its /64) with this many open ones; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_conns_per_ip: u32,

    /// TLS handshakes at once; beyond it those that take longer than 1s are ended, oldest first; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_handshakes: u32,

    /// After SIGTERM: not ready at once, but accept for this long before draining
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// Exit 0 after an orderly end that SIGTERM or SIGINT asked for; false makes it 143
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub exit_zero_on_sigterm: bool,

    /// Say nothing of this in the log; repeatable
    #[arg(long, value_name = "WHAT")]
    pub quiet: Vec<Quiet>,

    /// Start although a target's name does not resolve, as it always does; --compat=ghostunnel asks for it
    #[arg(long)]
    pub skip_resolve: bool,

    /// Behave as that program where the two differ; chosen by the program's name too
    #[arg(long, value_name = "PROGRAM")]
    pub compat: Option<Compat>,

    /// Worker threads; the CPUs that the cgroup grants, at most 4, unless given
    #[arg(long, value_name = "N")]
    pub threads: Option<std::num::NonZeroU16>,

    /// Serve /livez, /readyz, /startupz and /metrics here
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9091")]
    pub admin_listen: ListenAddress,

    /// Speak TLS on --admin-listen, with --cert and without asking for certificates
    #[arg(long)]
    pub admin_tls: bool,

    /// Serve the same on this unix socket too
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,

    /// Let POST /quitquitquit (and /_shutdown) on --admin-listen, from loopback only, end the process in order (for Jobs)
    #[arg(long)]
    pub quitquitquit: bool,

    /// Read all files again this often besides following them; 0s does not
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub timed_reload: Duration,

    /// Do not give up the right to read other files (landlock) and to make other system calls (seccomp) at the start
    #[arg(long)]
    pub disable_sandbox: bool,
}

/// `server`
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// How to carry what is inside TLS
    #[arg(long, value_name = "MODE", default_value = "tcp")]
    pub mode: Mode,

    /// Listeners, files and times
    #[command(flatten)]
    pub door: DoorArgs,

    /// More certificates, chosen by the names in them: NAME.crt + NAME.key, NAME.pem, or folders with tls.crt + tls.key
    #[arg(long, value_name = "DIR", help_heading = "Certificates")]
    pub cert_dir: Option<PathBuf>,

    /// Refuse clients that ask for a server name without certificate, instead of showing them --cert
    #[arg(long, help_heading = "Certificates")]
    pub sni_strict: bool,

    /// Session tickets, which save the next handshake; on, but off where clients show certificates: a ticket would outlive a rule
    #[arg(long, value_name = "WHEN", help_heading = "Certificates")]
    pub session_tickets: Option<Switch>,

    /// Let everybody in without a certificate
    #[arg(long, help_heading = "Access")]
    pub disable_authentication: bool,

    /// Let in every certificate that --cacert signed
    #[arg(long, help_heading = "Access")]
    pub allow_all: bool,

    /// Let in certificates with this common name; repeatable, as are all rules: one that matches is enough
    #[arg(long, value_name = "CN", value_parser = name, help_heading = "Access")]
    pub allow_cn: Vec<String>,

    /// Let in certificates with this organizational unit
    #[arg(long, value_name = "OU", value_parser = name, help_heading = "Access")]
    pub allow_ou: Vec<String>,

    /// Let in certificates with this DNS name
    #[arg(long, value_name = "NAME", value_parser = name, help_heading = "Access")]
    pub allow_dns: Vec<String>,

    /// Let in certificates with this URI; * is one segment, a last ** the rest
    #[arg(long, value_name = "PATTERN", help_heading = "Access")]
    pub allow_uri: Vec<UriPattern>,

    /// Let in certificates with this IP address
    #[arg(long, value_name = "IP", help_heading = "Access")]
    pub allow_ip: Vec<IpAddr>,

    /// Let in certificates with this public key: sha256:HEX or sha256/BASE64
    #[arg(long, value_name = "PIN", value_parser = spki_pin, help_heading = "Access")]
    pub allow_spki_pin: Vec<[u8; 32]>,

    /// Ask clients for a certificate; required with an allow rule, else none
    #[arg(long, value_name = "WHEN", help_heading = "Access")]
    pub client_auth: Option<ClientAuth>,

    /// Let --target be outside of the pod, where everybody on the way can read the plain bytes
    #[arg(long)]
    pub unsafe_target: bool,

    /// Tell the target who connects, before the first byte, by the PROXY protocol
    #[arg(long, value_name = "FORM", default_value = "off", help_heading = "PROXY protocol")]
    pub proxy_protocol_mode: ProxyOut,

    /// Expect the PROXY protocol before TLS
    #[arg(long, value_name = "FORM", default_value = "off", help_heading = "PROXY protocol")]
    pub accept_proxy_protocol: ProxyIn,

    /// Who may send it: addresses like 10.0.0.0/8; needed with --accept-proxy-protocol, repeatable
    #[arg(long, value_name = "CIDR", help_heading = "PROXY protocol")]
    pub trusted_proxy: Vec<crate::proxy_protocol::Network>,

    /// Readiness
    #[command(flatten)]
    pub app_check: crate::app_check::AppCheckArgs,

    /// Http mode
    #[command(flatten)]
    pub http: crate::http::HttpArgs,

    /// Tokens
    #[command(flatten)]
    pub jwt: crate::jwt::JwtArgs,

    /// One more issuer with values of its own, under the names of these flags without --jwt-: issuer=URL,audience=NAME[,...]; repeatable
    #[arg(long = "jwt", value_name = "ISSUER", help_heading = "JWT (http mode)")]
    pub issuers: Vec<crate::jwt::block::Block>,
}

/// `client`
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// Listeners, files and times
    #[command(flatten)]
    pub door: DoorArgs,

    /// Ask for and verify this server name instead of the target's
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub override_server_name: Option<String>,

    /// Send no certificate; the server is verified all the same
    #[arg(long, help_heading = "Server")]
    pub disable_authentication: bool,

    /// Not ready unless every --target takes a connection; tried every second
    #[arg(long, help_heading = "Readiness")]
    pub ready_check_target: bool,

    /// Reach the targets through this proxy: http://HOST:PORT (CONNECT) or socks5://HOST:PORT, with USER:PASSWORD@ before HOST where it wants that; names are resolved there
    #[arg(long, value_name = "URL")]
    pub proxy: Option<Proxy>,

    /// Speak TLS on the local side too, with this certificate chain in PEM, as the database asks for it or (ldap, smtp, imap) from the first byte; reloaded when it changes
    #[arg(long, value_name = "FILE", help_heading = "Local side")]
    pub local_cert: Option<PathBuf>,

    /// Private key of --local-cert in PEM
    #[arg(long, value_name = "FILE", help_heading = "Local side")]
    pub local_key: Option<PathBuf>,

    /// Listen on DIR/.s.PGSQL.PORT for each --target, where libpq looks when it is given DIR as host
    #[arg(long, value_name = "DIR", help_heading = "Local side")]
    pub unix_socket: Option<PathBuf>,

    /// Keep this many sessions to each target open in advance, so that a connection waits for no handshake
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub pool_warm: u16,

    /// Besides chain and name, the server's certificate must have this common name; repeatable, one rule is enough
    #[arg(long, value_name = "CN", value_parser = name, help_heading = "Server")]
    pub verify_cn: Vec<String>,

    /// ... or this organizational unit
    #[arg(long, value_name = "OU", value_parser = name, help_heading = "Server")]
    pub verify_ou: Vec<String>,

    /// ... or this DNS name
    #[arg(long, value_name = "NAME", value_parser = name, help_heading = "Server")]
    pub verify_dns: Vec<String>,

    /// ... or this URI; * is one segment, a last ** the rest
    #[arg(long, value_name = "PATTERN", help_heading = "Server")]
    pub verify_uri: Vec<UriPattern>,

    /// ... or this IP address
    #[arg(long, value_name = "IP", help_heading = "Server")]
    pub verify_ip: Vec<IpAddr>,

    /// The server's public key, sha256:HEX or sha256/BASE64, alone decides: chain, name and dates do not count
    #[arg(long, value_name = "PIN", value_parser = spki_pin, help_heading = "Server")]
    pub verify_spki_pin: Vec<[u8; 32]>,

    /// Let --listen be reachable from outside of the pod, where everybody may use the tunnel
    #[arg(long)]
    pub unsafe_listen: bool,

    /// Before serving, open one session to every target and exit 1 when one fails
    #[arg(long)]
    pub run_connection_test: bool,
}

/// A name of ALPN, without the blanks that stand beside commas.
fn protocol(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("a protocol has a name, such as h2"),
        name if name.len() > 255 => Err("a protocol's name has 255 bytes at most"),
        name => Ok(name.to_owned()),
    }
}

/// A name in a rule. An empty one is a variable that was never set, and some certificates have empty names.
fn name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("an empty name is no rule") } else { Ok(text.to_owned()) }
}

/// How a server carries what is inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// As bytes
    Tcp,
    /// As HTTP/1.1 and HTTP/2 requests, each judged and passed on
    Http,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TlsVersion {
    /// 1.2
    #[value(name = "TLS1.2")]
    Tls12,
    /// 1.3
    #[value(name = "TLS1.3")]
    Tls13,
}

/// What is said in plain text before TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartTls {
    /// Nothing: TLS from the first byte
    None,
    /// PostgreSQL's SSLRequest; a server also takes TLS from the first byte, as sslnegotiation=direct does
    Postgres,
    /// PostgreSQL 17's TLS from the first byte, with ALPN postgresql (client only)
    PostgresDirect,
    /// MySQL's and MariaDB's SSLRequest after the greeting
    Mysql,
    /// LDAP's StartTLS operation (client only)
    Ldap,
    /// SMTP's STARTTLS (client only)
    Smtp,
    /// IMAP's STARTTLS (client only)
    Imap,
}

/// What becomes of connections beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Excess {
    /// They are accepted as soon as another one ends
    Wait,
    /// They are closed at once
    Reject,
}

/// What is left out of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Quiet {
    /// Everything but the error that ends the process
    All,
    /// Connections that open and close
    Conns,
    /// Targets that cannot be reached, and connections that break
    ConnErrs,
    /// Handshakes that fail
    HandshakeErrs,
}

/// Programs whose ways can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// <https://github.com/ghostunnel/ghostunnel>
    Ghostunnel,
}

/// Text that logs do not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// The suites that one name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suites(pub Vec<CipherSuite>);

fn suites(name: &str) -> Result<Suites, String> {
    kit_tls::suites(name).map(Suites)
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is
    On,
    /// It is not
    Off,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// They are not
    None,
    /// They may have none
    Optional,
    /// Without one there is no connection
    Required,
}

/// How the target is told who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyOut {
    /// Not at all
    Off,
    /// One line of text
    V1,
    /// Version 2: the addresses
    Conn,
    /// Version 2: also TLS version, ALPN and server name
    Tls,
    /// Version 2: also the client certificate and its common name
    TlsFull,
}

/// Which PROXY headers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyIn {
    /// None
    Off,
    /// The line of text
    V1,
    /// The binary form
    V2,
    /// Either
    Any,
}
