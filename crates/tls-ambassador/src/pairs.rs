//! Which listener belongs to which target, and what each shows of itself: `--listen` with `--target`, `--route`, `--unix-socket`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kit_run::Error;
use kit_tls::Password;

use crate::access::{Access, Rules};
use crate::args::{ClientAuth, StartTls};
use crate::listen::Listen;
use crate::route::Route;
use crate::target::Target;

/// PostgreSQL's own mode for its sockets: the app in the next container seldom has this one's uid.
const SOCKET_MODE: u32 = 0o777;

/// One listener, where its connections go, and what is said there.
#[derive(Debug, Clone)]
pub struct Pair {
    /// In metrics and logs, instead of the listener's address: a route's name.
    pub name: Option<String>,
    /// Where connections come from.
    pub listen: Listen,
    /// Where they go.
    pub target: Target,
    /// The database's greeting before TLS.
    pub starttls: StartTls,
    /// The server's name, instead of the target's.
    pub server_name: Option<String>,
    /// Which of the identities is shown here.
    pub identity: usize,
}

/// What one side of a listener shows, trusts and lets in. Pairs with equal ones share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain and key; the same file twice for one with both.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Of one file with both.
    pub password: Password,
    /// Who signs the other side's certificates.
    pub authorities: Option<PathBuf>,
    /// Which of them are revoked.
    pub revocations: Option<PathBuf>,
    /// Who is let in; clients have no such rule.
    pub access: Access,
    /// Which servers a client accepts besides chain and name, or the keys that alone decide.
    pub server_rules: Rules,
    /// Whether clients are asked for a certificate, where that was said.
    pub client_auth: Option<ClientAuth>,
    /// Protocols to offer, best first.
    pub alpn: Vec<Vec<u8>>,
}

/// What was typed about pairs.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) listen: Vec<Listen>,
    pub(crate) target: Vec<Target>,
    pub(crate) route: Vec<Route>,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) starttls: StartTls,
    /// What pairs show that do not say it themselves. Its ALPN is what was typed, without a protocol's own.
    pub(crate) identity: Identity,
}

/// All pairs and all identities, each of those once.
///
/// # Errors
/// Listeners without target, a route with half of a certificate, one address or name twice.
pub(crate) fn pairs(typed: Typed) -> Result<(Vec<Pair>, Vec<Identity>), Error> {
    let Typed { listen, target, route, unix_socket, starttls, identity } = typed;
    let mut pairs = Vec::new();
    let mut identities = Vec::new();
    let sockets = unix_socket.map(|folder| sockets(&folder, &target, starttls)).transpose()?.unwrap_or_default();
    let only_sockets = listen.is_empty() && !sockets.is_empty();
    if listen.len() != target.len() && !only_sockets {
        return Err(Error::request(format!("{} --listen and {} --target do not pair", listen.len(), target.len()))
            .hint("give one --target for each --listen, in the same order"));
    }
    let plain = listen.into_iter().chain(sockets).zip(target.iter().cycle());
    for (listen, target) in plain {
        let identity = of(&mut identities, identity.clone(), starttls);
        pairs.push(Pair { name: None, listen, target: target.clone(), starttls, server_name: None, identity });
    }
    for route in route {
        let starttls = route.starttls.unwrap_or(starttls);
        let own = of_route(&route, &identity)?;
        let identity = of(&mut identities, own, starttls);
        let Route { name, listen, target, server_name, .. } = route;
        pairs.push(Pair { name: Some(name), listen, target, starttls, server_name, identity });
    }
    refuse_twice(&pairs)?;
    Ok((pairs, identities))
}

/// A socket for each target, where libpq looks for it: `psql -h FOLDER -p PORT`.
fn sockets(folder: &Path, targets: &[Target], starttls: StartTls) -> Result<Vec<Listen>, Error> {
    if !matches!(starttls, StartTls::Postgres | StartTls::PostgresDirect) {
        return Err(Error::request("--unix-socket names sockets as PostgreSQL does, and --starttls is not postgres")
            .hint("other protocols have no such names: use --listen unix:PATH"));
    }
    let socket = |target: &Target| match target {
        Target::Tcp { port, .. } => {
            Ok(Listen::Unix { path: folder.join(format!(".s.PGSQL.{port}")), mode: SOCKET_MODE })
        }
        Target::Unix(_) => Err(Error::request(format!("--unix-socket has no port to take from --target {target}"))
            .hint("use --listen unix:PATH")),
    };
    targets.iter().map(socket).collect()
}

fn of_route(route: &Route, default: &Identity) -> Result<Identity, Error> {
    let Identity { pair, password, authorities, revocations, access, server_rules, client_auth, alpn } =
        default.clone();
    let pair = match (&route.cert, &route.key, &route.keystore) {
        (None, None, None) => pair,
        (Some(cert), Some(key), None) => Some((cert.clone(), key.clone())),
        (None, None, Some(keystore)) => Some((keystore.clone(), keystore.clone())),
        _ => {
            return Err(Error::request(format!("route {} has half of a certificate, or two", route.name))
                .hint("give cert= and key=, or keystore= alone"));
        }
    };
    let password = match (&route.storepass_file, &route.keystore) {
        (None, _) => password,
        (Some(file), Some(_)) => Password::File(file.clone()),
        (Some(_), None) => {
            return Err(Error::request(format!("route {} has storepass-file= and no keystore=", route.name))
                .hint("the password is that of the route's own keystore; that of --keystore is in --storepass-file"));
        }
    };
    Ok(Identity {
        pair,
        password,
        authorities: route.cacert.clone().or(authorities),
        revocations: route.crl.clone().or(revocations),
        // Whom the flags let in is no business of a route that says it itself, so neither is how they are asked.
        client_auth: route.client_auth.or(client_auth.filter(|_| route.access.is_none())),
        access: route.access.clone().unwrap_or(access),
        server_rules: route.server_rules.clone().unwrap_or(server_rules),
        alpn: if route.alpn.is_empty() { alpn } else { route.alpn.iter().map(|name| name.clone().into()).collect() },
    })
}

