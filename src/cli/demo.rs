#[derive(Debug, clap::Args)]
pub struct Demo {}
impl Demo {
    pub fn run(self) -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
