// SPDX-License-Identifier: GPL-2.0
/* Tests that end in every way but the usual one, for whoever runs and reads them. */
#define _GNU_SOURCE
#include "../kselftest_harness.h"
#include <signal.h>
#include "kpv_harness.h"

static pid_t parent_of(pid_t pid)
{
	char path[64], text[512] = "";
	pid_t parent = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (read(fd, text, sizeof(text) - 1) > 0)
		sscanf(strrchr(text, ')'), ") %*c %d", &parent);
	close(fd);
	return parent;
}

FIXTURE(ends)
{
	int unused;
};

FIXTURE_VARIANT(ends)
{
	int crash;
};

FIXTURE_VARIANT_ADD(ends, 4k) { .crash = 0 };
FIXTURE_VARIANT_ADD(ends, crash) { .crash = 1 };

FIXTURE_SETUP(ends)
{
	kpv_test_begin(_metadata, variant);
	kpv_param("setup", 1);
	if (variant->crash)
		raise(SIGSEGV);
}

FIXTURE_TEARDOWN_PARENT(ends)
{
	kpv_test_end(_metadata, variant);
}

TEST_F(ends, well)
{
	kpv_param("word_is_told", !!kpv_server.word[0]);
	kpv_flush();
}

TEST_F(ends, fails)
{
	EXPECT_EQ(1, 2);
}

TEST_F(ends, asserts)
{
	ASSERT_EQ(1, 2);
}

TEST_F(ends, skips)
{
	SKIP(return, "not today");
}

TEST_F(ends, by_signal)
{
	kpv_param("before", 1);
	raise(SIGBUS);
}

/* libc's own words leave by the standard error of the process. */
TEST_F(ends, aborts_in_libc)
{
	char *memory = malloc(100);

	free(memory);
	*(volatile long *)(memory + 8) = 0;
	__asm__ volatile("" : "+r" (memory));
	free(memory);
	free(memory);
}

TEST_F(ends, never)
{
	kpv_param("before", 1);
	for (;;)
		pause();
}

/* The harness gives it up after a second, by itself. */
TEST_F_TIMEOUT(ends, not_in_time, 1)
{
	for (;;)
		pause();
}

TEST_F(ends, kills_harness)
{
	kill(parent_of(getppid()), SIGKILL);
	usleep(1000);
	kpv_param("after", 1);
}

TEST_F(ends, kills_server)
{
	kpv_param("before", 1);
	kill(parent_of(parent_of(getppid())), SIGKILL);
	for (;;)
		pause();
}

/* A process that outlives its test, for a moment. */
TEST_F(ends, leaves_child)
{
	if (!fork()) {
		usleep(300000);
		kpv_param("left", 1);
		_exit(0);
	}
}

/* Two processes of a test write at the same time, more than the mailbox holds. */
TEST_F(ends, much_output)
{
	bool child = !fork();

	for (int i = 0; i < 10000; i++)
		kpv_param(child ? "child" : "parent", i);
	if (child)
		_exit(0);
	wait(NULL);
}

/* One of two is killed while it writes: the other goes on. */
TEST_F(ends, writer_dies)
{
	pid_t child = fork();

	while (!child)
		kpv_param("child", 1);
	for (int i = 0; i < 2000; i++)
		kpv_param("parent", i);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	kpv_param("parent", -1);
}

TEST_F(ends, forges)
{
	printf("\036%016d end 0 1.0 2.0 0\n", 0);
	printf("\036%s end 0 1.0 2.0 0\n", kpv_server.word);
	fflush(stdout);
}

TEST_HARNESS_MAIN
