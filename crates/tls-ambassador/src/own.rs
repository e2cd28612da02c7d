//! Which files hold the own certificate and key.

use std::path::PathBuf;

use kit_run::{Context, Error};
use kit_tls::Password;

use crate::args::{DoorArgs, Secret};

/// Certificate and key; the same file twice for a keystore.
pub(crate) type Pair = (PathBuf, PathBuf);

/// What `--cert`, `--key`, `--keystore` and its password say.
///
/// # Errors
/// Half of a pair, two certificates or two passwords.
pub(crate) fn own(door: &DoorArgs) -> Result<(Option<Pair>, Password), Error> {
    let password = match (&door.storepass_file, &door.storepass) {
        (None, None) => Password::Empty,
        (Some(path), None) => Password::File(path.clone()),
        (None, Some(Secret(text))) => Password::Text(text.clone()),
        (Some(_), Some(_)) => {
            return Err(Error::request("--storepass and --storepass-file are two passwords").hint("keep the file"));
        }
    };
    let routed = door.route.iter().any(|route| route.keystore.is_some());
    match (&door.keystore, door.cert.is_some() || door.key.is_some()) {
        (Some(_), true) => {
            Err(Error::request("--keystore holds certificate and key, and --cert or --key is there too")
                .hint("keep the keystore, or the pair"))
        }
        (Some(path), false) => Ok((Some((path.clone(), path.clone())), password)),
        (None, _) if password != Password::Empty && !routed => {
            Err(Error::request("there is a password and no --keystore").hint("PEM keys under a password are not read"))
        }
        (None, _) => Ok((pair(["--cert", "--key"], door.cert.clone(), door.key.clone())?, password)),
    }
}

/// Says that a password on the command line is no secret; one from a variable is not there.
pub(crate) fn warn_of_typed(cx: &Context, door: &DoorArgs) {
    let variables = ["TLS_AMBASSADOR_STOREPASS", "KEYSTORE_PASS"];
    if door.storepass.is_some() && variables.iter().all(|name| cx.env(name).is_none()) {
        tracing::warn!("a typed --storepass is seen by everybody on this machine: prefer --storepass-file");
    }
}

/// Both or none.
///
/// # Errors
/// Half of a pair.
pub(crate) fn pair(
    [cert_flag, key_flag]: [&str; 2],
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<Pair>, Error> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(Error::request(format!("{cert_flag} without {key_flag}")).hint("give the certificate's private key"))
        }
        (None, Some(_)) => {
            Err(Error::request(format!("{key_flag} without {cert_flag}")).hint("give the key's certificate"))
        }
    }
}
