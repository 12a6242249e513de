//! Durable background jobs on Postgres: the pages that show jobs and change them.
//!
//! [`Dashboard`] makes a router of axum, to mount under any path. It reads through
//! [`queue_core::inspect`] and changes jobs through [`queue_core::operations`].
//!
//! Modules stand in order: each uses only those below it.

mod dashboard;

mod routes;

mod live;

mod acts;
mod api;
mod pages;

mod chart;
mod frame;
mod guard;

mod operations;

mod sites;

mod refusal;
mod visit;

mod site;

mod assets;
mod links;

mod html;
mod sign;
mod words;

mod auth;

pub use auth::{Role, Viewer, hash_password};
pub use dashboard::{Dashboard, InvalidDashboard, PATH};
#[doc(hidden)]
pub use dashboard::{routes, routes_of_shards};
