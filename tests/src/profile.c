// SPDX-License-Identifier: GPL-2.0
/*
 * profile [-n LINES] [-r RATE] COMMAND...: where the kernel was while COMMAND ran, on all CPUs: a sample RATE times a second
 * (10000) on each. Prints the LINES (40) most frequent functions, each with its share of all samples that were not in the idle
 * task, in percent, the number of them, and its module; tasks' own instructions are one line, "(user)".
 *
 * What it prints goes to stderr, so that COMMAND has stdout to itself; exit status is that of COMMAND. There is no stack: what
 * is inlined belongs to its caller.
 */
#include "util.h"
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define RING ((size_t)4 << 20)

struct symbol {
	uint64_t start;
	char *name, *module;
	unsigned long samples;
};

static struct symbol *symbols;
static size_t count;
static unsigned long user, other, idle;

static int by_start(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_samples(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->samples < y->samples ? 1 : x->samples > y->samples ? -1 : 0;
}

static void read_symbols(void)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[1024], name[900], module[100], type;
	size_t room = 0;
	unsigned long long start;

	if (!f)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), f)) {
		module[0] = 0;
		if (sscanf(line, "%llx %c %899s %99s", &start, &type, name, module) < 3 || !strchr("tTwW", type) || !start)
			continue;
		if (count == room) {
			room = room ? 2 * room : 1 << 16;
			symbols = realloc(symbols, room * sizeof(*symbols));
			if (!symbols)
				die("out of memory");
		}
		symbols[count++] = (struct symbol){ start, strdup(name), strdup(module), 0 };
	}
	fclose(f);
	if (!count)
		die("/proc/kallsyms tells no addresses");
	qsort(symbols, count, sizeof(*symbols), by_start);
}

static void sample(uint64_t ip, uint32_t pid)
{
	size_t low = 0, high = count;

	if (!pid)
		idle++;
	else if (ip < symbols[0].start)
		user++;
	else {
		while (high - low > 1) {
			size_t mid = (low + high) / 2;

			if (symbols[mid].start <= ip)
				low = mid;
			else
				high = mid;
		}
		symbols[low].samples++;
		other++;
	}
}

/* What one CPU has left. Returns how many samples it had no room for. */
static uint64_t drain(const unsigned char *ring)
{
	const struct perf_event_mmap_page *page = (const void *)ring;
	const unsigned char *data = ring + PAGE;
	uint64_t head = page->data_head, lost = 0;

	__sync_synchronize();
	for (uint64_t at = page->data_tail; at < head;) {
		unsigned char record[64];
		struct perf_event_header h;
		uint64_t ip, more;
		uint32_t pid;

		for (size_t i = 0; i < sizeof(record); i++)
			record[i] = data[(at + i) % RING];
		memcpy(&h, record, sizeof(h));
		if (!h.size)
			break;
		if (h.type == PERF_RECORD_SAMPLE) {
			memcpy(&ip, record + sizeof(h), sizeof(ip));
			memcpy(&pid, record + sizeof(h) + sizeof(ip), sizeof(pid));
			sample(ip, pid);
		} else if (h.type == PERF_RECORD_LOST) {
			memcpy(&more, record + sizeof(h) + sizeof(uint64_t), sizeof(more));
			lost += more;
		}
		at += h.size;
	}
	return lost;
}

int main(int argc, char **argv)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID,
		.sample_period = 100000,
		.disabled = 1,
	};
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), opt, status, lines = 40;
	int *fds = calloc((size_t)cpus, sizeof(*fds));
	unsigned char **rings = calloc((size_t)cpus, sizeof(*rings));
	uint64_t lost = 0;
	double all;
	pid_t child;

	while ((opt = getopt(argc, argv, "+n:r:")) != -1) {
		switch (opt) {
		case 'n': lines = atoi(optarg); break;
		case 'r': attr.sample_period = 1000000000 / parse_size(optarg); break;
		default: return 2;
		}
	}
	if (optind == argc || !fds || !rings) {
		fprintf(stderr, "usage: profile [-n LINES] [-r RATE] COMMAND...\n");
		return 2;
	}
	for (int i = 0; i < cpus; i++) {
		fds[i] = (int)syscall(SYS_perf_event_open, &attr, -1, i, -1, PERF_FLAG_FD_CLOEXEC);
		if (fds[i] < 0)
			die("this kernel samples nothing (perf_event_open)");
		rings[i] = mmap(NULL, PAGE + RING, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		if (rings[i] == MAP_FAILED)
			die("the samples' memory");
	}
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		execvp(argv[optind], argv + optind);
		die("%s", argv[optind]);
	}
	for (int i = 0; i < cpus; i++)
		if (ioctl(fds[i], PERF_EVENT_IOC_ENABLE, 0))
			die("PERF_EVENT_IOC_ENABLE");
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	for (int i = 0; i < cpus; i++)
		ioctl(fds[i], PERF_EVENT_IOC_DISABLE, 0);

	/* Modules that were loaded meanwhile are there now. */
	read_symbols();
	for (int i = 0; i < cpus; i++)
		lost += drain(rings[i]);
	all = (double)(user + other);
	if (!all)
		die("no samples");
	qsort(symbols, count, sizeof(*symbols), by_samples);
	fprintf(stderr, "%6.2f %8.0f samples, %lu more of idle tasks, %llu lost\n", 100.0, all, idle, (unsigned long long)lost);
	fprintf(stderr, "%6.2f %8lu (user)\n", 100 * (double)user / all, user);
	for (int i = 0; i < lines && (size_t)i < count && symbols[i].samples; i++)
		fprintf(stderr, "%6.2f %8lu %s %s\n", 100 * (double)symbols[i].samples / all, symbols[i].samples, symbols[i].name,
			symbols[i].module);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
