//! What xtask and build scripts share.
