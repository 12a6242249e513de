//! The example service as a user sees it, from the folder to the manifest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::shell::example;
use queue_core::NewJob;
use queue_tests::world::{World, eventually};
use queue_worker::Options;
use serde_json::json;
use tempfile::TempDir;

const STRANGE_NAMES: &[&[u8]] = &[
    b"plain",
    b"empty",
    b"two words",
    b" leading space",
    b"trailing space ",
    b"back\\slash",
    b"new\nline",
    b"carriage\rreturn",
    b"return at the end\r",
    b"all \\ of \n them \r",
    b"\\",
    b"-",
    b"--check",
    b"#comment",
    b"*star",
    b"quote'\"quote",
    b"\xff\xfe not utf-8",
    b"\x1b[31mred",
    "umlaut \u{fc}".as_bytes(),
    b".hidden",
    b"folder/inside",
    b"folder with \n line/inside",
    b"\xff folder/\\",
];

/// A folder to scan, and a place for manifests beside it.
struct Fixture {
    world: World,
    directory: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let fixture = Self {
            world: World::new().await,
            directory: TempDir::new().unwrap(),
        };
        fs::create_dir(fixture.folder()).unwrap();
        fixture
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("some folder")
    }

    fn write(&self, name: &[u8]) {
        let path = self.folder().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = if name == b"empty" { b"" } else { name };
        fs::write(path, text).unwrap();
    }

    fn scan(&self, args: &[&OsStr]) -> Command {
        let mut command = Command::new(example("scan"));
        command
            .args(["--database-url", &self.world.url(), "--manifests"])
            .arg(self.manifests())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if std::env::var("QUEUE_TEST_NOTIFICATIONS").as_deref() == Ok("off") {
            command.env("QUEUE_NOTIFICATIONS", "false");
        }
        command
    }

    fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// Returns the files of the store.
    fn stored(&self) -> Vec<PathBuf> {
        let found = Command::new("find")
            .arg(self.manifests().join("store"))
            .args(["-type", "f"])
            .output()
            .unwrap();
        text(&found.stdout).lines().map(PathBuf::from).collect()
    }

    /// Checks that each file of the store has the content after which it is named, and that nothing else is
    /// left.
    fn assert_store_is_sound(&self) {
        let store = self.manifests().join("store");
        for file in self.stored() {
            let unpacked = Command::new("sh")
                .args(["-c", "gzip -dc \"$1\" | sha256sum", "sh"])
                .arg(&file)
                .output()
                .unwrap();
            let digest = text(&unpacked.stdout)[..64].to_owned();
            let name = format!("{}/{}.gz", &digest[..2], &digest[2..]);
            assert_eq!(file, store.join(name));
        }
        let left = fs::read_dir(self.manifests()).unwrap().filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            path.extension().is_some_and(|of| of == "partial")
        });
        assert_eq!(left.count(), 0);
    }

    fn scan_once(&self) -> Output {
        let folder = self.folder();
        self.scan(&["--once".as_ref(), folder.as_os_str()])
            .output()
            .unwrap()
    }

    /// Prevents the files of the next scan from being stored.
    async fn pause(&self) {
        sqlx::query("insert into queue.queues (name, paused_at) values ('scan.files', now())")
            .execute(self.world.pool())
            .await
            .unwrap();
    }

    /// Waits until a scan waits for so many files.
    async fn until_waiting(&self, files: i64) {
        let jobs = "jobs where kind = 'store_file'";
        self.world.until(jobs, files).await;
        let scans = "scheduled where kind = 'scan_folder'";
        self.world.until(scans, 1).await;
    }

    /// Waits until all jobs have ended, however many there are, as long as some do.
    async fn until_all_ended(&self) {
        let unended = "jobs where id not in (
            select job_id from queue.finished union all select job_id from queue.failed)";
        while let left @ 1.. = self.world.count(unended).await {
            eventually("some more jobs have ended", async || {
                self.world.count(unended).await != left
            })
            .await;
        }
    }

    async fn resume(&self) {
        sqlx::query("delete from queue.queues where name = 'scan.files'")
            .execute(self.world.pool())
            .await
            .unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the path of the manifest, which a scan prints last.
fn manifest(output: &Output) -> PathBuf {
    let stdout = text(&output.stdout);
    let last = stdout.lines().last();
    PathBuf::from(last.unwrap_or_else(|| panic!("no manifest: {}", text(&output.stderr))))
}

/// Returns the lines with digests, in no particular order.
fn digests(manifest: &[u8]) -> BTreeSet<Vec<u8>> {
    manifest
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Returns what sha256sum itself prints for these files.
fn sha256sum(folder: &Path, names: &[&[u8]]) -> Vec<u8> {
    let names = names.iter().map(|name| match *name {
        b"-" => OsStr::new("./-"),
        name => OsStr::from_bytes(name),
    });
    let output = Command::new("sha256sum")
        .arg("--")
        .args(names)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output.stdout
}

fn is_verified(folder: &Path, manifest: &Path) -> bool {
    Command::new("sha256sum")
        .args(["--check", "--quiet", "--strict"])
        .arg(manifest)
        .current_dir(folder)
        .status()
        .unwrap()
        .success()
}

#[tokio::test]
async fn the_manifest_equals_the_output_of_sha256sum_for_all_file_names() {
    let fixture = Fixture::new().await;
    for name in STRANGE_NAMES {
        fixture.write(name);
    }

    let output = fixture.scan_once();

    assert!(output.status.success(), "{}", text(&output.stderr));
    let manifest = manifest(&output);
    assert_eq!(
        digests(&fs::read(&manifest).unwrap()),
        digests(&sha256sum(&fixture.folder(), STRANGE_NAMES))
    );
    assert!(is_verified(&fixture.folder(), &manifest));
    let jobs = STRANGE_NAMES.len() as i64 + 1;
    assert_eq!(
        fixture.world.count("finished where outcome = 'done'").await,
        jobs
    );
    assert_eq!(fixture.world.count("processes").await, 0);
}

#[tokio::test]
async fn only_regular_unignored_files_are_stored() {
    let fixture = Fixture::new().await;
    let folder = fixture.folder();
    for name in [
        "kept",
        "noise.log",
        "build/output",
        "sub/also.log",
        ".git/config",
    ] {
        fixture.write(name.as_bytes());
    }
    fs::write(folder.join(".gitignore"), "*.log\n/build\n").unwrap();
    fs::write(fixture.directory.path().join("outside"), "outside").unwrap();
    symlink("../outside", folder.join("link")).unwrap();
    symlink("..", folder.join("link to a folder")).unwrap();
    let _socket = UnixListener::bind(folder.join("socket")).unwrap();
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status();
    assert!(made.unwrap().success());

    let output = fixture.scan_once();

    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        digests(&fs::read(manifest(&output)).unwrap()),
        digests(&sha256sum(&folder, &[b".gitignore", b"kept"]))
    );
}

#[tokio::test]
async fn an_empty_folder_gives_an_empty_manifest() {
    let fixture = Fixture::new().await;

    let output = fixture.scan_once();

    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(digests(&fs::read(manifest(&output)).unwrap()).is_empty());
}

#[tokio::test]
async fn manifests_in_the_folder_are_not_stored() {
    let fixture = Fixture::new().await;
    fixture.write(b"file");
    let everything = fixture.directory.path();
    let scan = || {
        fixture
            .scan(&["--once".as_ref(), everything.as_os_str()])
            .output()
            .unwrap()
    };

    assert!(scan().status.success());
    let output = scan();

    assert!(output.status.success(), "{}", text(&output.stderr));
    let manifest = fs::read(manifest(&output)).unwrap();
    assert_eq!(
        digests(&manifest),
        digests(&sha256sum(everything, &[b"some folder/file"]))
    );
}

#[tokio::test]
async fn files_that_became_unreadable_fail_after_their_attempts_and_are_named() {
    let fixture = Fixture::new().await;
    let folder = fixture.folder();
    let vanishing = [
        "gone",
        "now a folder",
        "now a link",
        "now a pipe",
        "now\na line",
    ];
    for name in vanishing.iter().chain(&["stays"]) {
        fixture.write(name.as_bytes());
    }
    fixture.pause().await;

    let scan = fixture
        .scan(&["--once".as_ref(), folder.as_os_str()])
        .spawn()
        .unwrap();
    fixture.until_waiting(6).await;
    for name in vanishing {
        fs::remove_file(folder.join(name)).unwrap();
    }
    fs::create_dir(folder.join("now a folder")).unwrap();
    symlink("stays", folder.join("now a link")).unwrap();
    let pipe = Command::new("mkfifo")
        .arg(folder.join("now a pipe"))
        .status();
    assert!(pipe.unwrap().success());
    fixture.resume().await;
    let output = scan.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fixture.world.count("failed").await, 5);
    assert_eq!(fixture.world.count("attempts").await, 15);
    let manifest = manifest(&output);
    let written = text(&fs::read(&manifest).unwrap());
    let told = text(&output.stderr);
    for (name, error) in [
        ("gone", "could not open it: No such file or directory"),
        ("now a folder", "it is not a regular file any more"),
        ("now a link", "it is not a regular file any more"),
        ("now a pipe", "it is not a regular file any more"),
        (
            "now\\na line",
            "could not open it: No such file or directory",
        ),
    ] {
        assert!(told.contains(&format!("  {name}: {error}")), "{told}");
        assert!(written.contains(&format!("# NOT STORED: {name}: {error}")));
    }
    assert_eq!(
        digests(written.as_bytes()),
        digests(&sha256sum(&folder, &[b"stays"]))
    );
    assert!(is_verified(&folder, &manifest));
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named_in_the_error() {
    let fixture = Fixture::new().await;
    fs::remove_dir(fixture.folder()).unwrap();

    let output = fixture.scan_once();

    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("cannot scan"), "{told}");
    assert!(told.contains("some folder: No such file"), "{told}");
    assert_eq!(fixture.world.count("jobs").await, 0);
}

