/*
 * Stands between a program and the C library (LD_PRELOAD), and between its files and the disk: records in order what is
 * done to the files under one folder, and can make some of it fail. It knows nothing of stores.
 *
 *   RECORDER_FOLDER    the folder, an absolute path without links; nothing else is touched
 *   RECORDER_LOG       where to append the record; nothing is recorded without it
 *   RECORDER_NO_SYNC   syncs of files with this in their path do nothing and are not recorded
 *   RECORDER_KILL_AT   ends the process, as kill -9 does, once the record has so many bytes
 *   RECORDER_FAULTS    a file that says what fails now, read before each operation:
 *                        full        what needs room on the disk gets ENOSPC, writes perhaps after a part; what is deleted
 *                                    meanwhile makes as much room
 *                        no-write    every write gets EIO
 *                        no-sync     every fsync and fdatasync gets EIO
 *   RECORDER_CLOCK     a file with seconds that the clock of the day is ahead; not of the folder, but of use to the same tests
 *
 * A record is `kind u8 | length of path u16 | length of second path u16 | inode u64 | at u64 | length of data u64 | path |
 * second path | data`, in the byte order of the machine. Changes are made and recorded under one lock, so the order of the
 * records is the order of the changes. A sync is two records: what was recorded before its beginning is on the disk at its end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, MKDIR, UNLINK, RMDIR, RENAME, WRITE, TRUNCATE, SYNC, DATA_SYNC, SYNCED, FOREIGN };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *folder, *no_sync, *faults, *clock_file;
static size_t folder_length;
static int record_fd = -1;
/* Bytes that were made free since the disk was full. */
static off_t spare;
static uint64_t syncs, recorded, kill_at;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void begin(void) {
    folder = getenv("RECORDER_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    no_sync = getenv("RECORDER_NO_SYNC");
    faults = getenv("RECORDER_FAULTS");
    clock_file = getenv("RECORDER_CLOCK");
    const char *record = getenv("RECORDER_LOG"), *limit = getenv("RECORDER_KILL_AT");
    kill_at = limit ? strtoull(limit, NULL, 10) : UINT64_MAX;
    if (record) {
        record_fd = (int)syscall(SYS_openat, AT_FDCWD, record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (record_fd < 0) abort();
    }
}

static int fails(const char *word);

static int is_inside(const char *path) {
    pthread_once(&once, begin);
    return folder && !strncmp(path, folder, folder_length) && (!path[folder_length] || path[folder_length] == '/');
}

/* The path of a descriptor, if it lies in the folder. */
static int path_of(int fd, char *path) {
    pthread_once(&once, begin);
    if (!folder) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_inside(path);
}

/* The absolute form of a path, if it lies in the folder. */
static int resolve(int at, const char *name, char *path) {
    pthread_once(&once, begin);
    if (!folder) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return is_inside(path);
    }
    char base[PATH_MAX];
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else if (!path_of(at, base)) {
        return 0;
    }
    if ((size_t)snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
    return is_inside(path);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static void put_all(const void *bytes, size_t length) {
    while (length) {
        ssize_t put = syscall(SYS_write, record_fd, bytes, length);
        if (put <= 0) abort();
        bytes = (const char *)bytes + put;
        length -= (size_t)put;
    }
}

/* To be called with the lock held. */
static void note(enum kind kind, const char *path, const char *second, uint64_t inode, uint64_t at, const void *data,
                 uint64_t length) {
    if (record_fd < 0) return;
    int saved = errno;
    /* Relative to the folder. */
    const char *first = path ? path + folder_length : "", *other = second ? second + folder_length : "";
    unsigned char head[29];
    uint16_t lengths[2] = {(uint16_t)strlen(first), (uint16_t)strlen(other)};
    head[0] = (unsigned char)kind;
    memcpy(head + 1, lengths, 4);
    memcpy(head + 5, &inode, 8);
    memcpy(head + 13, &at, 8);
    memcpy(head + 21, &length, 8);
    put_all(head, sizeof head);
    put_all(first, lengths[0]);
    put_all(other, lengths[1]);
    put_all(data, length);
    recorded += sizeof head + lengths[0] + lengths[1] + length;
    /* Whoever else would change something waits for the lock, so the record is all that was done. */
    if (recorded >= kill_at) syscall(SYS_kill, getpid(), SIGKILL);
    errno = saved;
}

/* Something that cannot be replayed; whoever reads the record must refuse it. */
static void note_foreign(const char *path, const char *what) {
    pthread_mutex_lock(&lock);
    note(FOREIGN, path, NULL, 0, 0, what, strlen(what));
    pthread_mutex_unlock(&lock);
}

/* To be called with the lock held: how much of what lies behind the end of a file has room. */
static off_t room_for(off_t more) {
    if (!fails("full")) {
        spare = 0;
        return more;
    }
    off_t found = more < spare ? more : spare;
    spare -= found;
    return found;
}

static int fails(const char *word) {
    if (!faults) return 0;
    char said[256] = {0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, faults, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = syscall(SYS_read, fd, said, sizeof said - 1);
    syscall(SYS_close, fd);
    return length > 0 && strstr(said, word) != NULL;
}

/* --- opening --- */

static int open_at(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & __O_TMPFILE) == __O_TMPFILE || !resolve(at, name, path))
        return (int)REAL(openat)(at, name, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int was_there = !stat(path, &before);
    int fd = REAL(openat)(at, name, flags, mode);
    if (fd >= 0 && !was_there)
        note(CREATE, path, NULL, inode_of(fd), 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC) && before.st_size)
        spare += before.st_size, note(TRUNCATE, path, NULL, before.st_ino, 0, NULL, 0);
    if (fd >= 0 && (flags & (O_SYNC | O_DSYNC)))
        note(FOREIGN, path, NULL, 0, 0, "O_SYNC", 6);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name, AT, PARAMETERS)                                   \
    int name PARAMETERS {                                            \
        mode_t mode = 0;                                             \
        if (flags & (O_CREAT | __O_TMPFILE)) {                       \
            va_list rest;                                            \
            va_start(rest, flags);                                   \
            mode = va_arg(rest, mode_t);                             \
            va_end(rest);                                            \
        }                                                            \
        return open_at(AT, path, flags, mode);                       \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...))
OPEN(openat, at, (int at, const char *path, int flags, ...))
OPEN(openat64, at, (int at, const char *path, int flags, ...))
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* --- writing --- */

/* `at` is -1 for the place of the descriptor. Writes what is inside a file that is there even when the disk is full. */
static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t at) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return at < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev)(fd, parts, count, at);
    size_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    char *whole = malloc(length ? length : 1), *end = whole;
    if (!whole) abort();
    for (int part = 0; part < count; end += parts[part++].iov_len) memcpy(end, parts[part].iov_base, parts[part].iov_len);
    pthread_mutex_lock(&lock);
    struct stat found;
    fstat(fd, &found);
    off_t place = at >= 0 ? at : (fcntl(fd, F_GETFL) & O_APPEND) ? found.st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t written = -1;
    if (fails("no-write")) {
        errno = EIO;
    } else {
        size_t fits = length;
        off_t more = place + (off_t)length - (place > found.st_size ? place : found.st_size);
        if (more > 0) fits = length - (size_t)(more - room_for(more));
        if (length && !fits) {
            errno = ENOSPC;
        } else {
            written = at < 0 ? REAL(write)(fd, whole, fits) : REAL(pwrite)(fd, whole, fits, at);
        }
    }
    if (written > 0) note(WRITE, NULL, NULL, found.st_ino, (uint64_t)place, whole, (uint64_t)written);
    pthread_mutex_unlock(&lock);
    free(whole);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return REAL(write)(fd, bytes, length);
    return write_at(fd, &(struct iovec){(void *)bytes, length}, 1, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return write_at(fd, &(struct iovec){(void *)bytes, length}, 1, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return pwrite(fd, bytes, length, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_at(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_at(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return write_at(fd, parts, count, at); }

static int truncate_fd(int fd, off_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return REAL(ftruncate)(fd, length);
    pthread_mutex_lock(&lock);
    int done = REAL(ftruncate)(fd, length);
    if (!done) note(TRUNCATE, path, NULL, inode_of(fd), (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t length) { return truncate_fd(fd, length); }
int ftruncate64(int fd, off_t length) { return truncate_fd(fd, length); }

/* --- names --- */

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    int inside = resolve(from_at, from, first) + 2 * resolve(to_at, to, second);
    if (!inside) return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (inside != 3 || flags) note_foreign(folder, "a rename over the border of the folder");
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!done) note(RENAME, first, second, 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return renameat2(from_at, from, to_at, to, 0); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    if (!resolve(at, name, path)) return (int)syscall(SYS_unlinkat, at, name, flags);
    pthread_mutex_lock(&lock);
    struct stat found = {0};
    stat(path, &found);
    int done = (int)syscall(SYS_unlinkat, at, name, flags);
    if (!done && !(flags & AT_REMOVEDIR)) spare += found.st_size;
    if (!done) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, NULL, 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    int done = unlinkat(AT_FDCWD, name, 0);
    return done && errno == EISDIR ? unlinkat(AT_FDCWD, name, AT_REMOVEDIR) : done;
}

int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!resolve(at, name, path)) return (int)syscall(SYS_mkdirat, at, name, mode);
    pthread_mutex_lock(&lock);
    if (!room_for(4096)) {
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    int done = (int)syscall(SYS_mkdirat, at, name, mode);
    struct stat made;
    if (!done && !stat(path, &made)) note(MKDIR, path, NULL, made.st_ino, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* --- syncing --- */

static int sync_fd(int fd, enum kind kind) {
    char path[PATH_MAX];
    __typeof__(&fsync) sync = kind == SYNC ? REAL(fsync) : REAL(fdatasync);
    if (!path_of(fd, path)) return sync(fd);
    if (no_sync && strstr(path, no_sync)) return 0;
    if (fails("no-sync")) {
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs;
    note(kind, path, NULL, inode_of(fd), number, NULL, 0);
    pthread_mutex_unlock(&lock);
    /* Nothing is brought to the disk: of the disk that matters here there is only the record. */
    int done = record_fd < 0 ? sync(fd) : 0;
    pthread_mutex_lock(&lock);
    if (!done) note(SYNCED, path, NULL, inode_of(fd), number, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return sync_fd(fd, SYNC); }
int fdatasync(int fd) { return sync_fd(fd, DATA_SYNC); }

/* --- what the record has no words for --- */

#define FOREIGN_FD(type, name, parameters, arguments, condition)     \
    type name parameters {                                           \
        char path[PATH_MAX];                                         \
        if ((condition) && path_of(fd, path)) note_foreign(path, #name); \
        return REAL(name) arguments;                                 \
    }
FOREIGN_FD(int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length), 1)
FOREIGN_FD(int, fallocate64, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length), 1)
FOREIGN_FD(int, posix_fallocate, (int fd, off_t at, off_t length), (fd, at, length), 1)
FOREIGN_FD(int, posix_fallocate64, (int fd, off_t at, off_t length), (fd, at, length), 1)
FOREIGN_FD(void *, mmap, (void *address, size_t length, int protection, int flags, int fd, off_t at),
           (address, length, protection, flags, fd, at),
           fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED))
FOREIGN_FD(void *, mmap64, (void *address, size_t length, int protection, int flags, int fd, off_t at),
           (address, length, protection, flags, fd, at),
           fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED))

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    char path[PATH_MAX];
    if (resolve(to_at, to, path)) note_foreign(path, "link");
    return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char *target, int at, const char *name) {
    char path[PATH_MAX];
    if (resolve(at, name, path)) note_foreign(path, "symlink");
    return (int)syscall(SYS_symlinkat, target, at, name);
}
int symlink(const char *target, const char *name) { return symlinkat(target, AT_FDCWD, name); }

/* --- the clock of the day --- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = (int)syscall(SYS_clock_gettime, clock, now);
    pthread_once(&once, begin);
    if (done || clock != CLOCK_REALTIME || !clock_file) return done;
    char said[32] = {0};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, clock_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return done;
    if (syscall(SYS_read, fd, said, sizeof said - 1) > 0) now->tv_sec += atol(said);
    syscall(SYS_close, fd);
    return done;
}