/// The place of an identity among all. PostgreSQL's own protocol name is offered without being asked for: libpq insists on
/// it for direct TLS.
fn of(identities: &mut Vec<Identity>, mut identity: Identity, starttls: StartTls) -> usize {
    let postgres = matches!(starttls, StartTls::Postgres | StartTls::PostgresDirect);
    if identity.alpn.is_empty() && postgres {
        identity.alpn.push(b"postgresql".to_vec());
    }
    identities.iter().position(|known| *known == identity).unwrap_or_else(|| {
        identities.push(identity);
        identities.len() - 1
    })
}

fn refuse_twice(pairs: &[Pair]) -> Result<(), Error> {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for pair in pairs {
        if let Some(name) = pair.name.as_ref().filter(|name| !names.insert(name.as_str())) {
            return Err(Error::request(format!("two routes are called {name}")).hint("give each its own name"));
        }
        let chosen_later = matches!(&pair.listen, Listen::Tcp(address) if address.socket_addr().port() == 0);
        if !chosen_later && !addresses.insert(pair.listen.to_string()) {
            return Err(Error::request(format!("{} is listened on twice", pair.listen))
                .hint("one listener has one target; give the other one its own address"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn typed(listen: &[&str], target: &[&str], route: &[&str], unix_socket: Option<&str>) -> Typed {
        Typed {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            target: target.iter().map(|text| text.parse().unwrap()).collect(),
            route: route.iter().map(|text| text.parse().unwrap()).collect(),
            unix_socket: unix_socket.map(PathBuf::from),
            starttls: StartTls::Postgres,
            identity: Identity { pair: Some(("c".into(), "k".into())), ..Identity::default() },
        }
    }

    #[test]
    fn routes_share_what_is_equal_and_have_what_is_theirs() {
        let routes = ["a:listen=:2,target=h:2", "b:listen=:3,target=h:3,starttls=none,cert=x,key=y"];
        let (pairs, identities) = pairs(typed(&[":1"], &["h:1"], &routes, None)).unwrap();
        assert_eq!(pairs.iter().map(|pair| pair.identity).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(identities[0].alpn, [b"postgresql".to_vec()]);
        assert_eq!(identities[1].pair, Some(("x".into(), "y".into())));
        assert_eq!((pairs[2].starttls, identities[1].alpn.len()), (StartTls::None, 0));
    }

    #[test]
    fn a_route_with_a_rule_of_its_own_has_nothing_of_the_flags_rules() {
        let routes = [
            "a:listen=:2,target=h:2,allow-cn=x,crl=/r",
            "b:listen=:3,target=h:3,keystore=/s,storepass-file=/p",
            "c:listen=:4,target=h:4,client-auth=required",
        ];
        let mut typed = typed(&[":1"], &["h:1"], &routes, None);
        typed.identity.access.token = true;
        typed.identity.client_auth = Some(ClientAuth::Optional);
        let (pairs, identities) = pairs(typed).unwrap();
        let of = |pair: usize| &identities[pairs[pair].identity];
        assert_eq!((of(0).access.token, of(0).client_auth), (true, Some(ClientAuth::Optional)));
        assert_eq!(
            (of(1).access.token, of(1).client_auth, of(1).revocations.clone()),
            (false, None, Some("/r".into()))
        );
        assert_eq!((of(2).access.token, &of(2).password), (true, &Password::File("/p".into())));
        assert_eq!((of(3).access.token, of(3).client_auth), (true, Some(ClientAuth::Required)));
    }

    #[test]
    fn sockets_are_named_by_the_ports_of_their_targets() {
        let (pairs, _) = pairs(typed(&[], &["h:5432", "h:5433"], &[], Some("/run/pg"))).unwrap();
        let names: Vec<String> = pairs.iter().map(|pair| format!("{} {}", pair.listen, pair.target)).collect();
        assert_eq!(names, ["unix:/run/pg/.s.PGSQL.5432 h:5432", "unix:/run/pg/.s.PGSQL.5433 h:5433"]);
        let (both, _) = super::pairs(typed(&[":1"], &["h:5432"], &[], Some("/run/pg"))).unwrap();
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn an_address_or_a_name_twice_is_refused() {
        let refused = |typed: Typed| pairs(typed).unwrap_err().to_string();
        assert_eq!(refused(typed(&[":1", ":1"], &["h:1", "h:2"], &[], None)), "0.0.0.0:1 is listened on twice");
        let routes = ["a:listen=:2,target=h:2", "a:listen=:3,target=h:3"];
        assert_eq!(refused(typed(&[], &[], &routes, None)), "two routes are called a");
        let half = ["a:listen=:2,target=h:2,cert=c"];
        assert_eq!(refused(typed(&[], &[], &half, None)), "route a has half of a certificate, or two");
        let lost = ["a:listen=:2,target=h:2,storepass-file=p"];
        assert_eq!(refused(typed(&[], &[], &lost, None)), "route a has storepass-file= and no keystore=");
        assert_eq!(
            refused(typed(&[], &["h:5432", "g:5432"], &[], Some("/run"))),
            "unix:/run/.s.PGSQL.5432 is listened on twice"
        );
    }
}
