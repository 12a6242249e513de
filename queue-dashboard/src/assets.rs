//! The files that pages load, embedded in the program. Their names contain a hash of their content, so
//! that browsers may keep them for ever.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A file, compressed once.
struct Asset {
    name: String,
    media_type: &'static str,
    content: &'static str,
    compressed: Vec<u8>,
}

/// The names of the files.
pub(crate) struct Names {
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
    pub(crate) icon: &'static str,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let style = include_str!("../assets/style.css");
    let script = include_str!("../assets/script.js");
    let icon = include_str!("../assets/favicon.svg");
    [
        Asset::new("style", "css", "text/css; charset=utf-8", style),
        Asset::new("script", "js", "text/javascript; charset=utf-8", script),
        Asset::new("icon", "svg", "image/svg+xml", icon),
    ]
});

pub(crate) fn names() -> Names {
    let [style, script, icon] = &*ASSETS;
    Names {
        style: &style.name,
        script: &script.name,
        icon: &icon.name,
    }
}

impl Asset {
    fn new(stem: &str, ending: &str, media_type: &'static str, content: &'static str) -> Self {
        let hash = Sha256::digest(content);
        let hash: String = hash
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            name: format!("{stem}-{hash}.{ending}"),
            media_type,
            content,
            compressed: compress(content).unwrap_or_default(),
        }
    }
}

fn compress(content: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content.as_bytes())?;
    encoder.finish()
}

/// `GET /assets/{name}`
pub(crate) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let fixed = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    let accepted = headers.get(header::ACCEPT_ENCODING);
    let accepted = accepted
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match accepted.contains("gzip") && !asset.compressed.is_empty() {
        true => (
            fixed,
            [(header::CONTENT_ENCODING, "gzip")],
            asset.compressed.as_slice(),
        )
            .into_response(),
        false => (fixed, asset.content).into_response(),
    }
}
