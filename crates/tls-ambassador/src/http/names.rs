//! Header names: which ones this proxy acts on, and which ones a client may never send through it.
//!
//! Names are compared without regard to case and with `_` taken for `-`, since CGI, WSGI and their kin cannot tell
//! `X_Forwarded_User` from `X-Forwarded-User` (CVE-2025-64484). A name that only *looks* like one that frames the
//! message (`Content_Length`) is [`Class::Disguised`] and refused: some server behind us may believe it.

pub use kit_http::framing::is_token;

/// What a header is to this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Host, which says what is asked for.
    Host,
    /// Content-Length.
    ContentLength,
    /// Transfer-Encoding.
    TransferEncoding,
    /// Connection.
    Connection,
    /// Upgrade.
    Upgrade,
    /// Expect.
    Expect,
    /// Meant for the next hop only: never passed on.
    HopByHop,
    /// Trailer: announces a section behind the body, which is looked at by itself.
    Trailer,
    /// Says where the request came from; ours to say unless the peer is trusted.
    Forwarding,
    /// A framing name written with underscores.
    Disguised,
    /// Passed on, unless a [`NameSet`] has it.
    Other,
}

/// The class of the header called `name`.
pub fn classify(name: &[u8]) -> Class {
    // As nearly everybody writes what nearly every message has.
    match name {
        b"Host" | b"host" => return Class::Host,
        b"Content-Length" | b"content-length" => return Class::ContentLength,
        _ => {}
    }
    let is = |known: &str| same_name(name, known.as_bytes());
    match name.len() {
        2 if is("te") => Class::HopByHop,
        4 if is("host") => Class::Host,
        6 if is("expect") => Class::Expect,
        7 if is("upgrade") => Class::Upgrade,
        7 if is("trailer") => Class::Trailer,
        9 if is("x-real-ip") => Class::Forwarding,
        9 if is("forwarded") => Class::Forwarding,
        10 if is("connection") => Class::Connection,
        10 if is("keep-alive") => Class::HopByHop,
        14 if is("content-length") => exactly(name, Class::ContentLength),
        14 if is("http2-settings") => Class::HopByHop,
        15 if is("x-forwarded-for") => Class::Forwarding,
        16 if is("x-forwarded-host") || is("x-forwarded-port") => Class::Forwarding,
        16 if is("proxy-connection") => Class::HopByHop,
        17 if is("transfer-encoding") => exactly(name, Class::TransferEncoding),
        17 if is("x-forwarded-proto") => Class::Forwarding,
        18 if is("proxy-authenticate") => Class::HopByHop,
        19 if is("proxy-authorization") => Class::HopByHop,
        _ => Class::Other,
    }
}

fn exactly(name: &[u8], class: Class) -> Class {
    if name.contains(&b'_') { Class::Disguised } else { class }
}

/// Whether `name` is `known` (lower case, hyphens) for a server that folds case and underscores.
pub fn same_name(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && name.iter().zip(known).all(|(byte, known)| fold(*byte) == *known)
}

fn fold(byte: u8) -> u8 {
    FOLDED[usize::from(byte)]
}

const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0;
    while byte < folded.len() {
        folded[byte] = if byte == b'_' as usize { b'-' } else { (byte as u8).to_ascii_lowercase() };
        byte += 1;
    }
    folded
};

/// Names and name prefixes, for one quick "is this among them".
#[derive(Debug, Clone)]
pub struct NameSet {
    exact: Vec<Box<[u8]>>,
    prefixes: Vec<Box<[u8]>>,
    /// Bit `letter - b'a'`: some entry begins with that letter.
    letters: u32,
}

/// What clients could use to pose as somebody; stripped from every request. A final `*` stands for any ending.
const IDENTITY: &[&str] = &[
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-*",
    "x-remote-user",
    "x-remote-group",
    "x-remote-groups",
    "x-remote-extra-*",
    "remote-user",
    "x-webauth-user",
    "x-client-cn",
    "x-client-subject",
    "x-client-verify",
    "x-client-cert*",
    "x-ssl-client-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-jwt-assertion",
    // Not an identity, but CGI makes it the variable HTTP_PROXY, which an app believes (CVE-2016-5385).
    "proxy",
];

impl NameSet {
    /// The identity headers of the tool's contract and `more`, which may end in `*`.
    pub fn identity<'a>(more: impl IntoIterator<Item = &'a str>) -> NameSet {
        let mut set = NameSet { exact: Vec::new(), prefixes: Vec::new(), letters: 0 };
        for name in IDENTITY.iter().copied().chain(more) {
            set.insert(name);
        }
        set
    }

    /// Takes `name` out again, except where a prefix covers it.
    pub fn remove(&mut self, name: &str) {
        self.exact.retain(|known| !same_name(name.as_bytes(), known));
    }

    /// Takes `name` in, which may end in `*`.
    pub fn insert(&mut self, name: &str) {
        let (name, list) = match name.strip_suffix('*') {
            Some(prefix) => (prefix, &mut self.prefixes),
            None => (name, &mut self.exact),
        };
        let folded: Box<[u8]> = name.bytes().map(fold).collect();
        self.letters |= folded.first().map_or(u32::MAX, |first| letter(*first));
        list.push(folded);
    }

    /// Whether `name` is one of them, case and underscores folded.
    pub fn contains(&self, name: &[u8]) -> bool {
        // Most headers leave here: few names of browsers and clients begin with x or r.
        let Some(first) = name.first() else { return false };
        if self.letters & letter(fold(*first)) == 0 {
            return false;
        }
        self.exact.iter().any(|known| same_name(name, known))
            || self.prefixes.iter().any(|known| name.get(..known.len()).is_some_and(|start| same_name(start, known)))
    }
}

/// One bit for a letter, one shared bit for all else.
fn letter(byte: u8) -> u32 {
    if byte.is_ascii_lowercase() { 1 << (byte - b'a') } else { 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j25_every_spelling_of_an_identity_header_is_found() {
        let set = NameSet::identity(["X-Tenant", "x-corp-*"]);
        for name in [
            "X-Forwarded-User",
            "x_forwarded_user",
            "X-AUTH-REQUEST-USER",
            "x_auth_request_anything",
            "X_Remote-Extra_scopes",
            "Remote_User",
            "X-Client-Cert-Chain",
            "X-SSL-Client-CN",
            "x-goog-iap-jwt-assertion",
            "x_tenant",
            "X-Corp-Role",
            "Proxy",
        ] {
            assert!(set.contains(name.as_bytes()), "{name}");
        }
        for name in ["X-Forwarded-Users", "X-Request-Id", "Remote", "X-Auth-Request", "User-Agent", "", "x-client-c"] {
            assert!(!set.contains(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn framing_names_with_underscores_are_disguised() {
        for (name, class) in [
            ("Content-Length", Class::ContentLength),
            ("content_length", Class::Disguised),
            ("TRANSFER-ENCODING", Class::TransferEncoding),
            ("Transfer_Encoding", Class::Disguised),
            ("hOsT", Class::Host),
            ("Keep_Alive", Class::HopByHop),
            ("TE", Class::HopByHop),
            ("X_Forwarded_For", Class::Forwarding),
            ("Accept", Class::Other),
        ] {
            assert_eq!(classify(name.as_bytes()), class, "{name}");
        }
    }
}
