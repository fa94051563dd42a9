//! The fleet agent's edges.

pub mod exporters;
