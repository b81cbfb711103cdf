//! Tells when the content of some files changed, however that happened: written in place, renamed over, or
//! reached through a symbolic link that was swapped (as Kubernetes updates a ConfigMap).
//!
//! It is the directories that are watched, since a watch on a file ends when the file is replaced; of what happens in
//! them only that counts which has a name on the way to one of the files, so that a log that grows beside them wakes
//! nobody. And it is contents that are compared, so that a touched or merely read file is no change. Where the
//! system's notifications cannot be had, or fail, it looks by itself every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Several writes that belong together come this close to each other.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// A directory that is never quiet is looked at all the same.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(2);
/// Between looks where some directory has no notifications.
const POLL: Duration = Duration::from_secs(2);
/// Between looks where all have them: network file systems lose some.
const SLOW_POLL: Duration = Duration::from_secs(30);
/// Links that lead to links: the kernel follows no more either.
const MOST_LINKS: usize = 40;

/// A watch over the contents of some files.
pub struct Watch {
    /// What each file held when it was last looked at.
    files: BTreeMap<PathBuf, Fingerprint>,
    signals: Arc<Signals>,
    /// `None` where the system gives no notifications.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Whether every directory is watched.
    complete: bool,
    /// Something happened that was not looked at yet; kept here so that a dropped `changed` loses nothing.
    touched: bool,
}

/// What the watcher's thread tells, and what it is to tell of.
#[derive(Default)]
struct Signals {
    touched: Notify,
    broken: AtomicBool,
    /// Of every file, directory and link on the way to the files.
    names: Mutex<BTreeSet<OsString>>,
}

/// The hash of a file's content; `None` if it cannot be read.
type Fingerprint = Option<[u8; 32]>;

/// Starts to watch. Call it before reading the files, so that no change falls in between.
pub fn watch(paths: Vec<PathBuf>) -> Watch {
    let signals = Arc::new(Signals::default());
    let mut watch = Watch {
        files: BTreeMap::new(),
        watcher: watcher(&signals),
        signals,
        watched: BTreeSet::new(),
        complete: false,
        touched: false,
    };
    watch.set_paths(paths);
    watch
}

impl Watch {
    /// Returns when the content of a file changed since the last return. May be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            if !self.touched {
                let pause = if self.complete { SLOW_POLL } else { POLL };
                let told = timeout_at(Instant::now() + pause, self.signals.touched.notified()).await;
                self.touched = told.is_ok();
            }
            // A look without a notification needs no waiting: nothing is being written that it knows of.
            if self.touched {
                self.settle().await;
            }
            // First, so that nothing happens unseen at what is read then.
            self.arm();
            let found = self.look().await;
            self.touched = false;
            if found != self.files {
                self.files = found;
                return;
            }
        }
    }

    /// Watches these files from now on. One that was watched before keeps what was last seen of it.
    pub fn set_paths(&mut self, paths: Vec<PathBuf>) {
        let mut before = std::mem::take(&mut self.files);
        for path in paths {
            let seen = before.remove(&path).unwrap_or_else(|| fingerprint(&path));
            self.files.insert(path, seen);
        }
        self.arm();
    }

    /// Whatever is seen next is a change: the files were read without this watch, and nobody knows in which state.
    pub fn forget(&mut self) {
        self.files.values_mut().for_each(|seen| *seen = None);
    }

    /// Waits until nothing happened for [`DEBOUNCE`].
    async fn settle(&self) {
        let latest = Instant::now() + LONGEST_DEBOUNCE;
        loop {
            let quiet = (Instant::now() + DEBOUNCE).min(latest);
            if timeout_at(quiet, self.signals.touched.notified()).await.is_err() || quiet == latest {
                sleep_until(quiet).await;
                return;
            }
        }
    }

    async fn look(&self) -> BTreeMap<PathBuf, Fingerprint> {
        let paths: Vec<PathBuf> = self.files.keys().cloned().collect();
        let read =
            move || paths.into_iter().map(|path| (fingerprint(&path), path)).map(|(f, p)| (p, f)).collect();
        // A panic inside is impossible, a runtime that shuts down is not: then nothing changed.
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| self.files.clone())
    }

    /// Watches the directories that matter now, with a new watcher if the old one failed.
    fn arm(&mut self) {
        let steps: BTreeSet<PathBuf> = self.files.keys().flat_map(|path| way(path)).collect();
        self.signals.tell_of(steps.iter().flat_map(|step| names(step)).collect());
        if self.signals.broken.swap(false, Ordering::Relaxed) || self.watcher.is_none() {
            self.watched.clear();
            self.watcher = watcher(&self.signals);
        }
        let Some(watcher) = &mut self.watcher else {
            self.complete = false;
            return;
        };
        // Where a change of a file's content, or of a link on the way to it, can show.
        let wanted: BTreeSet<PathBuf> = steps.iter().map(|step| parent(step)).collect();
        for gone in self.watched.difference(&wanted) {
            // It may have ended with its directory.
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|directory| wanted.contains(directory));
        self.complete = true;
        for directory in &wanted {
            // Watching again costs nothing, and mends the watch of a directory that was replaced.
            if watcher.watch(directory, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(directory.clone());
            } else {
                self.watched.remove(directory);
                self.complete = false;
            }
        }
    }
}

