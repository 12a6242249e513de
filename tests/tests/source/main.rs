//! Checks of the source. No test here touches a server.

mod compile_fail;
mod layers;
mod readme;