/// A service that stays up until the test ends.
struct Service {
    child: Child,
    manifests: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Service {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let manifests = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, manifests }
    }

    /// Waits for the path of the next manifest.
    fn next_manifest(&mut self) -> PathBuf {
        let line = self.manifests.next().expect("a manifest");
        line.unwrap().into()
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_scans_every_folder_enqueued_for_it() {
    let fixture = Fixture::new().await;
    fixture.write(b"file");
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("other file"), "other").unwrap();
    let folder = fixture.folder();
    let mut service = Service::start(fixture.scan(&[folder.as_os_str()]));
    let own = service.next_manifest();

    let args = json!({ "folder": other.path().canonicalize().unwrap() });
    let job = NewJob::untyped("scan_folder", &args, Options::new());
    fixture.world.queue.enqueue_all([job]).await.unwrap();
    let others = service.next_manifest();

    assert!(is_verified(&folder, &own));
    let limited = "jobs where kind = 'scan_folder' and limits is not null";
    assert_eq!(fixture.world.count(limited).await, 1);
    let rescan =
        "recurring_jobs where name = 'rescan' and kind = 'scan_folder' and next_at > now()";
    assert_eq!(fixture.world.count(rescan).await, 1);
    assert_eq!(
        digests(&fs::read(others).unwrap()),
        digests(&sha256sum(other.path(), &[b"other file"]))
    );
    assert_eq!(service.terminate(), Some(0));
    assert_eq!(fixture.world.count("processes").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_continues_after_its_process_was_killed() {
    let fixture = Fixture::new().await;
    for number in 0..50 {
        fixture.write(format!("file {number}").as_bytes());
    }
    let folder = fixture.folder();
    fixture.pause().await;
    let first = Service::start(fixture.scan(&[folder.as_os_str()]));
    fixture.until_waiting(50).await;
    drop(first);
    fixture.resume().await;

    let mut second = Service::start(fixture.scan(&[folder.as_os_str()]));
    let manifests = [second.next_manifest(), second.next_manifest()];

    for manifest in manifests {
        assert_eq!(digests(&fs::read(&manifest).unwrap()).len(), 50);
        assert!(is_verified(&folder, &manifest));
    }
    assert_eq!(second.terminate(), Some(0));
}

#[tokio::test]
async fn files_are_stored_compressed_for_the_tenants_of_their_topmost_folders() {
    let fixture = Fixture::new().await;
    for name in ["acme/one", "acme/deep/two", "beta/three", "four"] {
        fixture.write(name.as_bytes());
    }
    fixture.write(b"beta/copy");
    fs::copy(
        fixture.folder().join("beta/three"),
        fixture.folder().join("beta/copy"),
    )
    .unwrap();

    let output = fixture.scan_once();

    assert!(output.status.success(), "{}", text(&output.stderr));
    let tenants: Vec<(String, i64)> = fixture
        .world
        .rows(
            "select tenant, count(*) from queue.jobs
             where kind = 'store_file' and limits is not null group by tenant order by tenant",
        )
        .await;
    let expected = [(".", 1), ("acme", 2), ("beta", 2)];
    assert_eq!(
        tenants,
        expected.map(|(tenant, jobs)| (tenant.to_owned(), jobs))
    );
    assert_eq!(fixture.stored().len(), 4);
    fixture.assert_store_is_sound();
}

/// Returns how often the service is killed; `bin/ci --full` kills it more often.
fn kills() -> usize {
    let asked = std::env::var("QUEUE_TEST_KILLS").unwrap_or_default();
    asked.parse().unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_at_random_moments_ends_as_if_it_had_not_been() {
    let fixture = Fixture::new().await;
    for tenant in ["acme", "beta", "gamma"] {
        for number in 0..60 {
            fixture.write(format!("{tenant}/{number}").as_bytes());
        }
        let large = tenant.repeat(1_000_000);
        fs::write(fixture.folder().join(tenant).join("large"), large).unwrap();
    }
    let folder = fixture.folder();
    let started = |args: &[&OsStr]| {
        let mut command = fixture.scan(args);
        command.env("QUEUE_HEARTBEAT_INTERVAL", "200ms");
        command.env("QUEUE_DEAD_AFTER", "1500ms");
        Service::start(command)
    };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    for _ in 0..kills() {
        let service = started(&["--once".as_ref(), folder.as_os_str()]);
        // Kills come at random times, and not at conditions.
        tokio::time::sleep(Duration::from_millis(random.u64(0..3_000))).await;
        drop(service);
    }
    let mut heir = started(&[folder.as_os_str()]);
    heir.next_manifest();
    fixture.until_all_ended().await;
    assert_eq!(heir.terminate(), Some(0));

    let reports: Vec<(i64, i64, i64, bool)> = fixture
        .world
        .rows(
            "select (select count(*) from pipeline.runs), count(*), count(distinct run_id),
                 bool_and(report ->> 'outcome' = 'success')
             from pipeline.reports",
        )
        .await;
    let runs = reports[0].0;
    assert_eq!(reports, [(runs, runs, runs, true)]);
    let scans = "finished join queue.jobs on id = job_id where kind = 'scan_folder'";
    assert_eq!(fixture.world.count(scans).await, runs);
    let ids: Vec<(i64,)> = fixture.world.rows("select id from pipeline.runs").await;
    for (run,) in ids {
        let manifest = fixture.manifests().join(format!("run-{run}.sha256"));
        assert_eq!(digests(&fs::read(&manifest).unwrap()).len(), 183);
        assert!(is_verified(&folder, &manifest));
    }
    assert_eq!(fixture.stored().len(), 183);
    fixture.assert_store_is_sound();
}
