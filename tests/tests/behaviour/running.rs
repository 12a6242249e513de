//! A worker runs jobs from enqueue to finished.

use queue_tests::world::{Seen, World, worker};
use queue_worker::{App, Cx, Job, Perform};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Note(i64);

impl Job for Note {
    const KIND: &'static str = "note";
}

impl Perform<Seen<i64>> for Note {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<Seen<i64>>) -> Result<(), std::io::Error> {
        cx.state().lock().unwrap().push(self.0);
        Ok(())
    }
}

fn app(seen: &Seen<i64>) -> App<Seen<i64>> {
    App::new(seen.clone()).register::<Note>()
}

#[tokio::test]
async fn every_job_runs_once_and_is_finished() {
    let world = World::new().await;
    let seen = Seen::default();
    let process = world.start(app(&seen), worker("*", 10));

    world.queue.enqueue_many((0..100).map(Note)).await.unwrap();
    world.until("finished where outcome = 'done'", 100).await;
    process.stop().await;

    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(world.count("processes").await, 0);
    assert_eq!(world.count("claimed").await, 0);
}
