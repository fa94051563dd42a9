//! What crosses the boundary between the kernel and user space, and nothing else.
//!
//! Two directions: [`plan`] goes down (what to read at each probe, for exactly one build of a Go
//! executable), and [`host`] (which processes to follow); [`record`] comes up (what was read). Every
//! type is `#[repr(C)]` with explicit padding, and its size is asserted, since both sides are
//! compiled by different compilers.
#![no_std]

pub mod host;
pub mod plan;
pub mod record;
