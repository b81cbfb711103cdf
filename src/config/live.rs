use super::{Source, Surroundings, diagnostic, gateway::Gateway, load, runtime::Runtime};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
#[derive(Clone)]
pub struct Live {
    gateway: Arc<ArcSwap<Gateway>>,
    runtime: Arc<Runtime>,
    path: PathBuf,
    s: Surroundings,
}
pub struct Report {
    pub not_applied: Vec<String>,
    pub warnings: Vec<String>,
}
impl Live {
    pub fn start(path: PathBuf, listen: Option<SocketAddr>) -> Result<Self, String> {
        let runtime = Arc::new(Runtime::new(512 << 20));
        let s = Surroundings { environment: std::env::vars().collect(), listen, check_secrets: true };
        let g = Self::read(&path, &runtime, &s)?;
        runtime.memory.set_limit(g.server.buffer_memory);
        Ok(Self { gateway: Arc::new(ArcSwap::from_pointee(g)), runtime, path, s })
    }
    fn read(path: &PathBuf, runtime: &Arc<Runtime>, s: &Surroundings) -> Result<Gateway, String> {
        let source = Source::load(path).map_err(|e| e.to_string())?;
        let l = load(&source, runtime, s);
        l.gateway.ok_or_else(|| diagnostic::render(&l.diagnostics, path, &source.text, false))
    }
    pub fn load(&self) -> Arc<Gateway> {
        self.gateway.load_full()
    }
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }
    pub fn reload(&self) -> Result<Report, String> {
        let g = Self::read(&self.path, &self.runtime, &self.s)?;
        self.gateway.store(Arc::new(g));
        Ok(Report { not_applied: vec![], warnings: vec![] })
    }
    pub async fn follow(self) {
        std::future::pending::<()>().await
    }
}
