//! Why the ledger is not written, and what its owner can do about it.

use std::io;

use rusqlite::ErrorCode;

/// What is wrong with the file, or with where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be written: {0}")]
    Unwritable(String),
    #[error("there is a directory in its place")]
    Directory,
    #[error("it is a file of another program")]
    Foreign,
    #[error(
        "a newer version of Piton wrote it (its tables are of version {version}, this Piton knows {known})"
    )]
    Newer { version: i64, known: i64 },
    #[error("it was moved or deleted")]
    Moved,
    #[error("it is damaged: {0}")]
    Corrupt(String),
    #[error("there is no room left for it: {0}")]
    Full(String),
    #[error("the disk does not take it: {0}")]
    Disk(String),
    #[error("another process keeps it locked")]
    Locked,
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    /// Every state that metrics know beside `off`, `starting` and `ok`.
    pub const CODES: [&str; 10] = [
        "unwritable",
        "directory",
        "foreign",
        "newer",
        "moved",
        "corrupt",
        "full",
        "disk",
        "locked",
        "failed",
    ];

    /// The stable name, in metrics and in the status.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unwritable(_) => "unwritable",
            Self::Directory => "directory",
            Self::Foreign => "foreign",
            Self::Newer { .. } => "newer",
            Self::Moved => "moved",
            Self::Corrupt(_) => "corrupt",
            Self::Full(_) => "full",
            Self::Disk(_) => "disk",
            Self::Locked => "locked",
            Self::Failed(_) => "failed",
        }
    }

    /// What to do. In every case Piton goes on by itself afterwards.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unwritable(_) => {
                "make the directory writable, or name another place in [ledger] path, or switch the ledger off with path = \"off\""
            }
            Self::Directory | Self::Foreign => "move it away, or name another place in [ledger] path",
            Self::Newer { .. } => {
                "start that version again, or move the file (with its -wal and -shm) away: it is left as it is"
            }
            Self::Moved => "nothing: a new one is begun",
            Self::Corrupt(_) => {
                "move the file (with its -wal and -shm) away, and a new one is begun: it is left as it is"
            }
            Self::Full(_) => "make room on its disk",
            Self::Disk(_) => "make room, lift the limit on the size of files, or mend the disk",
            Self::Locked => "end the process that locks it",
            Self::Failed(_) => "look at the disk and at the file's rights",
        }
    }

    /// Whether the same rows may go in later. Otherwise they themselves are the fault.
    pub const fn may_pass(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Unwritable(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let told = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(told),
            Some(ErrorCode::SystemIoFailure) => Self::Disk(told),
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Locked,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(told),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Unwritable(told)
            }
            _ => Self::Failed(told),
        }
    }
}
