//! Options from files: where `POSTHORN_X` is a variable of an option, `POSTHORN_X_FILE` names a file
//! that holds its value, as container engines mount secrets.
//!
//! It is the same for every subcommand and every option. What is given directly wins; a file that
//! cannot be read is refused, by name. A variable that is itself an option's is left to that option.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

const SUFFIX: &str = "_FILE";

/// Parses the command line, with what the environment says and what lies in files.
pub(crate) fn parse<P: Parser>() -> P {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = with_files(P::command(), &arguments, &|name| std::env::var_os(name));
    P::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// The command, whose options have the content of the files as their defaults: those of the
/// subcommand that `arguments` name, for only its files are there.
fn with_files(
    command: Command,
    arguments: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Command {
    let mut known = BTreeSet::new();
    variables_of(&command, &mut known);
    apply(command, arguments, &known, variable)
}

fn variables_of(command: &Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(variable_of));
    command.get_subcommands().for_each(|subcommand| variables_of(subcommand, known));
}

fn variable_of(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_str()?.to_owned())
}

fn apply(
    mut command: Command,
    arguments: &[OsString],
    known: &BTreeSet<String>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Command {
    if let Some((first, rest)) = arguments.split_first()
        && let Some(name) = first.to_str().filter(|name| command.find_subcommand(name).is_some())
    {
        let name = name.to_owned();
        command =
            command.mut_subcommand(name, |subcommand| apply(subcommand, rest, known, variable));
    }
    command.mut_args(|arg| {
        let Some(name) = variable_of(&arg) else { return arg };
        let file = format!("{name}{SUFFIX}");
        if known.contains(&file) || variable(&name).is_some() {
            return arg;
        }
        let Some(path) = variable(&file) else { return arg };
        match std::fs::read_to_string(&path) {
            // Lives as long as the process, like the variable that it stands for.
            Ok(text) => {
                let text: &'static str = Box::leak(text.trim().to_owned().into_boxed_str());
                arg.default_value(text).hide_default_value(true).required(false)
            }
            Err(error) => {
                let reason = format!("{file}: cannot read {}: {error}", path.display());
                Command::new("posthorn").error(ErrorKind::Io, reason).exit()
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Role {
            #[arg(long, env = "POSTHORN_TEST_URL")]
            url: String,
            #[arg(long, env = "POSTHORN_TEST_KEYS")]
            keys: Option<String>,
            #[arg(long, env = "POSTHORN_TEST_KEYS_FILE")]
            keys_file: Option<String>,
        },
        /// Its file is nowhere: it is not asked for.
        Other {
            #[arg(long, env = "POSTHORN_TEST_OTHER")]
            other: String,
        },
    }

    fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> (String, Option<String>) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        };
        let typed: Vec<OsString> = arguments[1..].iter().map(Into::into).collect();
        let command = with_files(<Options as clap::CommandFactory>::command(), &typed, &variable);
        let matches = command.try_get_matches_from(arguments).expect("parses");
        let read = <Options as clap::FromArgMatches>::from_arg_matches(&matches).expect("reads");
        let Sub::Role { url, keys, keys_file } = read.command else { panic!("another command") };
        assert_eq!(keys_file, None);
        (url, keys)
    }

    #[test]
    fn a_file_stands_for_its_variable_and_what_is_given_directly_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        std::fs::write(&path, "postgres://from-file\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        let files = [
            ("POSTHORN_TEST_URL_FILE", path),
            ("POSTHORN_TEST_KEYS_FILE", path),
            ("POSTHORN_TEST_OTHER_FILE", "/nowhere"),
        ];
        // The keys' file has an option of its own, which reads it.
        let expected = ("postgres://from-file".to_owned(), None);
        assert_eq!(parsed(&["posthorn", "role"], &files), expected);
        let (url, _) = parsed(&["posthorn", "role", "--url", "postgres://typed"], &files);
        assert_eq!(url, "postgres://typed");
        // The file of a variable that is set itself is not even read.
        let both = [("POSTHORN_TEST_URL", "set"), ("POSTHORN_TEST_URL_FILE", "/nowhere")];
        let (url, _) = parsed(&["posthorn", "role", "--url", "postgres://typed"], &both);
        assert_eq!(url, "postgres://typed");
    }
}
