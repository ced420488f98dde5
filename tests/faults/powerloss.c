/* A VFS under SQLite that passes everything on to the default one and writes down what a power cut could undo.
 *
 * Every open, write, truncation, sync and removal of a file under `root` becomes a record in a log file, in the order in
 * which it happened. From the log, what a disk may hold after
 * the power went off at any record can be built: see powerloss.py. Nothing is ever failed or dropped here.
 *
 * Whether the directory was synced is not guessed: the default VFS opens a directory for that and nothing else, through
 * a system call that can be overridden.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <fcntl.h>
#include <unistd.h>

enum kind { OPENED = 1, WRITTEN, TRUNCATED, SYNCED, REMOVED, DIRECTORY_SYNCED };

struct record {
    uint32_t kind;
    uint32_t file; /* number of an open file */
    int64_t value; /* OPENED: whether it was made; WRITTEN: offset; TRUNCATED: size */
    uint64_t bytes; /* that follow: a path or data */
};

struct watched {
    sqlite3_file base;
    uint32_t number; /* 0: not under root */
    char path[512];
    sqlite3_file real[]; /* the default VFS's own */
};

static sqlite3_vfs *below;
static sqlite3_vfs shim;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;
static char root[512];
static uint32_t opened;
static uint64_t records;
static __thread int directory_was_opened;
static int (*open_directory)(const char *, int *);

#define REAL(file) (((struct watched *)(file))->real)
#define CALL(file, method, ...) (REAL(file)->pMethods->method(REAL(file), ##__VA_ARGS__))

static int under_root(const char *path) {
    return log_file >= 0 && path && root[0] && strncmp(path, root, strlen(root)) == 0;
}

/* With the lock held. */
static void note(enum kind kind, uint32_t file, int64_t value, const void *data, size_t bytes) {
    struct record head = {kind, file, value, bytes};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, bytes}};
    if (log_file < 0) return;
    if (writev(log_file, parts, 2) != (ssize_t)(sizeof head + bytes)) {
        perror("powerloss: the log cannot be written");
        _exit(70);
    }
    records++;
}

static int watched_open_directory(const char *path, int *descriptor) {
    directory_was_opened = 1;
    return open_directory(path, descriptor);
}

static int file_close(sqlite3_file *file) { return CALL(file, xClose); }
static int file_read(sqlite3_file *file, void *to, int bytes, sqlite3_int64 at) { return CALL(file, xRead, to, bytes, at); }

