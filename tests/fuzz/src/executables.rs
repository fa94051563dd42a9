//! The reader of executables.

use proxytrace::gobinary;

/// A file. Whatever plan is made of it is a plan for that file.
pub(crate) fn any(file: &[u8]) {
    let _ = gobinary::identify(file);
    let Ok(plan) = gobinary::plan(file) else { return };
    assert!(plan.sites.iter().all(|site| site.offset < file.len() as u64));
    assert!(plan.types.is_sorted_by_key(|(address, _)| *address));
    for (_, rule) in &plan.types {
        assert!(plan.type_names.get(usize::try_from(rule.id).expect("64 bits")).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations of it are only worth something if the reader goes all the way through it.
    #[test]
    fn the_seed_is_a_go_command() {
        let seed = include_bytes!("../corpus/executable/small-go-command");
        let plan = gobinary::plan(seed).expect("sound");
        let probed = ["cmd/go/internal/modfetch.TryProxies", "net/http.(*Client).do", "main.main"];
        assert_eq!(plan.hooks, probed);
        assert_eq!(plan.type_names, ["", "*url.Error"]);
    }
}
