//! Pages that renew themselves.

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures_util::StreamExt as _;
use queue_core::Options;
use queue_tests::world::World;
use queue_worker::dashboard::Role;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Site, enqueue};

async fn stream(site: &Site, view: &str) -> BodyDataStream {
    let uri = format!("/ops/jobs/live?view={view}");
    let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// Waits for an event whose page fits.
async fn until(events: &mut BodyDataStream, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event = events.next().await.expect("an event").unwrap();
        let text = String::from_utf8(event.to_vec()).unwrap();
        let Some(data) = text.strip_prefix("data: ") else {
            continue;
        };
        let data = serde_json::from_str(data.trim()).unwrap();
        if fits(&data) {
            return data;
        }
    }
}

#[tokio::test]
async fn a_page_is_sent_again_when_it_changes() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    let mut events = stream(&site, "%2Fjobs%3Fstate%3Dready").await;
    let shows = |text: &'static str| {
        move |data: &Value| {
            data["main"]
                .as_str()
                .is_some_and(|main| main.contains(text))
        }
    };
    until(&mut events, shows("No job is ready.")).await;

    enqueue(&world, "send", &json!({}), Options::new()).await;

    let changed = until(&mut events, shows("1 job is ready")).await;
    assert_eq!(changed["is_away"], false);
    until(&mut events, |data| data["main"].is_null()).await;
}

#[tokio::test]
async fn only_pages_are_sent_again() {
    let world = World::new().await;
    let site = Site::open(&world, Role::Viewer);
    for view in ["%2Flive%3Fview%3D%2F", "jobs", ""] {
        let answer = site.get(&format!("/live?view={view}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{view}");
    }
    let mut events = stream(&site, "%2Fnowhere").await;
    let away = until(&mut events, |data| data["is_away"] == true).await;
    assert_eq!(away["main"], Value::Null);
}
