//! The file: made so that only its owner reads it, opened only if it is one of ours, never overwritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::schema;

/// Only the owner may look: who asked what of whom is nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Bytes of a page of a new file. Packed sums lie on few of them; a batch of one request still writes little.
const PAGE: u32 = 8192;
/// How long another process's transaction is waited for. The queue takes in what comes meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens the ledger for writing, and makes it where there is none.
pub fn open(path: &Path) -> Result<Connection, Fault> {
    make(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // Nothing is written before it is known whose file this is.
    schema::recognise(&connection)?;
    if connection.is_readonly("main")? {
        return Err(Fault::Unwritable("the file may only be read".to_owned()));
    }
    // A crash of the process loses nothing that was committed, one of the machine a second at most; neither breaks it.
    connection.pragma_update(None, "page_size", PAGE)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Opens it for reading. It must be there.
pub fn open_to_read(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    schema::recognise(&connection)?;
    Ok(connection)
}

/// Which file is at this path: it may have been moved away while it was open, and then nobody will find it again.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Sees to it that there is a file. SQLite gives the files that it puts beside this one the same rights.
fn make(path: &Path) -> Result<(), Fault> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(Fault::Directory),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_may_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/ledger.sqlite");
        let connection = open(&path).unwrap();
        connection.execute_batch("INSERT INTO hours VALUES (1, x'00')").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), DIRECTORY_MODE);
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file), FILE_MODE, "{}", file.display());
        }
        assert!(open_to_read(&path).unwrap().execute_batch("DELETE FROM hours").is_err());
    }

    #[test]
    fn what_is_not_ours_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("directory")).unwrap();
        fs::write(path("notes"), "Not a database, but rather long. ".repeat(100)).unwrap();
        let theirs = Connection::open(path("theirs")).unwrap();
        theirs.execute_batch("CREATE TABLE theirs (x)").unwrap();
        drop(theirs);
        drop(open(&path("newer")).unwrap());
        let newer = Connection::open(path("newer")).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        newer.close().unwrap();
        for (name, code) in
            [("directory", "directory"), ("notes", "corrupt"), ("theirs", "foreign"), ("newer", "newer")]
        {
            let before = fs::read(path(name)).unwrap_or_default();
            assert_eq!(open(&path(name)).unwrap_err().code(), code, "{name}");
            assert!(before == fs::read(path(name)).unwrap_or_default(), "{name} has changed");
        }
    }
}
