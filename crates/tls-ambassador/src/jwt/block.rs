//! One issuer of several, on one line: `issuer=https://login.example.org,audience=app,require=groups=ops`.
//!
//! The keys are the names of the `--jwt-*` flags without that beginning, and mean what those mean; a key that may stand several
//! times is a repeated flag. A switch is `forward=true` or only `forward`. A value with a comma stands in double quotes.

use std::str::FromStr;

use clap::{ArgAction, Args, Command, FromArgMatches};

use super::args::JwtArgs;
use crate::keyed;

/// The values of one issuer, as typed.
#[derive(Debug, Clone)]
pub struct Block(pub JwtArgs);

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Block, String> {
        let command = JwtArgs::augment_args(Command::new("jwt").disable_help_flag(true).no_binary_name(true));
        let mut argv = Vec::new();
        for (key, value) in keyed::split(text)? {
            let (key, value) = (key.as_str(), value.as_deref());
            let flag = format!("jwt-{key}");
            let known = command.get_arguments().find(|argument| argument.get_long() == Some(&flag));
            let is_switch = matches!(known.ok_or_else(|| unknown(key, &command))?.get_action(), ArgAction::SetTrue);
            match (is_switch, value) {
                (true, None | Some("true")) => argv.push(format!("--{flag}")),
                (true, Some("false")) => {}
                (true, Some(value)) => return Err(format!("{key} is true or false and not {value:?}")),
                (false, Some(value)) => argv.push(format!("--{flag}={value}")),
                (false, None) => return Err(format!("{key} has no value; write {key}=VALUE")),
            }
        }
        let matches = command.try_get_matches_from(argv);
        let args = matches.and_then(|matches| JwtArgs::from_arg_matches(&matches));
        args.map(Block).map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        })
    }
}

fn unknown(key: &str, command: &Command) -> String {
    let keys: Vec<&str> =
        command.get_arguments().filter_map(|argument| argument.get_long()?.strip_prefix("jwt-")).collect();
    format!("{key:?} is no key of an issuer; there are {}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::jwt::JwtConfig;

    #[test]
    fn keys_are_the_flags_of_one_issuer() {
        let line =
            "issuer=https://a.example,audience=x,audience=y,require=email=*@a.example,forward,allow-missing=false";
        let config = JwtConfig::from_args(line.parse::<Block>().unwrap().0).unwrap().unwrap();
        assert_eq!(
            (config.issuer(), config.rules.audiences.as_slice()),
            ("https://a.example", &["x".into(), "y".into()][..])
        );
        assert_eq!(config.rules.required[0].pattern, "*@a.example");
        assert!(config.forward && !config.allow_missing);
        let quoted: Block = "issuer=https://a.example,audience=x,require=\"groups=a, b\"".parse().unwrap();
        assert_eq!(quoted.0.jwt_require[0].pattern, "a, b");
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        for (line, error) in [
            ("issuer", "issuer has no value; write issuer=VALUE"),
            ("forward=perhaps", "forward is true or false and not \"perhaps\""),
            (
                "alg=HS256",
                "invalid value 'HS256' for '--jwt-alg <ALG>': \"HS256\" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA",
            ),
            ("issuer=a,issuer=b", "the argument '--jwt-issuer <ISSUER>' cannot be used multiple times"),
        ] {
            assert_eq!(line.parse::<Block>().unwrap_err(), error);
        }
        let unknown = "isuer=a".parse::<Block>().unwrap_err();
        assert!(
            unknown.starts_with("\"isuer\" is no key of an issuer; there are preset, issuer, audience, "),
            "{unknown}"
        );
    }
}
