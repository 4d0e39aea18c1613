//! A whole stack for tests, run by `posthorn up` on ports of its own.
//!
//! It is a child of a thread that lives as long as the test process and is killed with it, so a
//! test that panics leaves nothing running.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{Api, Traces, until};

/// Of a lab's folder; then the process that made it.
const PREFIX: &str = "posthorn-lab-";
/// A cold machine downloads and unpacks the parts first.
const START_LIMIT: Duration = Duration::from_secs(600);

/// A running stack.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    // Removed with the lab; none when the caller brought the directory.
    _temporary: Option<TempDir>,
    child: Child,
}

impl Lab {
    /// Starts a stack in a directory of its own.
    ///
    /// # Errors
    /// When it is not ready in time; the error has the end of its output.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts the parts alone: PostgreSQL, Kafka and Restate.
    ///
    /// # Errors
    /// When they are not ready in time.
    pub async fn start_parts() -> anyhow::Result<Self> {
        Self::start_anew(&[], &["--no-roles"]).await
    }

    /// The same with more variables in its environment.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_with(variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_anew(variables, &[]).await
    }

    async fn start_anew(variables: &[(&str, &str)], options: &[&str]) -> anyhow::Result<Self> {
        let (temporary, dir) = state_dir()?;
        let mut lab = Self::start_in_with(&dir, variables, options).await?;
        lab._temporary = Some(temporary);
        Ok(lab)
    }

    /// Starts a stack in `dir`, on what is there.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_in(dir: &Path) -> anyhow::Result<Self> {
        Self::start_in_with(dir, &[], &[]).await
    }

    async fn start_in_with(
        dir: &Path,
        variables: &[(&str, &str)],
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let child = spawn(dir, variables, options)?;
        let mut lab = Self { dir: dir.to_owned(), _temporary: None, child };
        lab.is_ready_in_time()
            .await
            .with_context(|| format!("its output ends with:\n{}", lab.output_tail()))?;
        Ok(lab)
    }

    /// Waits until it is ready, and no longer than it runs.
    async fn is_ready_in_time(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while let Err(why) = self.is_ready() {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "`up` has ended, {ended:?}, before it was ready: {why:#}");
            ensure!(Instant::now() < deadline, "not ready after {START_LIMIT:?}: {why:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn is_ready(&self) -> anyhow::Result<()> {
        let status = self.status()?;
        // `posthorn exec` becomes `posthorn up`, so the pid is the same.
        ensure!(status.pid == self.child.id(), "status.json is an older stack's");
        ensure!(status.ready, "not ready");
        Ok(())
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `status.json` says now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn status(&self) -> anyhow::Result<stack::Status> {
        Ok(stack::Status::read(&self.dir)?)
    }

    /// The ports of this stack.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ports(&self) -> anyhow::Result<stack::Ports> {
        let text = std::fs::read_to_string(self.dir.join("ports.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A client of its JSON front.
    ///
    /// # Errors
    /// When its ports cannot be read.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(&format!("http://127.0.0.1:{}", self.ports()?.http))
    }

    /// What shows its traces.
    ///
    /// # Errors
    /// When its ports cannot be read.
    pub fn traces(&self) -> anyhow::Result<Traces> {
        Traces::new(self.ports()?.traces)
    }

    /// The URL of PostgreSQL.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn database_url(&self) -> anyhow::Result<String> {
        let variables = std::fs::read_to_string(self.dir.join("environment"))?;
        let value = variables.lines().find_map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            line.strip_prefix("POSTHORN_DATABASE_URL=").map(|url| url.trim_matches(['\'', '"']))
        });
        Ok(value.context("no POSTHORN_DATABASE_URL in the environment file")?.to_owned())
    }

    /// Kills the service `name` with -9 and waits until another process is ready in its place.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn kill(&self, name: &str) -> anyhow::Result<()> {
        let service = |status: &stack::Status| {
            status.services.iter().find(|service| service.name == name).cloned()
        };
        let before = service(&self.status()?).with_context(|| format!("no service {name}"))?;
        let pid = before.pid.with_context(|| format!("{name} has no pid"))?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        until(&format!("{name} is back"), Duration::from_secs(60), async || {
            let now = service(&self.status()?).context("gone from status.json")?;
            ensure!(now.pid.is_some_and(|now| now != pid), "pid {pid} still stands there");
            ensure!(now.state == stack::State::Ready, "{:?}", now.state);
            Ok(())
        })
        .await
    }

    /// Sends `signal` to `posthorn up` itself and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "still running after 20 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Runs another subcommand of the binary against this stack; its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn posthorn(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary()?).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "posthorn {arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Runs Restate's own command line tool, as `up` says where it is; its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn restate(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let said = std::fs::read_to_string(output_file(&self.dir))?;
        let tool = said.split_whitespace().find(|word| word.ends_with("/restate"));
        let admin = format!("http://127.0.0.1:{}", self.ports()?.restate_admin);
        let output = Command::new(tool.context("`up` does not say where the tool is")?)
            .args(arguments)
            .env("RESTATE_ADMIN_URL", admin)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "restate {arguments:?}: {}\n{text}{errors}",
            output.status
        );
        // The tool writes its tables to either of them.
        Ok(text + &errors)
    }

    /// What `up` has printed so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn output(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(output_file(&self.dir))?)
    }

    /// The last lines of it; empty when it cannot be read.
    pub fn output_tail(&self) -> String {
        let text = std::fs::read_to_string(output_file(&self.dir)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// A lab that tests share has nobody who drops it: the next tests remove it, once its process is gone
/// and with it everything that it ran. What cannot be removed now is somebody else's next time.
fn remove_what_ended_tests_left() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let Some(owner) = owner.and_then(|(pid, _)| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or(0);
        if pid > 0 && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// What `posthorn up` says when it refuses to start in `dir`, on standard error.
///
/// # Errors
/// When it does not refuse.
pub fn refusal(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let parent = std::process::id().to_string();
    let output = Command::new(binary()?)
        .args(["exec", "--signal", "SIGKILL", "--parent", &parent, "--"])
        .arg(binary()?)
        .args(["up", "--no-demo", "--ports", "auto", "--dir"])
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    ensure!(!output.status.success(), "it started");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn output_file(dir: &Path) -> PathBuf {
    dir.with_extension("output")
}

/// Starts `posthorn up` from a thread that ends with the process.
fn spawn(dir: &Path, variables: &[(&str, &str)], options: &[&str]) -> anyhow::Result<Child> {
    let binary = binary()?;
    let output = std::fs::File::create(output_file(dir))?;
    let mut command = bound_to_us(&binary)?;
    command
        .args(["up", "--no-demo", "--ports", "auto", "--dir"])
        .arg(dir)
        .args(options)
        // Whether somebody has built Jaeger is no concern of most tests.
        .env("POSTHORN_TRACES", "own")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    spawn_bound(command)
}

/// A command that becomes `program`, and dies with this process, its own children with it.
pub(crate) fn bound_to_us(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .args(["exec", "--signal", "SIGKILL", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    Ok(command)
}

/// Starts a command that is bound to us, from a thread that ends with the process.
pub(crate) fn spawn_bound(mut command: Command) -> anyhow::Result<Child> {
    let (send, receive) = mpsc::channel();
    std::thread::Builder::new().name("lab".to_owned()).spawn(move || {
        let _ = send.send(command.spawn());
        // The kernel's parent-death signal follows this thread: it stays.
        loop {
            std::thread::park();
        }
    })?;
    Ok(receive.recv()??)
}

/// A folder for a stack's state that is not there yet, in one that goes when it is dropped: for
/// [`Lab::start_in`], where a stack is started more than once.
///
/// # Errors
/// When none can be made.
pub fn state_dir() -> anyhow::Result<(TempDir, PathBuf)> {
    remove_what_ended_tests_left();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let temporary = tempfile::Builder::new().prefix(&prefix).tempdir()?;
    // PostgreSQL runs as another user when we are root, and must be able to get in.
    std::fs::set_permissions(temporary.path(), open_to_all())?;
    let dir = temporary.path().join("state");
    Ok((temporary, dir))
}

/// The binary that was built beside this test.
///
/// # Errors
/// When there is none.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test lies in target/<profile>/deps")?;
    let binary = profile.join("posthorn");
    ensure!(binary.exists(), "{} is missing: cargo build --workspace", binary.display());
    Ok(binary)
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
