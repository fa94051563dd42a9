//! The one room with privileges, `unsafe` and the kernel.
