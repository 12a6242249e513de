//! Checks of the source. No test here touches a server.

mod compile_fail;
mod core;
mod layers;
mod readme;
mod reexports;
mod reference;
mod secrets;
