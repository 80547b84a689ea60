//! Unix sockets: a listener in the file system, and who may connect to it.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

use crate::config::transport::UnixConfig;
use crate::error::Violation;

/// A socket in the file system, removed when we stop.
pub(crate) struct SocketFile(PathBuf);

/// Whose processes may connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guests {
    /// None: whoever can open the socket.
    allowed: Option<Allowed>,
}

#[derive(Debug, Clone, Default)]
struct Allowed {
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// A listener that nobody else has, on a path that only those can open who `config` says.
///
/// Errors: those of the file system.
pub(crate) async fn bind(path: &Path, config: &UnixConfig) -> std::io::Result<(UnixListener, SocketFile)> {
    // One that nobody answers was left by a process that died; one that somebody answers is in use.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.permissions()))?;
    Ok((listener, file))
}

// === impl Guests ===

impl Guests {
    /// Errors: a name below `[server.unix]` that this machine does not know.
    pub(crate) fn new(config: &UnixConfig) -> Result<Self, Vec<Violation>> {
        if !config.is_choosy() {
            return Ok(Self::default());
        }
        let mut wrong = Vec::new();
        let mut look_up = |key: &str, names: &[String], file: &str| {
            let known = std::fs::read_to_string(file).unwrap_or_default();
            let mut numbers = Vec::new();
            for (at, name) in names.iter().enumerate() {
                match name.parse().ok().or_else(|| number_of(name, &known)) {
                    Some(number) => numbers.push(number),
                    None => wrong.push(Violation {
                        field: format!("server.unix.{key}[{at}]"),
                        description: format!("must be a number or a name that {file} holds, but is {name:?}"),
                    }),
                }
            }
            numbers
        };
        let users = look_up("users", &config.users, "/etc/passwd");
        let groups = look_up("groups", &config.groups, "/etc/group");
        if wrong.is_empty() { Ok(Self { allowed: Some(Allowed { users, groups }) }) } else { Err(wrong) }
    }

    /// Whether a process may connect, by what the kernel noted of it when it did.
    pub(crate) fn admit(&self, process: UCred) -> bool {
        let Some(Allowed { users, groups }) = &self.allowed else { return true };
        users.contains(&process.uid()) || groups.contains(&process.gid())
    }
}

/// The number of a name in `/etc/passwd` or `/etc/group`: the third of the fields between colons.
fn number_of(name: &str, file: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let known = fields.next() == Some(name);
        fields.nth(1).filter(|_| known)?.parse().ok()
    })
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever comes after us removes a socket that is left over.
        drop(std::fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_unix_keeps_them() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nverigate:x:998:997::/var/lib/verigate:/usr/sbin/nologin\nodd\n";
        assert_eq!(number_of("root", passwd), Some(0));
        assert_eq!(number_of("verigate", passwd), Some(998));
        for unknown in ["", "verig", "x", "nobody", "odd"] {
            assert_eq!(number_of(unknown, passwd), None, "{unknown}");
        }
    }

    #[tokio::test]
    async fn the_kernel_says_who_connects() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let process = ours.peer_cred().unwrap();
        let guests = |users: &[u32], groups: &[u32]| {
            let text = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect();
            let config = UnixConfig { mode: "0600".into(), users: text(users), groups: text(groups), key: None };
            Guests::new(&config).unwrap()
        };
        assert!(guests(&[], &[]).admit(process));
        assert!(guests(&[process.uid()], &[]).admit(process));
        assert!(guests(&[], &[process.gid()]).admit(process));
        assert!(guests(&[process.uid() + 1, process.uid()], &[]).admit(process));
        assert!(!guests(&[process.uid() + 1], &[process.gid() + 1]).admit(process));
        let stranger =
            UnixConfig { mode: "0600".into(), users: vec!["no such user".into()], groups: vec![], key: None };
        assert_eq!(Guests::new(&stranger).unwrap_err()[0].field, "server.unix.users[0]");
    }
}
