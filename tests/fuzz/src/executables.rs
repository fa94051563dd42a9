//! The reader of executables.

use proxytrace::gobinary;

/// A file. Whatever plan is made of it is a plan for that file.
pub(crate) fn any(file: &[u8]) {
    let _ = gobinary::identify(file);
    let Ok(plan) = gobinary::plan(file) else { return };
    assert!(plan.sites.iter().all(|site| site.offset < file.len() as u64));
    assert!(plan.types.is_sorted_by_key(|(address, _)| *address));
    assert!(plan.types.iter().all(|(address, _)| plan.type_names.contains_key(address)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations of it are only worth something if the reader goes all the way through it.
    #[test]
    fn the_seed_is_a_go_command() {
        let seed = include_bytes!("../corpus/executable/small-go-command");
        let plan = gobinary::plan(seed).expect("sound");
        let probed = ["cmd/go/internal/modfetch.TryProxies", "os.(*File).Write", "main.main"];
        assert_eq!(plan.hooks, probed);
        let names: Vec<&str> = plan.type_names.values().map(|name| &**name).collect();
        assert_eq!((names, plan.types.len()), (vec!["*url.Error"], 1));
    }
}
