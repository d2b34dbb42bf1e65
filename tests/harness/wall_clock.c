/* Sets the wall clock of one process, as an administrator sets that of a machine: preloaded, it adds the seconds that the file
 * $WALL_CLOCK holds, which may change at any time. The monotonic clock is left alone, as the kernel leaves it.
 *
 * libfaketime would do, but for an allocator of the program's own: it calls dlsym, which frees what that one never gave. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000L
/* Longest part of a wait after which the clock is looked at again. */
#define LOOK (SECOND / 20)

static const volatile long *ahead;

__attribute__((constructor)) static void find(void) {
    ahead = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, open(getenv("WALL_CLOCK"), O_RDONLY), 0);
    if (ahead == MAP_FAILED) abort();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return (int)result;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &time) != 0) return -1;
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

/* A wait until a time of the wall clock ends when that clock shows it, and is longer if it is set back meanwhile. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    for (;;) {
        struct timespec now, end;
        clock_gettime(CLOCK_REALTIME, &now);
        long seconds = until->tv_sec - now.tv_sec, rest = until->tv_nsec - now.tv_nsec;
        long left = seconds > 1 ? LOOK : seconds * SECOND + rest;
        if (left <= 0) return ETIMEDOUT;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_nsec += left < LOOK ? left : LOOK;
        end.tv_sec += end.tv_nsec / SECOND;
        end.tv_nsec %= SECOND;
        int result = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end);
        if (result != ETIMEDOUT) return result;
    }
}

/* The same for C11's threads, whose conditions are those of POSIX within. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    int result = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);
    return result == 0 ? thrd_success : result == ETIMEDOUT ? thrd_timedout : thrd_error;
}
