//! How far a command has come. It writes lines such as `{"progress": {"done": 2, "of": 9}, "cursor": 17}` to
//! the end of the file that `QUEUE_STATE` names, and finds the last line of earlier attempts there.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use queue_core::inspect::Done;
use queue_core::steps::progress::DONE;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::app::context::Cx;
use crate::app::run_error::RunError;

/// How often the file is read.
const EVERY: Duration = Duration::from_secs(1);

/// The most bytes that are read of the end of the file, and so the most that a line may have.
const BYTES_MAX: u64 = 64 * 1024;

/// The name of the cursor under which the last line is kept.
const NAME: &str = "state";

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    progress: Option<&'a RawValue>,
    #[serde(rename = "cursor")]
    _cursor: Option<serde::de::IgnoredAny>,
}

/// Does work that may write to the file, whose path it gets.
pub(super) async fn with_state<S, T>(
    cx: &Cx<S>,
    work: impl AsyncFnOnce(&Path) -> T,
) -> Result<T, RunError> {
    let last = cx.stored_progress(NAME).await.map_err(RunError::from)?;
    let mut file = StateFile::create(cx.clone(), last.as_deref())?;
    let path = file.path.clone();
    let mut work = pin!(work(&path));
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            _ = tick.tick() => file.note(),
        }
    }
}

/// The file of one run. It is read for the last time and removed on drop, also if the run is dropped.
struct StateFile<S> {
    cx: Cx<S>,
    path: PathBuf,
    /// How long it was when it was read.
    len: u64,
}

impl<S> StateFile<S> {
    fn create(cx: Cx<S>, last: Option<&str>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("queue-state-{}", Uuid::now_v7()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let last = last.map_or(String::new(), |line| format!("{line}\n"));
        file.write_all(last.as_bytes())?;
        let len = last.len() as u64;
        Ok(Self { cx, path, len })
    }

    /// Keeps the last line, if there is a new one.
    fn note(&mut self) {
        match self.last_lines() {
            Ok(Some(lines)) => self.keep_last(&lines),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "could not read the state of the command"),
        }
    }

    /// Reads the end of the file, if it has grown.
    fn last_lines(&mut self) -> io::Result<Option<String>> {
        let mut file = File::open(&self.path)?;
        let len = file.metadata()?.len();
        if len == self.len {
            return Ok(None);
        }
        self.len = len;
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn keep_last(&self, lines: &str) {
        let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
        let last = whole.lines().next_back().unwrap_or_default();
        let Ok(state) = serde_json::from_str::<State<'_>>(last) else {
            tracing::debug!("the last line of the state of the command is no object of JSON");
            return;
        };
        self.cx.set_progress(NAME, last.to_owned());
        let done = state.progress.map(|done| serde_json::from_str(done.get()));
        if let Some(Ok(Done { .. })) = done
            && let Some(done) = state.progress
        {
            self.cx.set_progress(DONE, done.get().to_owned());
        }
    }
}

impl<S> Drop for StateFile<S> {
    fn drop(&mut self) {
        self.note();
        // Another program may have removed it.
        let _gone = remove_file(&self.path);
    }
}
