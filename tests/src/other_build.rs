//! The next build of a worker beside a stack's own.
//!
//! Code is told from code by the build's id alone, so a copy of the binary that carries another id is
//! another build to Restate and to whoever registers: a deployment of its own, at an address of its
//! own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::lab::{binary, bound_to_us, spawn_bound};
use crate::{Api, Lab};

/// A binary that says it is another build.
#[derive(Debug)]
pub struct OtherBuild {
    path: PathBuf,
    _dir: TempDir,
}

/// Its worker; killed when this is dropped.
#[derive(Debug)]
pub struct OtherWorker {
    /// Where Restate reaches it.
    pub url: String,
    child: Child,
}

impl OtherBuild {
    /// A copy of the binary that `lab` runs, under the id `id`, of as many characters.
    ///
    /// # Errors
    /// When Restate does not say what `lab` runs, or the binary does not carry that id.
    pub async fn of(lab: &Lab, id: &str) -> anyhow::Result<Self> {
        let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
        let known = restate.get("/deployments").await?;
        let worker = format!("http://127.0.0.1:{}/", lab.ports()?.worker);
        let mut uris = known["deployments"].as_array().into_iter().flatten().map(|it| &it["uri"]);
        let before = uris
            .find_map(|uri| uri.as_str()?.strip_prefix(&worker))
            .with_context(|| format!("no deployment of the lab's worker: {known}"))?
            .trim_end_matches('/');
        ensure!(before.len() == id.len() && before != id, "{before} cannot become {id}");
        let dir = tempfile::Builder::new().prefix("posthorn-build-").tempdir()?;
        let path = dir.path().join("posthorn");
        let mut code = std::fs::read(binary()?)?;
        ensure!(replace_all(&mut code, before.as_bytes(), id.as_bytes()) > 0, "no id {before}");
        std::fs::write(&path, code)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self { path, _dir: dir })
    }

    /// Its worker, on ports of its own, with everything else of `lab`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn worker(&self, lab: &Lab) -> anyhow::Result<OtherWorker> {
        let [port, health] = [free_port()?, free_port()?];
        let mut command = in_environment(bound_to_us(Path::new("sh"))?, lab, &self.path);
        command
            .arg("worker")
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--health-listen=127.0.0.1:{health}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(OtherWorker { url: format!("http://127.0.0.1:{port}"), child: spawn_bound(command)? })
    }

    /// Registers it at `worker` with `lab`'s Restate; what it says.
    ///
    /// # Errors
    /// When it fails, such as while the worker does not listen yet.
    pub fn register(&self, lab: &Lab, worker: &OtherWorker) -> anyhow::Result<String> {
        let mut command = in_environment(Command::new("sh"), lab, &self.path);
        let output = command.args(["register", "--worker-url", &worker.url]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}{errors}", output.status);
        Ok(said)
    }
}

impl Drop for OtherWorker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell that has the variables of `lab` and becomes `program`.
fn in_environment(mut shell: Command, lab: &Lab, program: &Path) -> Command {
    shell
        .args(["-c", r#"set -a; . "$0"; exec "$@""#])
        .arg(lab.dir().join("environment"))
        .arg(program)
        .stdin(Stdio::null());
    shell
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Puts `new` wherever `old`, of the same length, is; how often it was.
fn replace_all(code: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let (mut from, mut count) = (0, 0);
    while let Some(ahead) = code[from..].iter().position(|byte| *byte == old[0]) {
        let at = from + ahead;
        if code[at..].starts_with(old) {
            code[at..at + new.len()].copy_from_slice(new);
            count += 1;
        }
        from = at + 1;
    }
    count
}