impl Signals {
    fn tell_of(&self, names: BTreeSet<OsString>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Whether it may have changed the content of a file.
    fn matters(&self, event: &Event) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_on_the_way = |path: &PathBuf| path.file_name().is_none_or(|name| names.contains(name));
        is_change(event.kind) && (event.paths.is_empty() || event.paths.iter().any(is_on_the_way))
    }
}

fn watcher(signals: &Arc<Signals>) -> Option<RecommendedWatcher> {
    let signals = Arc::clone(signals);
    let tell = move |event: notify::Result<Event>| {
        match event {
            Ok(event) if !signals.matters(&event) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "watching for changed files failed; starting anew");
                signals.broken.store(true, Ordering::Relaxed);
            }
        }
        signals.touched.notify_one();
    };
    match notify::recommended_watcher(tell) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "no notifications of changed files; looking every few seconds instead");
            None
        }
    }
}

/// Reading a file, as we do ourselves, is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    std::fs::read(path).ok().map(|content| Sha256::digest(content).into())
}

/// The path, and what it becomes with one link after the other replaced by where it leads, up to the file itself.
fn way(path: &Path) -> Vec<PathBuf> {
    let mut way = vec![path.to_owned()];
    for _ in 0..MOST_LINKS {
        let Some(next) = way.last().and_then(|step| followed(step)) else { break };
        way.push(next);
    }
    way
}

