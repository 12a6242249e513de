//! What holds for the source itself: no test here touches a server.

mod compile_fail;
mod layers;
mod readme;