static int file_write(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 at) {
    struct watched *one = (struct watched *)file;
    pthread_mutex_lock(&lock);
    int code = CALL(file, xWrite, from, bytes, at);
    if (one->number) note(WRITTEN, one->number, at, from, bytes);
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    struct watched *one = (struct watched *)file;
    pthread_mutex_lock(&lock);
    int code = CALL(file, xTruncate, size);
    if (one->number) note(TRUNCATED, one->number, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_sync(sqlite3_file *file, int flags) {
    struct watched *one = (struct watched *)file;
    pthread_mutex_lock(&lock);
    directory_was_opened = 0;
    int code = CALL(file, xSync, flags);
    if (one->number && code == SQLITE_OK) {
        note(SYNCED, one->number, 0, NULL, 0);
        if (directory_was_opened) note(DIRECTORY_SYNCED, 0, 0, one->path, strlen(one->path));
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) { return CALL(file, xFileSize, size); }
static int file_lock(sqlite3_file *file, int level) { return CALL(file, xLock, level); }
static int file_unlock(sqlite3_file *file, int level) { return CALL(file, xUnlock, level); }
static int file_reserved(sqlite3_file *file, int *held) { return CALL(file, xCheckReservedLock, held); }
static int file_control(sqlite3_file *file, int op, void *with) { return CALL(file, xFileControl, op, with); }
static int file_sector(sqlite3_file *file) { return CALL(file, xSectorSize); }
static int file_device(sqlite3_file *file) { return CALL(file, xDeviceCharacteristics); }
static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **at) {
    return CALL(file, xShmMap, page, size, extend, at);
}
static int file_shm_lock(sqlite3_file *file, int from, int n, int flags) { return CALL(file, xShmLock, from, n, flags); }
static void file_shm_barrier(sqlite3_file *file) { CALL(file, xShmBarrier); }
static int file_shm_unmap(sqlite3_file *file, int remove) { return CALL(file, xShmUnmap, remove); }
static int file_fetch(sqlite3_file *file, sqlite3_int64 at, int bytes, void **to) { return CALL(file, xFetch, at, bytes, to); }
static int file_unfetch(sqlite3_file *file, sqlite3_int64 at, void *from) { return CALL(file, xUnfetch, at, from); }

static const sqlite3_io_methods methods = {
    3, file_close, file_read, file_write, file_truncate, file_sync, file_size, file_lock, file_unlock, file_reserved,
    file_control, file_sector, file_device, file_shm_map, file_shm_lock, file_shm_barrier, file_shm_unmap, file_fetch,
    file_unfetch,
};

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out) {
    struct watched *one = (struct watched *)file;
    struct stat ignored;
    (void)vfs;
    one->base.pMethods = NULL;
    one->number = 0;
    pthread_mutex_lock(&lock);
    int watched = under_root(path) && strlen(path) < sizeof one->path;
    int made = watched && stat(path, &ignored) != 0;
    int code = below->xOpen(below, path, one->real, flags, out);
    if (one->real->pMethods) one->base.pMethods = &methods;
    if (code == SQLITE_OK && watched) {
        one->number = ++opened;
        strcpy(one->path, path);
        note(OPENED, one->number, made, path, strlen(path));
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync) {
    (void)vfs;
    pthread_mutex_lock(&lock);
    directory_was_opened = 0;
    int code = below->xDelete(below, path, sync);
    if (code == SQLITE_OK && under_root(path)) {
        note(REMOVED, 0, 0, path, strlen(path));
        if (directory_was_opened) note(DIRECTORY_SYNCED, 0, 0, path, strlen(path));
    }
    pthread_mutex_unlock(&lock);
    return code;
}

/* Makes the shim the default VFS of the process's SQLite. Answers SQLITE_OK or an error code. */
int powerloss_install(void) {
    if (below) return SQLITE_OK;
    below = sqlite3_vfs_find(NULL);
    if (!below || below->iVersion < 3) return SQLITE_ERROR;
    open_directory = (int (*)(const char *, int *))below->xGetSystemCall(below, "openDirectory");
    if (!open_directory) return SQLITE_ERROR;
    if (below->xSetSystemCall(below, "openDirectory", (sqlite3_syscall_ptr)watched_open_directory)) return SQLITE_ERROR;
    shim = *below;
    shim.pNext = NULL;
    shim.zName = "powerloss";
    shim.szOsFile = (int)sizeof(struct watched) + below->szOsFile;
    shim.xOpen = vfs_open;
    shim.xDelete = vfs_delete;
    return sqlite3_vfs_register(&shim, 1);
}

/* From now on, what happens under `directory` is appended to `log`. Answers 0, or -1 where the log cannot be made. */
int powerloss_record(const char *directory, const char *log) {
    pthread_mutex_lock(&lock);
    if (log_file >= 0) close(log_file);
    snprintf(root, sizeof root, "%s", directory);
    log_file = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    opened = 0;
    records = 0;
    pthread_mutex_unlock(&lock);
    return log_file < 0 ? -1 : 0;
}

/* Ends the recording. */
void powerloss_stop(void) {
    pthread_mutex_lock(&lock);
    if (log_file >= 0) close(log_file);
    log_file = -1;
    pthread_mutex_unlock(&lock);
}

/* Number of records so far: what was recorded before this call has happened before what the caller does next. */
uint64_t powerloss_now(void) {
    pthread_mutex_lock(&lock);
    uint64_t now = records;
    pthread_mutex_unlock(&lock);
    return now;
}