/// The path with its first link replaced; `None`: there is none.
fn followed(path: &Path) -> Option<PathBuf> {
    let mut leading: Vec<&Path> = path.ancestors().collect();
    leading.reverse();
    leading.into_iter().find_map(|link| {
        let target = parent(link).join(std::fs::read_link(link).ok()?);
        let rest = path.strip_prefix(link).ok()?;
        // Joining nothing would leave a slash at the end.
        Some(if rest.as_os_str().is_empty() { target } else { target.join(rest) })
    })
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    })
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    async fn sees(watch: &mut Watch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    async fn sees_nothing(watch: &mut Watch) -> bool {
        timeout(Duration::from_millis(800), watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_write_in_place_and_a_rename_over_are_seen_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("piton.toml");
        fs::write(&file, "1").unwrap();
        let mut watch = watch(vec![file.clone()]);
        for round in 0..3 {
            fs::write(&file, format!("in place {round}")).unwrap();
            assert!(sees(&mut watch).await);
            fs::write(dir.path().join("new"), format!("renamed {round}")).unwrap();
            fs::rename(dir.path().join("new"), &file).unwrap();
            assert!(sees(&mut watch).await);
        }
        fs::remove_file(&file).unwrap();
        assert!(sees(&mut watch).await);
        fs::write(&file, "back").unwrap();
        assert!(sees(&mut watch).await);
    }

    #[tokio::test]
    async fn what_leaves_the_content_alone_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("piton.toml");
        fs::write(&file, "1").unwrap();
        let mut watch = watch(vec![file.clone()]);
        fs::write(&file, "1").unwrap();
        fs::write(dir.path().join("neighbour"), "2").unwrap();
        fs::read(&file).unwrap();
        assert!(sees_nothing(&mut watch).await);
        fs::write(&file, "2").unwrap();
        assert!(sees(&mut watch).await);
    }

    #[tokio::test]
    async fn a_swapped_configmap_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let version = |name: &str, content: &str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("piton.toml"), content).unwrap();
        };
        version("..v1", "1");
        symlink("..v1", dir.path().join("..data")).unwrap();
        symlink("..data/piton.toml", dir.path().join("piton.toml")).unwrap();
        let mut watch = watch(vec![dir.path().join("piton.toml")]);
        for (old, new) in [("..v1", "..v2"), ("..v2", "..v3")] {
            version(new, new);
            symlink(new, dir.path().join("..data_tmp")).unwrap();
            fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
            fs::remove_dir_all(dir.path().join(old)).unwrap();
            assert!(sees(&mut watch).await, "{new}");
        }
    }

    #[tokio::test]
    async fn a_link_in_the_middle_of_the_way_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("real"), version).unwrap();
        }
        symlink("outer/real", path("piton.toml")).unwrap();
        symlink("inner", path("outer")).unwrap();
        symlink("v1", path("inner")).unwrap();
        let mut watch = watch(vec![path("piton.toml")]);
        symlink("v2", path("new")).unwrap();
        fs::rename(path("new"), path("inner")).unwrap();
        assert!(sees(&mut watch).await);
        fs::write(path("v2").join("real"), "3").unwrap();
        assert!(sees(&mut watch).await);
    }

    #[tokio::test]
    async fn what_grows_beside_the_files_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("piton.toml");
        fs::write(&file, "1").unwrap();
        let watch = watch(vec![file.clone()]);
        let told = || timeout(Duration::from_millis(300), watch.signals.touched.notified());
        for line in 0..20 {
            fs::write(dir.path().join("piton.log"), "line\n".repeat(line)).unwrap();
        }
        fs::rename(dir.path().join("piton.log"), dir.path().join("piton.log.1")).unwrap();
        fs::remove_file(dir.path().join("piton.log.1")).unwrap();
        assert!(told().await.is_err());
        fs::write(&file, "2").unwrap();
        assert!(told().await.is_ok());
    }

    #[tokio::test]
    async fn the_end_of_a_chain_of_links_is_watched() {
        let (here, middle, there) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = there.path().join("real");
        fs::write(&file, "1").unwrap();
        symlink(&file, middle.path().join("link")).unwrap();
        symlink(middle.path().join("link"), here.path().join("piton.toml")).unwrap();
        let mut watch = watch(vec![here.path().join("piton.toml")]);
        fs::write(&file, "2").unwrap();
        assert!(sees(&mut watch).await);
        fs::write(there.path().join("other"), "3").unwrap();
        fs::remove_file(middle.path().join("link")).unwrap();
        symlink(there.path().join("other"), middle.path().join("link")).unwrap();
        assert!(sees(&mut watch).await);
    }

    #[tokio::test]
    async fn a_directory_may_come_late_and_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("late").join("key");
        let mut watch = watch(vec![file.clone()]);
        for content in ["1", "2"] {
            fs::create_dir(dir.path().join("late")).unwrap();
            fs::write(&file, content).unwrap();
            assert!(sees(&mut watch).await);
            fs::remove_dir_all(dir.path().join("late")).unwrap();
            assert!(sees(&mut watch).await);
        }
    }

    #[tokio::test]
    async fn a_failed_watcher_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("piton.toml");
        fs::write(&file, "1").unwrap();
        let mut watch = watch(vec![file.clone()]);
        watch.watcher = None;
        watch.complete = false;
        fs::write(&file, "2").unwrap();
        assert!(sees(&mut watch).await, "seen by looking");
        assert!(watch.complete, "and watched again");
        fs::write(&file, "3").unwrap();
        assert!(sees(&mut watch).await);
    }

    #[tokio::test]
    async fn other_paths_can_be_set_and_a_dropped_wait_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::write(&first, "1").unwrap();
        let mut watch = watch(vec![first.clone()]);
        watch.set_paths(vec![first.clone(), second.clone()]);
        fs::write(&second, "1").unwrap();
        assert!(timeout(Duration::from_millis(50), watch.changed()).await.is_err());
        assert!(sees(&mut watch).await);
        watch.set_paths(vec![first]);
        fs::write(&second, "2").unwrap();
        assert!(sees_nothing(&mut watch).await);
    }
}
