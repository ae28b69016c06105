// SPDX-License-Identifier: GPL-2.0
/*
 * The program of `make demo`: map a file, then write(2) to the file, with O_DIRECT, from that mapping.
 *
 *	demo FILE WRITE-PAGE BUFFER-PAGE PAGES SECONDS
 *
 * WRITE-PAGE == BUFFER-PAGE is the write that deadlocks or livelocks where nobody took care. A child makes
 * it; if it has not come back after SECONDS it is killed. One line of `name=value` words says what happened:
 * result, errno (0: none), us (how long), killed (0, or 1), death_us (from the signal to the task's end).
 */
#include "util.h"
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

struct outcome {
	int64_t result;
	int err;
	uint64_t us;
};

static void child(char **argv, int out)
{
	size_t wpage = parse_size(argv[2]), bpage = parse_size(argv[3]), pages = parse_size(argv[4]);
	struct outcome o;
	uint64_t t0;
	char *m;
	int fd = xopen(argv[1], O_RDWR | O_DIRECT);

	m = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(bpage * PAGE));
	if (m == MAP_FAILED)
		die("mmap %s", argv[1]);
	t0 = now_ns();
	errno = 0;
	o.result = pwrite(fd, m, pages * PAGE, (off_t)(wpage * PAGE));
	o.err = errno;
	o.us = (now_ns() - t0) / 1000;
	if (write(out, &o, sizeof(o)) != sizeof(o))
		_exit(2);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct outcome o = { 0, 0, 0 };
	uint64_t t0, t1;
	struct pollfd pfd;
	int pipefd[2], status;
	bool killed = false;
	pid_t pid;

	errno = 0;
	if (argc != 6)
		die("usage: demo FILE WRITE-PAGE BUFFER-PAGE PAGES SECONDS");
	if (pipe(pipefd))
		die("pipe");
	t0 = now_ns();
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		child(argv, pipefd[1]);
	close(pipefd[1]);
	pfd.fd = pipefd[0];
	pfd.events = POLLIN;
	if (poll(&pfd, 1, (int)(strtod(argv[5], NULL) * 1000)) == 0) {
		o.us = (now_ns() - t0) / 1000;
		killed = true;
		kill(pid, SIGKILL);
	} else if (read(pipefd[0], &o, sizeof(o)) != sizeof(o)) {
		errno = 0;
		die("the child said nothing");
	}
	t1 = now_ns();
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	printf("result=%lld errno=%s us=%llu killed=%d death_us=%llu\n", (long long)o.result,
	       o.err ? errname(o.err) : "0", (unsigned long long)o.us, killed,
	       killed ? (unsigned long long)(now_ns() - t1) / 1000 : 0);
	return 0;
}
