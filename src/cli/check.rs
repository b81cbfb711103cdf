#[derive(Debug, clap::Args)]
pub struct Check {}
impl Check {
    pub fn run(self) -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
