//! shim
struct P;
impl proxytrace::capture::Sink for P {
    fn start(&mut self, s: &proxytrace::event::Start) -> anyhow::Result<()> { eprintln!("{s:?}"); Ok(()) }
    fn event(&mut self, e: proxytrace::event::Event) -> anyhow::Result<()> { eprintln!("{}", serde_json::to_string(&e)?); Ok(()) }
}
fn main() -> anyhow::Result<()> {
    let argv: Vec<_> = std::env::args_os().skip(1).collect();
    let end = proxytrace::capture::run(&argv, &mut P)?;
    eprintln!("{end:?}");
    Ok(())
}
