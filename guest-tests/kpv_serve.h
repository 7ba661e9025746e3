/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kpv_serve.h: a test program that runs its tests one after the other for a host.
 *
 * To start a program costs more than most tests do. With KPV_SERVE in the
 * environment, which names the folder of the mailbox's PCI device, a program
 * reads from its standard input
 *
 *	<word>
 *	<number> <name> <argument>...		for each run, blanks between
 *
 * and for each line forks a harness that runs with these arguments as it would
 * if started anew. The test's output goes to the mailbox, then a frame:
 *
 *	RS <word> " end " <number> " " <begin> " " <end> " " <status> NL
 *
 * with times in seconds and the exit status of the harness as a shell tells it,
 * 128 + N for signal N. <name> is in the markers on the console and in the
 * trace. A run ends when all of its processes are gone: none of them disturbs
 * the next one, and one that stays is the run's fault (the host kills what runs
 * too long, but not this process, which leads the session). A test is not told
 * the word: nothing that it prints by chance passes for a frame.
 *
 * Without KPV_SERVE the program is an ordinary kselftest.
 */
#ifndef KPV_SERVE_H
#define KPV_SERVE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "kpv_mailbox.h"

#define KPV_SERVE_ARGS	16
#define KPV_SERVE_WORD	64

/* Where the guest's script that ends jobs finds the leader of their session. */
#define KPV_SERVE_LEADER "/run/kpv-jobs"

static struct {
	char word[KPV_SERVE_WORD];
	int kmsg, trace;
} kpv_server;

/* The whole of standard input, which ends with a line. */
static inline char *kpv_serve_list(void)
{
	size_t size = 1 << 16, len = 0;
	char *text = malloc(size);
	ssize_t ret;

	while (text && (ret = read(STDIN_FILENO, text + len, size - len - 1))) {
		if (ret < 0 && errno != EINTR)
			return NULL;
		len += ret < 0 ? 0 : ret;
		if (len == size - 1)
			text = realloc(text, size *= 2);
	}
	if (text)
		text[len] = '\0';
	return text;
}

static inline double kpv_serve_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* One write each: a marker is whole or absent. */
static inline void kpv_serve_marker(const char *what, const char *name)
{
	char text[256];
	int len = snprintf(text, sizeof(text), "<5>kpv: %s %s\n", what, name);

	if (len >= (int)sizeof(text) || write(kpv_server.kmsg, text, len) != len)
		fprintf(stderr, "no marker on the console\n");
	/* Not every kernel has a trace. */
	if (kpv_server.trace >= 0 && write(kpv_server.trace, text + 3, len - 3) < 0)
		fprintf(stderr, "no marker in the trace\n");
}

static inline ssize_t kpv_serve_output(void *cookie, const char *data, size_t len)
{
	(void)cookie;
	kpv_mailbox_write(data, len);
	return len;
}

static inline FILE *kpv_serve_stream(int mode)
{
	cookie_io_functions_t calls = { .write = kpv_serve_output };
	FILE *stream = fopencookie(NULL, "w", calls);

	if (!stream || setvbuf(stream, NULL, mode, 0))
		abort();
	return stream;
}

/* In a process of its own: does not return. */
static inline void kpv_serve_run(int argc, char **argv, int (*harness)(int argc, char **argv),
				 const int *output)
{
	explicit_bzero(kpv_server.word, sizeof(kpv_server.word));
	close(kpv_server.kmsg);
	close(kpv_server.trace);
	stdout = kpv_serve_stream(_IOLBF);
	stderr = kpv_serve_stream(_IONBF);
	if (dup2(output[1], STDOUT_FILENO) < 0 || dup2(output[1], STDERR_FILENO) < 0)
		abort();
	close(output[0]);
	close(output[1]);
	exit(harness(argc, argv));
}

/*
 * What the processes of a run write to the descriptors 1 and 2 themselves, as
 * libc does when it aborts. The last of them to go ends it.
 */
static inline void kpv_serve_pass_on(int output)
{
	char text[1024];
	ssize_t len;

	while ((len = read(output, text, sizeof(text))) > 0 || (len < 0 && errno == EINTR))
		if (len > 0)
			kpv_mailbox_write(text, len);
	close(output);
}

static inline void kpv_serve_line(char *program, char *line, int (*harness)(int argc, char **argv))
{
	char *argv[KPV_SERVE_ARGS + 1] = { program }, frame[KPV_SERVE_WORD + 128], *rest = NULL;
	char *number = strtok_r(line, " ", &rest), *name = strtok_r(NULL, " ", &rest);
	int argc = 1, output[2], status;
	double began, ended;
	pid_t pid;

	if (!name)
		exit(2);
	while (argc < KPV_SERVE_ARGS && (argv[argc] = strtok_r(NULL, " ", &rest)))
		argc++;
	kpv_serve_marker("begin", name);
	began = kpv_serve_now();
	fflush(NULL);
	if (pipe2(output, O_CLOEXEC))
		abort();
	pid = fork();
	if (!pid)
		kpv_serve_run(argc, argv, harness, output);
	close(output[1]);
	kpv_serve_pass_on(output[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	/* Those that it left are ours now. */
	while (wait(NULL) > 0 || errno == EINTR)
		;
	ended = kpv_serve_now();
	kpv_serve_marker("end", name);
	/* Last: who reads it may rely on the markers. */
	snprintf(frame, sizeof(frame), "\036%s end %s %.6f %.6f %d\n", kpv_server.word, number,
		 began, ended, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	kpv_mailbox_write(frame, strlen(frame));
}

static inline int kpv_serve(char *program, int (*harness)(int argc, char **argv))
{
	char *list, *line, *rest = NULL;
	FILE *leader;

	list = kpv_serve_list();
	line = list ? strtok_r(list, "\n", &rest) : NULL;
	if (!line || strlen(line) >= sizeof(kpv_server.word))
		return 2;
	strcpy(kpv_server.word, line);
	explicit_bzero(line, strlen(line));
	kpv_server.kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	kpv_server.trace = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	leader = fopen(KPV_SERVE_LEADER, "w");
	if (!leader || fprintf(leader, "%d\n", getpid()) < 0 || fclose(leader) ||
	    !freopen("/dev/null", "r", stdin) || prctl(PR_SET_CHILD_SUBREAPER, 1) ||
	    !kpv_mailbox_open(getenv("KPV_SERVE"))) {
		perror(program);
		return 2;
	}
	while ((line = strtok_r(NULL, "\n", &rest)))
		kpv_serve_line(program, line, harness);
	return 0;
}

#endif /* KPV_SERVE_H */
